package container

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedcheckpoints"
)

// openCheckpoints opens the checkpoints that SageMaker has restored from an interrupted
// attempt, and prepares to seal what the command will make.
func (t *Tasks) openCheckpoints(ctx context.Context, c *Config) (err error) {
	m := t.checkpointsMark
	o := sealedcheckpoints.Options{
		Plain: cmp.Or(c.CheckpointPath, filepath.Join(c.BaseDir, "checkpoints")), Sealed: filepath.Join(c.BaseDir, SealedCheckpoints),
		Mark: sealedcheckpoints.Mark{Job: m.Job, Dataset: m.Dataset}, Host: host(filepath.Join(c.BaseDir, "input", "config")), Key: t.checkpointsKey, Logf: c.logf,
		Verify: func(context.Context, *sealedcheckpoints.Set, [sha256.Size]byte, []byte) error { return nil }, // the key belongs only to this job
	}
	if cert := t.certificate; cert != nil {
		o.Sign = func(ctx context.Context, s *sealedcheckpoints.Set, sum [sha256.Size]byte) ([]byte, error) {
			return cert.SignCheckpoints(ctx, provenance.Checkpoints{Host: s.Host, Number: s.Number, Made: s.Made, Sum: sum})
		}
		o.Verify = func(ctx context.Context, s *sealedcheckpoints.Set, sum [sha256.Size]byte, text []byte) error {
			signed, err := cert.ReadCheckpoints(ctx, text)
			if err == nil && (sum != signed.Sum || !s.Is(signed.Job, signed.Host, signed.Number, signed.Made)) {
				err = fmt.Errorf("the statement is about other checkpoints: %w", envelope.ErrAuthentication)
			}
			return err
		}
	}
	t.checkpoints, err = sealedcheckpoints.Open(ctx, o)
	return err
}

// KeepCheckpoints seals checkpoints until the function that it returns is called. That
// function waits until sealing in progress has been abandoned.
func (t *Tasks) KeepCheckpoints() (stop func()) {
	if t == nil || t.checkpoints == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.checkpoints.Keep(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
