package sealedcheckpoints

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// opening is the subfolder of the destination that holds checkpoints until they have been
// authenticated.
const opening = ".vaultpack-opening"

// A Verifier returns an error unless text is a valid statement that the job made the set,
// whose digest is sum. text is empty for a set without one.
type Verifier func(ctx context.Context, s *Set, sum [sha256.Size]byte, text []byte) error

// An Opener opens sealed checkpoints. Its fields must be set, except Warn.
type Opener struct {
	Source Source
	Prefix string // of the names in Source: empty, or ending in a slash
	Job    string
	Key    *envelope.LocalKey
	Verify Verifier
	// Warn is called with what is left out, and the reason.
	Warn func(error)

	found map[string]map[string]int64 // the files of each host, with their sizes
}

var errNoSource = errors.New("sealedcheckpoints: no source, folder, job, key or verifier")

// Restore writes to the folder dir, for each host, the newest of its complete sets, and
// returns these sets. Of a file that several hosts have, it takes the one that was changed
// last. A set is not complete if one of its files is missing or older, as after losing the
// instance during the upload; Restore then calls Warn, and takes the set before it. If
// something is not authentic, nothing is written, and the error wraps
// [envelope.ErrAuthentication]. If there are no sets, the error is [ErrNone].
func (o *Opener) Restore(ctx context.Context, dir string) (sets []*Set, err error) {
	if err := given.Check(ctx, o != nil && o.Source != nil && o.Job != "" && o.Key != nil && o.Verify != nil && dir != "", errNoSource); err != nil {
		return nil, err
	}
	if err := o.list(ctx); err != nil {
		return nil, err
	}
	if len(o.found) == 0 {
		return nil, ErrNone
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.RemoveAll(opening); err != nil { // from a run that was killed
		return nil, err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(opening)) }()
	found := 0
	for _, host := range slices.Sorted(maps.Keys(o.found)) {
		all, err := o.sets(ctx, host)
		if err != nil {
			return nil, err
		}
		found += len(all)
		s, err := o.stage(ctx, root, host, all)
		if err != nil {
			return nil, err
		}
		if s != nil {
			sets = append(sets, s)
		}
	}
	if found == 0 {
		return nil, ErrNone
	}
	return sets, moveIn(root, sets)
}

func (o *Opener) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(fmt.Errorf(format, args...))
	}
}

// list finds out which files each host has.
func (o *Opener) list(ctx context.Context) error {
	o.found = map[string]map[string]int64{}
	others := 0
	for f, err := range o.Source.List(ctx, o.Prefix) {
		if err != nil {
			return err
		}
		host, name, ok := strings.Cut(strings.TrimPrefix(f.Name, o.Prefix), "/")
		if !ok || !isOurs(name) || !filepath.IsLocal(host) || host == "." || host == opening {
			if others++; others <= toldOfOthers {
				o.warn("%q is not a sealed checkpoint, and is left out", strings.TrimPrefix(f.Name, o.Prefix))
			}
			continue
		}
		if o.found[host] == nil {
			o.found[host] = map[string]int64{}
		}
		o.found[host][name] = f.Size
	}
	return nil
}

// toldOfOthers is how many files that are not ours are reported.
const toldOfOthers = 5

// isOurs reports whether the name is possible for a file of a host.
func isOurs(name string) bool {
	return name == MarkName || name == temporary || strings.HasSuffix(name, suffix) && !strings.Contains(name, "/")
}

// sets reads the sets of a host, the newest first.
func (o *Opener) sets(ctx context.Context, host string) (all []*Set, err error) {
	for name := range o.found[host] {
		n, ok := number(name, setName)
		if !ok {
			continue
		}
		s, err := o.set(ctx, host, name)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", host, name, err)
		}
		s.name = n
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Set) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}

func (o *Opener) set(ctx context.Context, host, name string) (*Set, error) {
	r, err := o.Source.Get(ctx, o.Prefix+host+"/"+name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sealed, err := envelope.Open(ctx, r, contextOf(o.Job, host, name), o.Key)
	if err != nil {
		return nil, unauthentic(err)
	}
	b, err := io.ReadAll(io.LimitReader(ctxio.Reader(ctx, sealed), maxSet+1))
	switch {
	case err != nil:
		return nil, unauthentic(err)
	case len(b) > maxSet:
		return nil, errMalformed
	}
	s, text, sum, err := decode(b)
	if err != nil {
		return nil, err
	}
	if s.Job != o.Job || s.Host != host {
		return nil, errMalformed
	}
	return s, o.Verify(ctx, s, sum, text)
}

// unauthentic makes one error from what was changed and what is not ours.
func unauthentic(err error) error {
	var other *envelope.NoKeyError
	if errors.As(err, &other) || errors.Is(err, envelope.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		return envelope.ErrAuthentication
	}
	return err
}

// errNotWhole is returned for a set that has not completely reached S3.
var errNotWhole = errors.New("not all of it was stored")

// stage opens the newest complete set into the folder opening/HOST. It returns nil if
// there is none.
func (o *Opener) stage(ctx context.Context, root *os.Root, host string, all []*Set) (*Set, error) {
	for _, s := range all {
		to := path.Join(opening, host)
		if err := root.RemoveAll(to); err != nil {
			return nil, err
		}
		if err := root.MkdirAll(to, 0o700); err != nil {
			return nil, err
		}
		err := o.openFiles(ctx, root, to, s)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errNotWhole) {
			return nil, err
		}
		o.warn("checkpoints of %s, set %d of %s: %w; the set before it is tried", host, s.Number, s.Made.Format("2006-01-02 15:04:05Z"), err)
	}
	if len(all) > 0 {
		o.warn("of the checkpoints of %s no set is whole: there is nothing to resume from", host)
		return nil, root.RemoveAll(path.Join(opening, host))
	}
	return nil, nil
}

func (o *Opener) openFiles(ctx context.Context, root *os.Root, to string, s *Set) error {
	for _, f := range s.Files {
		size, ok := o.found[s.Host][objectName(f.Object)]
		if len(f.Link) == 0 && (!ok || size != f.Sealed) {
			return fmt.Errorf("%q: %w", f.Path, errNotWhole)
		}
	}
	for _, f := range s.Files {
		name := path.Join(to, string(f.Path))
		err := root.MkdirAll(path.Dir(name), 0o755)
		switch {
		case err != nil:
		case len(f.Link) > 0:
			err = root.Symlink(string(f.Link), name)
		default:
			err = o.openFile(ctx, root, name, s.Host, &f)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", f.Path, err)
		}
	}
	return nil
}

// openFile opens a file. Contents that are authentic under its name but not those in the
// set belong to another set, which was stored while this one was not.
func (o *Opener) openFile(ctx context.Context, root *os.Root, to, host string, f *File) error {
	name := objectName(f.Object)
	src, err := o.Source.Get(ctx, o.Prefix+host+"/"+name, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return errNotWhole
	}
	if err != nil {
		return err
	}
	defer src.Close()
	r, err := envelope.Open(ctx, src, contextOf(o.Job, host, name), o.Key)
	if err != nil {
		return unauthentic(err)
	}
	dst, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(ctxio.Writer(ctx, dst), r)
	if err = errors.Join(err, dst.Close()); err != nil {
		return unauthentic(err)
	}
	if !f.pinned(r.Pin()) {
		return errNotWhole
	}
	if n != f.Size {
		return errMalformed
	}
	for _, err := range []error{root.Chmod(to, fs.FileMode(f.Mode).Perm()), root.Chtimes(to, f.Modified, f.Modified)} {
		if err != nil && !fsys.NoAttributes(err) {
			return err
		}
	}
	return nil
}

// moveIn moves what was opened into place.
func moveIn(root *os.Root, sets []*Set) error {
	for name, s := range winners(sets) {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.Rename(path.Join(opening, s.Host, name), name); err != nil {
			return fmt.Errorf("the checkpoint %q: %w", filepath.FromSlash(name), err)
		}
	}
	return nil
}

// winners returns for each path the set whose file is taken: the one that was changed last.
// All hosts compute the same result.
func winners(sets []*Set) map[string]*Set {
	won, files := map[string]*Set{}, map[string]*File{}
	for _, s := range sets { // by host
		for i := range s.Files {
			f := &s.Files[i]
			if old := files[string(f.Path)]; old == nil || f.Modified.After(old.Modified) {
				won[string(f.Path)], files[string(f.Path)] = s, f
			}
		}
	}
	return won
}

var _ Source = vault.Store(nil)
