// Package report shows what a training job did: how it ended, how long it took, what it read
// and made, and its metrics, as text with small plots, as SVG, HTML or JSON.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/awsname"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/trainer/metrics"
)

// A Report is what is known about one job.
type Report struct {
	Job string `json:"job"`
	// Where is where it ran: SageMaker or Local.
	Where   string    `json:"where"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// TrainedSeconds is how long it trained, BillableSeconds the part of that which is
	// billed, and SpotSavedPercent the share that is not, on spot instances. Each is nil
	// if it is not known.
	TrainedSeconds   *int `json:"trained_seconds,omitempty"`
	BillableSeconds  *int `json:"billable_seconds,omitempty"`
	SpotSavedPercent *int `json:"spot_saved_percent,omitempty"`
	// Hosts is the number of hosts; Instances names their types.
	Hosts     int      `json:"hosts"`
	Instances []string `json:"instances,omitempty"`
	Inputs    []Input  `json:"inputs,omitempty"`
	// Model is where the model is: a place in S3, a version of a dataset, or a folder.
	Model   string           `json:"model,omitempty"`
	Metrics []metrics.Series `json:"metrics,omitempty"`
	// Missing says why values of metrics are missing.
	Missing string `json:"missing,omitempty"`
}

// Places where jobs run.
const (
	SageMaker = "SageMaker"
	Local     = "local"
)

// An Input is what a channel of the job was filled with.
type Input struct {
	Channel string `json:"channel"`
	// Dataset and Version name sealed data; Place is where other data came from.
	Dataset string `json:"dataset,omitempty"`
	Version int64  `json:"version,omitempty"`
	Place   string `json:"place,omitempty"`
}

func (in Input) String() string {
	if in.Dataset != "" {
		return fmt.Sprintf("%s@%d", in.Dataset, in.Version)
	}
	return in.Place
}

// state returns the status, and how long the job ran or has been running.
func (r *Report) state() string {
	from, to, verb := r.Started, r.Ended, "after"
	if from.IsZero() {
		from = r.Created
	}
	if from.IsZero() {
		return r.Status
	}
	if to.IsZero() {
		to, verb = time.Now(), "for"
	}
	return fmt.Sprintf("%s %s %v", r.Status, verb, max(0, to.Sub(from)).Round(time.Second))
}

// ErrNone is returned by [Dir.Load] if there is no report of the job.
var ErrNone = errors.New("there is no report of that job")

var errNoReport = errors.New("report: no Report, no folder or no writer")

const (
	// maxKept is the most reports that a folder keeps.
	maxKept = 200
	// maxSize is more than a report takes: 40 metrics of 2,049 points.
	maxSize = 16 << 20
)

// A Dir is a folder with reports of jobs that ran on this machine. It is safe for
// concurrent use, including by several processes.
type Dir struct{ Path string }

// Save stores a report, replacing an earlier one of the same job. If there are more
// than 200 reports, it removes the oldest.
func (d *Dir) Save(r *Report) error {
	if r == nil || d == nil || d.Path == "" {
		return errNoReport
	}
	if !awsname.IsJob(r.Job) {
		return fmt.Errorf("report: %q is not the name of a job", r.Job)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return err
	}
	err = atomicfile.Replace(filepath.Join(d.Path, r.Job+suffix), 0o600, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	return d.trim()
}

const suffix = ".json"

// trim removes the oldest reports.
func (d *Dir) trim() error {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	type file struct {
		name string
		at   time.Time
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && filepath.Ext(e.Name()) == suffix {
			files = append(files, file{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	for _, f := range files[min(maxKept, len(files)):] {
		if err := os.Remove(filepath.Join(d.Path, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Load reads the report of a job. If there is none, the error wraps [ErrNone].
func (d *Dir) Load(job string) (*Report, error) {
	if d == nil || d.Path == "" {
		return nil, errNoReport
	}
	if !awsname.IsJob(job) {
		return nil, fmt.Errorf("%q: %w", job, ErrNone)
	}
	file := filepath.Join(d.Path, job+suffix)
	b, err := fsys.ReadSmall(file, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", job, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil || r.Job != job {
		return nil, fmt.Errorf("the report in %s cannot be read; remove it: %w", file, errors.Join(err, fs.ErrInvalid))
	}
	return r, nil
}
