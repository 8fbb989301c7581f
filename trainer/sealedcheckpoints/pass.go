package sealedcheckpoints

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/place"
)

// A moment is when a look takes place: while the command runs, or after it has ended.
type moment int

const (
	running moment = iota
	ended
)

// A state is the state of a file at a look. Changing the file changes its state.
type state struct {
	ino              uint64
	size             int64
	modified, change time.Time
	mode             fs.FileMode
	link             string // where a link leads to
}

// errChanges is returned for a file that changes while it is sealed.
var errChanges = errors.New("it is being changed")

// look returns the state of each file in the script's folder.
func (k *Keeper) look() (map[string]state, error) {
	now := map[string]state{}
	err := fs.WalkDir(k.plain.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed in the meantime
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := k.plain.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s := stateOf(info)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			var ok bool
			if s.link, ok = k.target(name); !ok {
				return nil
			}
		case !info.Mode().IsRegular():
			k.once("%q among the checkpoints is neither a file nor a link, and is not kept", name)
			return nil
		}
		now[name] = s
		return nil
	})
	return now, err
}

func stateOf(info fs.FileInfo) state {
	s := state{size: info.Size(), modified: info.ModTime(), mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ino, s.change = st.Ino, place.ChangeTimeOf(st)
	}
	return s
}

// target returns where a link leads, relative to its folder. ok is false if it leads out
// of the checkpoints, or is gone.
func (k *Keeper) target(name string) (to string, ok bool) {
	to, err := k.plain.Readlink(name)
	if err != nil {
		return "", false
	}
	if filepath.IsAbs(to) {
		if to, err = filepath.Rel(filepath.Join(k.Plain, filepath.Dir(name)), to); err != nil {
			return "", false
		}
	}
	if !staysInside(name, to) {
		k.once("%q among the checkpoints is a link that leads out of their folder, and is not kept", name)
		return "", false
	}
	return to, true
}

// once reports something only the first time.
func (k *Keeper) once(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !k.told[line] && len(k.told) < 1000 {
		k.told[line] = true
		k.Logf("warning: %s", line)
	}
}

// pass looks once, and makes the next set if there is one. While the command runs it waits
// until everything is finished; after some time it takes what is finished: unfinished files
// are then as in the last set, and no file of that set is missing.
func (k *Keeper) pass(ctx context.Context, m moment) error {
	now, err := k.look()
	if err != nil {
		return err
	}
	last := k.last
	k.last = now
	if !k.changed(now) {
		k.since = time.Time{}
		return nil
	}
	if k.since.IsZero() {
		k.since = time.Now()
	}
	unfinished := map[string]bool{}
	if m == running {
		unfinished = k.unfinished(now, last)
	}
	late := time.Since(k.since) >= k.patience
	if len(unfinished) > 0 && !late {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if unfinished[name] || k.has(name, now[name]) {
			continue
		}
		switch err := k.seal(ctx, name, now[name]); {
		case errors.Is(err, errChanges) && m == running && late:
			unfinished[name] = true
		case errors.Is(err, errChanges) && m == running:
			return nil
		case err != nil:
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if err := k.commit(ctx, now, unfinished); err != nil {
		return err
	}
	k.since = time.Time{}
	return nil
}

func (k *Keeper) has(name string, s state) bool {
	h, ok := k.have[name]
	return ok && h.state == s
}

// changed reports whether the newest set differs from what there is.
func (k *Keeper) changed(now map[string]state) bool {
	if k.begun {
		return true
	}
	for name, s := range now {
		if !k.has(name, s) {
			return true
		}
	}
	for name, h := range k.have {
		if _, there := now[name]; !there && !h.others {
			return true
		}
	}
	return false
}

// unfinished returns the files that somebody may be writing.
func (k *Keeper) unfinished(now, last map[string]state) map[string]bool {
	names := map[string]bool{}
	for name, s := range now {
		if k.has(name, s) {
			continue
		}
		if before, ok := last[name]; !ok || before != s || s.link == "" && k.beingWritten(name) {
			names[name] = true
		}
	}
	return names
}

func (k *Keeper) beingWritten(name string) bool {
	f, err := fsys.OpenRegular(k.plain, name, syscall.O_NOFOLLOW)
	if err != nil {
		return true // it is gone, or will be reported when it is sealed
	}
	defer f.Close()
	return isBeingWritten(f)
}

// seal seals a file in a certain state, and records that.
func (k *Keeper) seal(ctx context.Context, name string, s state) error {
	f := File{Path: []byte(name), Mode: uint32(s.mode.Perm()), Modified: s.modified.UTC(), Size: s.size}
	if s.link != "" {
		f = File{Path: []byte(name), Modified: s.modified.UTC(), Link: []byte(s.link)}
	} else if err := k.sealFile(ctx, name, s, &f); err != nil {
		return err
	}
	k.have[name], k.begun = have{state: s, file: f}, true
	return nil
}

func (k *Keeper) sealFile(ctx context.Context, name string, s state, to *File) error {
	src, err := fsys.OpenRegular(k.plain, name, syscall.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return errChanges
	}
	if err != nil {
		return err
	}
	defer src.Close()
	same := func() error {
		info, err := src.Stat()
		if err == nil && stateOf(info) != s {
			err = errChanges
		}
		return err
	}
	if err := same(); err != nil {
		return err
	}
	to.Object = k.objects.take(k.rest)
	object := objectName(to.Object)
	return k.write(object, func(dst io.Writer) error {
		w, err := envelope.Seal(ctx, dst, contextOf(k.Mark.Job, k.Host, object), k.Key)
		if err != nil {
			return err
		}
		defer w.Abort()
		w.Use(envelope.Workers(sealers))
		if _, err := w.ReadFrom(ctxio.Reader(ctx, src)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		to.Sealed, to.Digest = w.Pin().Size, fmt.Sprintf("%x", w.Pin().Digest)
		return same()
	})
}

// sealers returns on how many cores sealing may run alongside the training.
const sealers = 2

// write atomically writes a file of the stored folder.
func (k *Keeper) write(name string, write func(io.Writer) error) error {
	temp := filepath.Join(k.temp, temporary)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err == nil {
		err = os.Rename(temp, filepath.Join(k.own, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// commit makes a set of what is sealed, unless that already is the newest set. A set is never
// empty: a script that is about to rewrite its only checkpoint may have removed it.
func (k *Keeper) commit(ctx context.Context, now map[string]state, unfinished map[string]bool) error {
	s := &Set{Format: setFormat, Job: k.Mark.Job, Host: k.Host, Number: k.number + 1, Made: time.Now().UTC().Truncate(time.Second)}
	for _, name := range slices.Sorted(maps.Keys(k.have)) {
		if _, there := now[name]; !k.have[name].others && (there || len(unfinished) > 0) {
			s.Files = append(s.Files, k.have[name].file)
		}
	}
	if len(s.Files) == 0 || len(k.sets) > 0 && slices.EqualFunc(s.Files, k.sets[len(k.sets)-1].Files, sameFile) {
		return nil
	}
	var sign func(sum [sha256.Size]byte) ([]byte, error)
	if k.Sign != nil {
		sign = func(sum [sha256.Size]byte) ([]byte, error) { return k.Sign(ctx, s, sum) }
	}
	b, err := s.encode(sign)
	if err != nil {
		return err
	}
	s.name = k.setNames.take(k.rest)
	name := setName(s.name)
	err = k.write(name, func(dst io.Writer) error {
		_, err := envelope.SealFrom(ctx, dst, strings.NewReader(string(b)), contextOf(k.Mark.Job, k.Host, name), k.Key)
		return err
	})
	if err != nil {
		return err
	}
	k.Logf("sealed the checkpoints: set %d, files: %d, bytes: %d", s.Number, len(s.Files), s.Bytes())
	k.number, k.begun = s.Number, false
	k.sets = append(k.sets, s)
	if len(unfinished) == 0 {
		for name := range k.have {
			if _, there := now[name]; !there {
				delete(k.have, name)
			}
		}
	}
	return k.collect()
}

func sameFile(a, b File) bool {
	return string(a.Path) == string(b.Path) && string(a.Link) == string(b.Link) && a.Object == b.Object && a.Digest == b.Digest
}
