package sealedcheckpoints

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// A Source is where sealed checkpoints are stored. Every [vault.Store] is one.
type Source interface {
	List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error]
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
}

// A Folder is a Source in a folder on this machine. Links in it are not followed.
type Folder struct{ Root *os.Root }

// List lists the files below a folder.
func (f Folder) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		err := fs.WalkDir(f.Root.FS(), path.Clean("./"+prefix), func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && !yield(vault.Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(vault.Object{}, err)
		}
	}
}

// Get reads a file.
func (f Folder) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := fsys.OpenRegular(f.Root, name, syscall.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = 1<<63 - 1 - off
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, off, n), file}, nil
}

// ReadMark reads the mark of sealed checkpoints below prefix, which is empty or ends in a
// slash. If there is none, the error is [ErrNone].
func ReadMark(ctx context.Context, src Source, prefix string) (Mark, error) {
	if err := given.Check(ctx, src != nil, errNoSource); err != nil {
		return Mark{}, err
	}
	for o, err := range src.List(ctx, prefix) {
		if err != nil {
			return Mark{}, err
		}
		if path.Base(o.Name) != MarkName {
			continue
		}
		r, err := src.Get(ctx, o.Name, 0, -1)
		if err != nil {
			return Mark{}, err
		}
		b, err := io.ReadAll(io.LimitReader(r, maxMark))
		r.Close()
		var m Mark
		if err != nil {
			return m, err
		}
		if json.Unmarshal(b, &m) == nil && m.ok() {
			return m, nil
		}
	}
	return Mark{}, ErrNone
}
