package trainer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// The key channel is how a job without network gets the data key: a local key made
// for this one job, and the keyrings with a slot for it. All lie encrypted with
// SSE-KMS under a KMS key of their own, for as long as the job needs them. The data
// key itself is written nowhere.
func keyFolder(job string) string { return jobs + job + "/key/" }

// stageKey writes the key channel.
func (l *Launcher) stageKey(ctx context.Context, p *Plan) error {
	store, err := l.KeyStore(ctx, p.job.KeyChannel)
	if err != nil {
		return err
	}
	key := envelope.GenerateLocalKey()
	defer key.Wipe()
	text := key.EncodeSecret()
	defer clear(text)
	folder := keyFolder(p.Name())
	done := map[string]bool{}
	for _, s := range p.Sealed {
		for _, id := range s.Contents.Keys {
			ring, name, err := s.set.KeyringFor(ctx, id, key)
			if err != nil {
				return err
			}
			if done[name] {
				continue
			}
			done[name] = true
			if err := put(ctx, store, folder+name, ring.Bytes()); err != nil {
				return fmt.Errorf("the key channel: %w", err)
			}
		}
	}
	if err := put(ctx, store, folder+"local.key", text); err != nil {
		return fmt.Errorf("the key channel: %w", err)
	}
	return nil
}

// RemoveKey removes a job's key channel from the vault. That it is gone already,
// or never was there, is no error. In a bucket with versions the old versions
// stay until a lifecycle rule expires them.
func RemoveKey(ctx context.Context, v vault.Store, job string) error {
	if err := given.Check(ctx, v != nil, errors.New("trainer: a nil store")); err != nil {
		return err
	}
	var errs []error
	for o, err := range v.List(ctx, keyFolder(job)) {
		if err != nil {
			return fmt.Errorf("removing the key channel: %w", err)
		}
		if err := v.Delete(ctx, o.Name); err != nil {
			errs = append(errs, fmt.Errorf("removing the key channel: %w", err))
		}
	}
	return errors.Join(errs...)
}

func put(ctx context.Context, v vault.Store, name string, data []byte) error {
	return v.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
