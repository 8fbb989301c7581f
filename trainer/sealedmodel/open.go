package sealedmodel

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
)

// ErrNotSealed is returned for a model that has no mark, so was not sealed by
// vaultpack.
var ErrNotSealed = errors.New("the model is not sealed")

// FindMark reads the mark of a model.tar.gz.
func FindMark(r io.Reader) (Mark, error) {
	t, err := archive(r)
	if err != nil {
		return Mark{}, err
	}
	for {
		h, err := t.Next()
		if err == io.EOF {
			return Mark{}, ErrNotSealed
		}
		if err != nil {
			return Mark{}, fmt.Errorf("reading the archive: %w", err)
		}
		if path.Clean(h.Name) == MarkName {
			m, ok := readMark(t)
			if !ok {
				return m, fmt.Errorf("%w: %s cannot be read", ErrNotSealed, MarkName)
			}
			return m, nil
		}
	}
}

func archive(r io.Reader) (*tar.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("it is not a model.tar.gz: %w", err)
	}
	return tar.NewReader(z), nil
}

// An Opened counts what was in a model.
type Opened struct {
	Files int
	Bytes int64
	Weak  bool // the file system did not keep modes or times
}

// Open opens the files of a job's model.tar.gz and writes them to an empty folder. It
// returns an error for a file that is not sealed, or not sealed for its place in this job's
// model, and for a link that leads out of the folder. After an error the folder holds a
// part of the model, in which every file is complete.
func Open(ctx context.Context, r io.Reader, dir, job string, key *envelope.LocalKey) (o Opened, err error) {
	if err := given.Check(ctx, r != nil && dir != "" && key != nil, errors.New("sealedmodel: no archive, no folder, or no key")); err != nil {
		return o, err
	}
	t, err := archive(r)
	if err != nil {
		return o, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return o, err
	}
	defer root.Close()
	for {
		h, err := t.Next()
		if err == io.EOF {
			return o, nil
		}
		if err != nil {
			return o, fmt.Errorf("reading the archive: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return o, context.Cause(ctx)
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(name) && name != "." {
			return o, fmt.Errorf("%q leads out of the folder: %w", h.Name, envelope.ErrAuthentication)
		}
		switch {
		case h.Typeflag == tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case name == MarkName:
		case h.Typeflag == tar.TypeSymlink:
			err = link(root, name, h.Linkname)
		case h.Typeflag != tar.TypeReg || !strings.HasSuffix(name, Suffix):
			err = fmt.Errorf("%s is in the model and was not sealed: %w", name, envelope.ErrAuthentication)
		default:
			var n int64
			var weak bool
			n, weak, err = openFile(ctx, root, t, h, strings.TrimSuffix(name, Suffix), job, key)
			o.Files, o.Bytes, o.Weak = o.Files+1, o.Bytes+n, o.Weak || weak
		}
		if err != nil {
			return o, err
		}
	}
}

// link makes a link that leads to a place in the folder.
func link(root *os.Root, name, target string) error {
	if filepath.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("%s is a link to %s, which leads out of the model: %w", name, target, envelope.ErrAuthentication)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return root.Symlink(target, name)
}

// openFile opens a sealed file, and moves it into place when all of it is authentic. It
// never replaces an existing file.
func openFile(ctx context.Context, root *os.Root, src io.Reader, h *tar.Header, name, job string, key *envelope.LocalKey) (n int64, weak bool, err error) {
	r, err := envelope.Open(ctx, src, contextOf(job, name), key)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", name, err)
	}
	weak, err = create(ctx, root, name, h.FileInfo(), func(dst io.Writer) error {
		n, err = io.Copy(dst, r)
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return n, weak, err
}
