package view

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// ErrOutside is returned for a symbolic link to a place outside of the version, which is
// not followed. It wraps fs.ErrNotExist.
var ErrOutside = fmt.Errorf("a symbolic link leads out of the version: %w", fs.ErrNotExist)

// maxLinks is how many links are followed on the way to one file, as in Linux.
const maxLinks = 40

// resolve returns the entry at path, through links in its folders and, if last is
// followed, at its end.
func (v *View) resolve(name string, last how) (*tree.Entry, error) {
	for range maxLinks {
		e, err := v.find(name)
		switch {
		case err != nil:
			return nil, err
		case e != nil && (!e.IsLink() || last == asIs):
			return e, nil
		case e != nil:
			if name, err = target(name, e.Link, ""); err != nil {
				return nil, err
			}
			continue
		}
		// Nothing has the path: one of its folders may be a link.
		next, err := v.throughFolder(name)
		if err != nil {
			return nil, err
		}
		name = next
	}
	return nil, syscall.ELOOP
}

// how says what happens to a link at the end of a path.
type how int

const (
	followed how = iota
	asIs
)

// throughFolder replaces the first folder of a path that is a link by what it leads to.
func (v *View) throughFolder(name string) (string, error) {
	for i, c := range []byte(name) {
		if c != '/' {
			continue
		}
		e, err := v.find(name[:i])
		switch {
		case err != nil:
			return "", err
		case e == nil:
			return "", fs.ErrNotExist
		case e.IsLink():
			return target(name[:i], e.Link, name[i+1:])
		case !e.IsDir():
			return "", notFolder
		}
	}
	return "", fs.ErrNotExist
}

// notFolder is of a path that goes on behind a file. There is nothing there.
var notFolder error = errNotFolder{}

type errNotFolder struct{}

func (errNotFolder) Error() string { return syscall.ENOTDIR.Error() }

func (errNotFolder) Is(err error) bool {
	return err == fs.ErrNotExist || errors.Is(syscall.ENOTDIR, err)
}

// target is where a link at name leads, with the rest of the path behind it.
func target(name, link, rest string) (string, error) {
	if strings.HasPrefix(link, "/") || link == "" || strings.ContainsRune(link, 0) {
		return "", ErrOutside
	}
	to := path.Join(path.Dir(name), link, rest)
	if to == ".." || strings.HasPrefix(to, "../") {
		return "", ErrOutside
	}
	return to, nil
}
