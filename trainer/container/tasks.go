package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedcheckpoints"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// Tasks hold what remains to be done after the command has ended. They hold the job's own
// keys, but no data keys.
type Tasks struct {
	certificate *provenance.Certificate
	modelKey    *envelope.LocalKey
	mark        sealedmodel.Mark
	outputs     []string // of a processing job
	processing  bool

	checkpointsKey  *envelope.LocalKey
	checkpointsMark sealedmodel.Mark
	checkpoints     *sealedcheckpoints.Keeper
}

var errNoTasks = errors.New("container: no tasks, or nobody to tell how they went")

// tasks returns nil if there are none.
func (c *Config) tasks(ctx context.Context, versions []*dataset.Version) (*Tasks, error) {
	if c.Signing == "" && c.ModelKey == "" && c.CheckpointsKey == "" {
		return nil, nil
	}
	t := &Tasks{outputs: c.Outputs, processing: c.Processing}
	var err error
	if t.certificate, err = c.certificate(ctx, versions); err != nil {
		return nil, err
	}
	if c.ModelKey != "" {
		t.modelKey, t.mark, err = c.ownKey(ctx, versions, c.ModelKey, sealedmodel.KeyName)
	}
	if err == nil && c.CheckpointsKey != "" {
		t.checkpointsKey, t.checkpointsMark, err = c.ownKey(ctx, versions, c.CheckpointsKey, sealedmodel.CheckpointsKeyName)
	}
	if err != nil {
		t.Wipe()
		return nil, err
	}
	return t, nil
}

// ownKey opens a key of the job; the key's name says which dataset it belongs to.
func (c *Config) ownKey(ctx context.Context, versions []*dataset.Version, object, want string) (*envelope.LocalKey, sealedmodel.Mark, error) {
	v, err := c.versionOf(versions, object)
	if err != nil {
		return nil, sealedmodel.Mark{}, err
	}
	name, ok := strings.CutPrefix(object, objects.JobsFolder)
	dataset, job := path.Split(path.Dir(name))
	m := sealedmodel.Mark{Job: job, Dataset: path.Clean(dataset)}
	if !ok || path.Base(name) != want || job == "" {
		return nil, m, fmt.Errorf("%q cannot be the key of what the job makes", object)
	}
	key, err := sealedmodel.OpenKey(ctx, objects.Of(v), object)
	return key, m, err
}

// Wipe overwrites the keys.
func (t *Tasks) Wipe() {
	if t == nil {
		return
	}
	t.certificate.Wipe()
	for _, key := range []*envelope.LocalKey{t.modelKey, t.checkpointsKey} {
		if key != nil {
			key.Wipe()
		}
	}
	t.checkpoints.Close()
}

// Finish signs and seals what the command made in its model folder, for this host, and its last checkpoints. If
// signing, or sealing the checkpoints, fails, Finish returns no error, since the job may have taken days: the
// model then has no statement, and nothing claims that it has one. If sealing the model fails, Finish returns
// an error, and does not leave unsealed files in the folder.
func (t *Tasks) Finish(ctx context.Context, baseDir string, ended Ended, started time.Time, logf func(format string, args ...any)) error {
	if err := given.Check(ctx, t != nil && (t.certificate != nil || t.modelKey != nil || t.checkpoints != nil) && logf != nil, errNoTasks); err != nil {
		return err
	}
	if t.processing {
		return t.finishOutputs(ctx, baseDir, ended, started, logf)
	}
	dir := filepath.Join(baseDir, "model")
	// SageMaker is documented not to keep the model of a failed command.
	if t.certificate != nil && (ended.Code == 0 || ended.Stopped) {
		err := t.certificate.Sign(ctx, dir, provenance.Made{
			Invocation: os.Getenv("TRAINING_JOB_ARN"), Host: host(filepath.Join(baseDir, "input", "config")), Started: started, Finished: time.Now()})
		switch {
		case err == nil:
			logf("vaultpack: signed a statement of how the model was made")
		case ended.Stopped && errors.Is(err, provenance.ErrNoModel):
		case errors.Is(err, provenance.ErrNoModel):
			logf("vaultpack: there is no model to sign a statement about")
		default:
			logf("vaultpack: warning: the model has no statement of how it was made: %v", err)
		}
	}
	err := t.sealModel(ctx, baseDir, dir, logf)
	if t.checkpoints != nil {
		// SageMaker would drop the model of a job that failed because of its last checkpoint.
		if err := t.checkpoints.Finish(ctx); err != nil {
			logf("vaultpack: warning: the last checkpoints are not stored, those before them are: %v", err)
		}
	}
	return err
}

// sealModel seals the model in any case, since this process cannot know what SageMaker keeps.
func (t *Tasks) sealModel(ctx context.Context, baseDir, dir string, logf func(format string, args ...any)) error {
	if t.modelKey == nil {
		return nil
	}
	n, err := sealedmodel.Seal(ctx, dir, filepath.Join(baseDir, "not-sealed"), t.modelKey, t.mark)
	if errors.Is(err, sealedmodel.ErrNoModel) {
		logf("vaultpack: there is no model to seal")
		return nil
	}
	if err == nil {
		logf("vaultpack: sealed the model: %d files", n)
	}
	return err
}
