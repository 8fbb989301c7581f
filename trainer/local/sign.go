package local

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/vaultpack/vaultpack/trainer/provenance"
)

// sign signs what the job has made. That this cannot be done does not fail the job, which may
// have taken days: nobody will be told that there is a statement.
func (j *Job) sign(ctx context.Context, base string, res *Result, began time.Time) {
	if j.Certificate == nil || res.Status == Failed {
		return
	}
	err := j.Certificate.Sign(context.WithoutCancel(ctx), filepath.Join(base, "model"), provenance.Made{Invocation: j.Name, Host: hostPrefix + "1", Started: began, Finished: time.Now()})
	if err != nil && !errors.Is(err, provenance.ErrNoModel) {
		j.Logf("warning: the model has no statement of how it was made: %v", err)
	}
}
