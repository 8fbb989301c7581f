package sealedmodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
)

// Suffix is the suffix of the names of sealed files. MarkName is the file that marks a model
// as sealed.
const (
	Suffix   = ".vpk"
	MarkName = ".vaultpack/sealed-model.json"
)

// A Mark says that a model is sealed, and where its key is. It is not
// authenticated: it only helps to find the key, which then opens the model or does
// not.
type Mark struct {
	Format  string `json:"format"`
	Job     string `json:"job"`
	Dataset string `json:"dataset"` // the dataset of the job
}

const markFormat = "vaultpack-sealed-model/1"

// ErrNoModel is returned by Seal for a folder without files.
var ErrNoModel = errors.New("there is no model to seal")

// Seal replaces each file below the folder dir with a sealed file whose name has the
// [Suffix], one after another, so that it never needs more additional space than the
// largest file. Links are kept. Seal returns the number of files.
//
// Files that could not be sealed are moved to the folder aside, so that nothing
// unsealed is left: SageMaker stores everything in the folder, even after a failure.
func Seal(ctx context.Context, dir, aside string, key *envelope.LocalKey, m Mark) (n int, err error) {
	if err := given.Check(ctx, dir != "" && aside != "" && key != nil, errors.New("sealedmodel: no folder, or no key")); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNoModel
	} else if err != nil {
		return 0, err
	}
	defer root.Close()
	names, failed, errs := plain(root)
	if len(names)+len(failed)+len(errs) == 0 {
		return 0, ErrNoModel
	}
	for _, name := range names {
		if err := sealFile(ctx, root, name, key, m.Job); err != nil {
			failed = append(failed, name)
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		n++
	}
	if len(errs) > 0 {
		errs = append(errs, moveAside(dir, aside, failed))
		return n, fmt.Errorf("sealing the model: %w", errors.Join(errs...))
	}
	m.Format = markFormat
	return n, writeMark(root, m)
}

// plain returns the existing files, and entries that do not belong in a model or cannot be
// read.
func plain(root *os.Root) (names, failed []string, errs []error) {
	fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			failed, errs = append(failed, name), append(errs, err)
			if e != nil && e.IsDir() {
				return fs.SkipDir
			}
		case e.IsDir(), e.Type()&fs.ModeSymlink != 0:
		case !e.Type().IsRegular():
			failed, errs = append(failed, name), append(errs, fmt.Errorf("%s is not a file: the script has to remove it", name))
		default:
			names = append(names, name)
		}
		return nil
	})
	return names, failed, errs
}

func sealFile(ctx context.Context, root *os.Root, name string, key *envelope.LocalKey, job string) error {
	src, err := fsys.OpenRegular(root, name, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	_, err = create(ctx, root, name+Suffix, info, func(dst io.Writer) error {
		_, err := envelope.SealFrom(ctx, dst, src, contextOf(job, name), key)
		return err
	})
	if err != nil {
		return err
	}
	return root.Remove(name)
}

// create writes a new file, with the mode and time of another if the file system keeps
// those. Weak reports that it does not.
func create(ctx context.Context, root *os.Root, name string, as fs.FileInfo, write func(io.Writer) error) (weak bool, err error) {
	folder := atomicfile.Folder{Root: root, Prefix: ".vaultpack-"}
	if err := folder.Create(ctx, name, 0o600, write); err != nil {
		return false, err
	}
	for _, err := range []error{root.Chmod(name, as.Mode().Perm()), root.Chtimes(name, as.ModTime(), as.ModTime())} {
		if fsys.NoAttributes(err) {
			weak = true
		} else if err != nil {
			return weak, err
		}
	}
	return weak, nil
}

// moveAside moves files out of the folder. A file that cannot be moved is removed: it
// must not be stored in the clear.
func moveAside(dir, aside string, names []string) error {
	var errs []error
	for _, name := range names {
		to := filepath.Join(aside, name)
		err := os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = os.Rename(filepath.Join(dir, name), to)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s could not be kept either: %w", name, err), os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

func writeMark(root *os.Root, m Mark) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(path.Dir(MarkName), 0o755); err != nil {
		return err
	}
	return root.WriteFile(MarkName, append(b, '\n'), 0o644)
}

// readMark reads a mark. It is not authenticated.
func readMark(r io.Reader) (m Mark, ok bool) {
	b, err := io.ReadAll(io.LimitReader(r, keyMax))
	return m, err == nil && json.Unmarshal(b, &m) == nil && m.Format == markFormat && m.Job != "" && !strings.ContainsAny(m.Job, "/")
}
