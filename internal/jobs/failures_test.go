package jobs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/jobs"
)

// One of each class of failure stays known, however late it comes.
func TestPartialErrorKeepsEachClass(t *testing.T) {
	var f jobs.Failures
	if f.Err("test") != nil {
		t.Error("nothing has failed")
	}
	for i := range 100_000 {
		f.Add(fmt.Errorf("failure %d", i))
	}
	f.Add(fmt.Errorf("late: %w", envelope.ErrAuthentication))
	f.Add(nil)
	err := f.Err("test")
	var partial *dataset.PartialError
	if !errors.As(err, &partial) || partial.Count != 100_001 || len(partial.Causes) > 40 || !errors.Is(err, envelope.ErrAuthentication) || errors.Is(err, dataset.ErrMissing) {
		t.Errorf("%v of %d causes", err, len(partial.Causes))
	}
}
