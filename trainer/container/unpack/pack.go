package unpack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/vault"
)

// An unpacker works on one pack after another, concurrently with other unpackers.
// Its dest stages and places files.
type unpacker struct {
	*Job
	to      *place.Dest
	staging *os.File
}

func (u *Job) newWorker(i int) (*unpacker, error) {
	staging, err := u.privateFolder(fmt.Sprintf("staged-%d", i))
	if err != nil {
		return nil, err
	}
	return &unpacker{Job: u, staging: staging, to: place.NewDest(u.root, int(staging.Fd()), &u.Bytes)}, nil
}

func (w *unpacker) close() {
	w.to.CloseLast()
	w.staging.Close()
}

// pack opens a pack. pieces are all that the version has in it, sorted by path.
func (w *unpacker) pack(ctx context.Context, pieces []packs.Piece) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	slices.SortFunc(pieces, func(a, b packs.Piece) int { return cmp.Compare(a.Extent.Offset, b.Extent.Offset) })
	pack := pieces[0].Extent.Pack
	s := w.state[pack.ID]
	var entries []*tree.Entry
	var err error
	if w.opts.Tars && !s.raw {
		entries, err = w.tar(ctx, pieces)
	} else {
		entries, err = w.files(ctx, pieces)
	}
	if err == nil {
		err = w.record(ctx, pack.ID.String(), entries)
	}
	if err != nil {
		return err
	}
	w.removePack(pack.ID)
	w.Packs.Add(1)
	for _, p := range pieces {
		if len(p.Entry.Extents) > 1 {
			if err := w.large.took(ctx, w.Job, p.Entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// files writes the files, or the piece of a file, in a pack, and returns what has
// to be recorded.
func (w *unpacker) files(ctx context.Context, pieces []packs.Piece) ([]*tree.Entry, error) {
	var whole []*tree.Entry
	for _, p := range pieces {
		if len(p.Entry.Extents) == 1 {
			whole = append(whole, p.Entry)
		}
	}
	w.to.Prepare(whole)
	defer w.to.Discard()
	var failed error
	for _, round := range packs.Rounds(pieces) {
		_, err := packs.ReadWholePack(ctx, w.packs, pieces[0].Extent.Pack, round, func(e *tree.Entry, x tree.Extent, src io.Reader) error {
			if len(e.Extents) == 1 {
				return w.to.Stage(e, x, src)
			}
			n, err := w.large.write(w.Job, e, x, src)
			w.Bytes.Add(n)
			return err
		}, func(e *tree.Entry, err error) { failed = errors.Join(failed, fmt.Errorf("%q: %w", e.Path, err)) })
		if err = cmp.Or(err, failed); err != nil {
			return nil, err
		}
	}
	// The pack is the pinned one, so its files are moved into place.
	entries := make([]*tree.Entry, 0, len(pieces))
	var err error
	again := map[*tree.Entry]*tree.Entry{}
	for _, p := range pieces {
		if e := again[p.Entry]; e != nil { // a file that is in this pack several times
			e.Extents = append(e.Extents, p.Extent)
			continue
		}
		done := *p.Entry
		done.Extents = []tree.Extent{p.Extent}
		again[p.Entry] = &done
		if len(p.Entry.Extents) > 1 {
			done.Seen = w.large.seen(p.Entry)
		} else {
			if done.Seen, err = w.place(p.Entry); err != nil {
				return nil, fmt.Errorf("%q: %w", p.Entry.Path, err)
			}
			w.Files.Add(1)
		}
		entries = append(entries, &done)
	}
	return entries, nil
}

// place moves a staged file into place, and returns what identifies it later.
func (w *unpacker) place(e *tree.Entry) (tree.Seen, error) {
	st, err := w.to.Complete(e)
	return seenOf(&st), err
}

// largeFiles are the files that span several packs, whose pieces are assembled
// outside of the tree.
type largeFiles struct {
	mu    sync.Mutex
	files map[string]*largeFile
}

type largeFile struct {
	f    *os.File
	left int // pieces that are not yet recorded
	seen tree.Seen
}

// largeName returns the path at which the file is assembled.
func (u *Job) largeName(e *tree.Entry) string {
	return path.Join(u.private, "large", pathID(e))
}

// pathID identifies a file by its path, since other files may share its packs.
func pathID(e *tree.Entry) string {
	sum := sha256.Sum256([]byte(e.Path))
	return hex.EncodeToString(sum[:])
}

// add begins a file of several pieces, some of which may have been written by an
// earlier run.
func (l *largeFiles) add(ctx context.Context, u *Job, e *tree.Entry) error {
	left := 0
	for _, x := range e.Extents {
		if !u.state[x.Pack.ID].done {
			left++
		}
	}
	if left == 0 && u.done.whole[e.Path] {
		return nil
	}
	l.mu.Lock()
	l.files[e.Path] = &largeFile{left: left}
	l.mu.Unlock()
	if left > 0 {
		return nil
	}
	return l.complete(ctx, u, e)
}

// open opens the file in which the pieces are assembled.
func (l *largeFiles) open(u *Job, e *tree.Entry) (*largeFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	file := l.files[e.Path]
	if file.f != nil {
		return file, nil
	}
	dir, err := u.privateFolder("large")
	if err != nil {
		return nil, err
	}
	dir.Close()
	f, err := u.root.OpenFile(u.largeName(e), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	// What changes with every piece is excluded.
	file.f, file.seen = f, tree.Seen{Host: seenHere, Inode: uint64(st.Ino)}
	return file, nil
}

func (l *largeFiles) write(u *Job, e *tree.Entry, x tree.Extent, src io.Reader) (int64, error) {
	file, err := l.open(u, e)
	if err != nil {
		return 0, err
	}
	return io.Copy(io.NewOffsetWriter(file.f, x.At), src)
}

func (l *largeFiles) seen(e *tree.Entry) tree.Seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files[e.Path].seen
}

// took counts a piece that has been recorded. The last one completes the file.
func (l *largeFiles) took(ctx context.Context, u *Job, e *tree.Entry) error {
	l.mu.Lock()
	file := l.files[e.Path]
	file.left--
	last := file.left == 0
	l.mu.Unlock()
	if !last {
		return nil
	}
	return l.complete(ctx, u, e)
}

// complete moves a file into place. If a run is killed here, the next one finds all
// pieces recorded and continues.
func (l *largeFiles) complete(ctx context.Context, u *Job, e *tree.Entry) error {
	done := *e
	name := pathID(e) + wholeSuffix
	var err error
	if u.done.keep[e.Path] {
		var info fs.FileInfo
		if info, err = u.root.Lstat(e.Name()); err == nil {
			done.Seen = seenOfInfo(info)
		}
	} else if err = u.forget(ctx, name); err == nil {
		// What was in its place before is no longer known.
		done.Seen, err = l.place(u, e)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	u.Files.Add(1)
	l.mu.Lock()
	delete(l.files, e.Path)
	l.mu.Unlock()
	return u.record(ctx, name, []*tree.Entry{&done})
}

func (l *largeFiles) place(u *Job, e *tree.Entry) (tree.Seen, error) {
	file, err := l.open(u, e)
	if err != nil {
		return tree.Seen{}, err
	}
	if err := file.f.Truncate(e.Size); err != nil {
		return tree.Seen{}, err
	}
	dir, err := u.privateFolder("large")
	if err != nil {
		return tree.Seen{}, err
	}
	defer dir.Close()
	w := &unpacker{Job: u, to: place.NewDest(u.root, int(dir.Fd()), &u.Bytes)}
	defer w.to.CloseLast()
	w.to.Adopt(e, path.Base(u.largeName(e)), file.f)
	return w.place(e)
}

// packFile returns where a pack is until it is used up.
func (u *Job) packFile(id envelope.ObjectID) string {
	return path.Join(u.private, "packs", id.String()+".vpk")
}

func (u *Job) hasPack(o *tree.Object) bool {
	info, err := u.root.Lstat(u.packFile(o.ID))
	return err == nil && info.Mode().IsRegular()
}

// removePack frees space. A pack that cannot be removed is removed with its folder.
func (u *Job) removePack(id envelope.ObjectID) { u.root.Remove(u.packFile(id)) }

// A packStore reads packs from the folder, and everything else from the vault.
type packStore struct {
	vault.Store
	u *Job
}

func (s packStore) Unwrap() vault.Store { return s.Store }

func (s packStore) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	base, ok := strings.CutPrefix(name, s.u.version.Dataset()+"/packs/")
	if !ok || off != 0 || n >= 0 {
		return s.Store.Get(ctx, name, off, n)
	}
	// Return the file itself: package envelope reads several places of a file at once.
	f, err := fsys.OpenRegular(s.u.root, path.Join(s.u.private, "packs", base), unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return f, nil
}

const seenHere = "here"

func seenOf(st *unix.Stat_t) tree.Seen {
	return tree.Seen{Host: seenHere, Inode: uint64(st.Ino), ChangeTime: place.ChangeTime(st)}
}

// isSettled reports whether what was seen is a file that had been moved into place.
func isSettled(s tree.Seen) bool { return s.Host == seenHere && !s.ChangeTime.IsZero() }
