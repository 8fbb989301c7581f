package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A record tells in a job's folder whose it is, so that another run can deliver what is
// in it.
type record struct {
	Job     string      `json:"job"`
	Dataset string      `json:"dataset"`
	To      Destination `json:"to"`
	// Checkpoints is where those are kept, zero if they are among the results.
	Checkpoints Destination `json:"checkpoints,omitzero"`
	// Drop says that the results are not wanted.
	Drop    bool      `json:"drop,omitempty"`
	Started time.Time `json:"started"`
	// Ended is zero, and Status empty, while the job runs.
	Ended  time.Time `json:"ended,omitzero"`
	Status Status    `json:"status,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Code   int       `json:"code,omitempty"`
}

const recordName = "job.json"

func (r *record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = atomicfile.Replace(filepath.Join(dir, recordName), 0o600, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording the job: %w", err)
	}
	return nil
}

// readRecord reads the record of a folder. Of a job whose run was ended before it, the
// time of its end is that of its last change.
func readRecord(dir string) (*record, error) {
	b, err := fsys.ReadSmall(filepath.Join(dir, recordName), 1<<20)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("the record in %s cannot be read: %w", dir, err)
	}
	return r, nil
}

// end enters how the job has ended.
func (r *record) end(dir string, res *Result) error {
	r.Ended, r.Status, r.Reason, r.Code = time.Now().UTC(), res.Status, res.Reason, res.Code
	return r.write(dir)
}

// noRecord reports whether a folder has none.
func noRecord(err error) bool { return errors.Is(err, fs.ErrNotExist) }
