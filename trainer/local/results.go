package local

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/pgzip"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// Results are the files that a job has made, in the job's folder.
type Results struct {
	Job string
	// Unfinished reports whether there is no usable model, because the job failed, or
	// because it made none.
	Unfinished bool

	base  string
	ended time.Time
	apart bool // the checkpoints are none of them, and have a place of their own
	// stored are the checkpoints that are in that place already, in S3.
	stored map[string]stamp
}

// An item is a file among the results, under the name that it is delivered by.
type item struct {
	name    string
	mode    fs.FileMode
	changed time.Time
	write   func(io.Writer) error
}

// The names are those that SageMaker gives. The model of a failed job, which SageMaker
// drops, is kept under a name that is not taken for a model's.
const (
	modelName       = "model.tar.gz"
	failedModelName = "failed-model.tar.gz"
	outputName      = "output.tar.gz"
)

func newResults(base, job string, status Status, ended time.Time, checkpoints Destination) *Results {
	r := &Results{Job: job, base: base, ended: ended, apart: checkpoints != (Destination{})}
	r.Unfinished = status == Failed || isEmpty(r.model())
	return r
}

func (r *Results) model() string       { return filepath.Join(r.base, "model") }
func (r *Results) outputData() string  { return filepath.Join(r.base, "output", "data") }
func (r *Results) checkpoints() string { return filepath.Join(r.base, checkpointsName) }

// Empty reports whether the job has made nothing, apart from checkpoints that have their
// own place.
func (r *Results) Empty() bool {
	return isEmpty(r.model()) && isEmpty(r.outputData()) && (r.apart || isEmpty(r.checkpoints()))
}

// archives are the results that are delivered as archives. They are made as they are
// written: nothing needs room for them where the job's files are.
func (r *Results) archives() []item {
	archive := func(name, dir string) item {
		return item{name, 0o600, r.ended, func(w io.Writer) error { return pack(w, dir) }}
	}
	var items []item
	switch {
	case !r.Unfinished:
		items = append(items, archive(modelName, r.model()))
	case !isEmpty(r.model()):
		items = append(items, archive(failedModelName, r.model()))
	}
	if !isEmpty(r.outputData()) {
		items = append(items, archive(outputName, r.outputData()))
	}
	return items
}

// checkpointFiles are the checkpoints as S3 would have them, where there are no links: in
// place of a link to a file of the job there is the file. What cannot be kept so is told
// to warn.
func (r *Results) checkpointFiles(warn func(error)) ([]item, error) {
	if isEmpty(r.checkpoints()) {
		return nil, nil
	}
	var items []item
	err := filepath.WalkDir(r.checkpoints(), func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(r.base, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := r.follow(file)
			if err != nil {
				warn(fmt.Errorf("%q in the job's output is a link that does not lead to a file of the job, and is skipped: %w", name, err))
				return nil
			}
			file = target
		}
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			warn(fmt.Errorf("%q in the job's output is not a file, a folder or a link to a file, and is skipped", name))
			return nil
		}
		items = append(items, item{name, info.Mode().Perm(), info.ModTime(), func(w io.Writer) error { return copyFrom(w, file) }})
		return nil
	})
	return items, err
}

// follow gives the file of the job that a link leads to. The job has seen its folder as
// /opt/ml.
func (r *Results) follow(link string) (string, error) {
	for range 16 {
		info, err := os.Lstat(link)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			real, err := filepath.EvalSymlinks(link)
			base, berr := filepath.EvalSymlinks(r.base)
			if err != nil || berr != nil {
				return "", errors.Join(err, berr)
			}
			if !strings.HasPrefix(real, base+string(filepath.Separator)) {
				return "", errors.New("it leads out of the job's folder")
			}
			return real, nil
		}
		target, err := os.Readlink(link)
		if err != nil {
			return "", err
		}
		switch rel, own := strings.CutPrefix(path.Clean(target), container.BaseDir+"/"); {
		case own:
			link = filepath.Join(r.base, rel)
		case filepath.IsAbs(target):
			link = target
		default:
			link = filepath.Join(filepath.Dir(link), target)
		}
	}
	return "", errors.New("it leads to too many other links")
}

func copyFrom(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// pack writes the files below dir as a compressed tar. Links are kept as links, and
// what is no file is left out. All cores compress, each a block of 1 MiB at a time, so that
// the bytes do not depend on their number.
func pack(w io.Writer, dir string) (err error) {
	zw := pgzip.NewWriter(w)
	defer func() {
		if err = errors.Join(err, zw.Close()); err != nil {
			zw.Reset(io.Discard) // ends its goroutines, which Close leaves after an error
		}
	}()
	tw := tar.NewWriter(zw)
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		return add(tw, name, filepath.ToSlash(rel))
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

func add(tw *tar.Writer, name, rel string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(name); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Uid, h.Gid = rel, "", "", 0, 0
	if info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(tw, f, h.Size)
	return err
}
