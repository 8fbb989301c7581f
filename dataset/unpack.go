package dataset

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// An Unpack turns a folder that holds copies of a version's packs, as
// "<object ID>.vpk", into one that holds exactly the version's files. It goes pack
// by pack: the files of a pack are written beside the tree, the pack is compared
// with its pin, they take their places, and the pack is removed. So it needs room
// for the packs that it is at, and little more.
//
// What has been done is recorded in the vault's store, sealed as the records of an
// unfinished upload are: a run that was killed at any moment is gone on with, and
// one that was finished is found finished. A file is taken for done only if it is
// recorded and has not been touched since, by inode and change time. Anything else
// that lies in the folder is removed and told to Removed: what is there was brought
// by somebody who is not trusted.
//
// Nothing is synced to disk: the folder is to be as durable as the machine.
type Unpack struct {
	// Name tells the records of several folders in one store apart: a path element.
	Name string
	// Partial says that the folder has only a share of the packs, whole files in
	// each; those that are missing are somebody else's.
	Partial bool
	// Tars leaves the small files as the tars that they lie in, one a pack:
	// "<dataset>-000000.tar" and so on, without what is not in this version.
	Tars bool
	// Removed is told what else lay in the folder, from one goroutine.
	Removed func(path string)

	// Counters, to be read at any time.
	Files, Bytes atomic.Int64 // written
	Packs        atomic.Int64 // opened
	Done         atomic.Int64 // packs that an earlier run had opened
	Absent       atomic.Int64 // packs that are somebody else's

	version *Version
	packs   *objects.Set // reads packs from the private folder
	root    *os.Root
	lock    *os.File
	room    Room
	private string // the folder for packs and files being written, in root
	state   map[envelope.ObjectID]*packState
	done    *record
	large   largeFiles
	folders []*tree.Entry // in the order of their paths
	loose   []*tree.Entry // links, and files that lie in no pack
	held    []*tree.Entry // the whole index, unless it is large
}

// maxHeld is up to how many entries the index is read once and kept, some 100 MB.
var maxHeld int64 = 200_000

// privatePrefix begins the name of the folder in which an Unpack works. The rest
// is random and recorded only in sealed form, so that nobody who can have files put
// into the folder before it is opened can have them put in there.
const privatePrefix = ".vaultpack-open-"

// A packState is what the index says of a pack.
type packState struct {
	pieces int   // that lie in it
	need   int64 // bytes on disk of the files in it
	raw    bool  // it holds a piece of a large file, and no tar
	number int   // of a tar, in the order of the paths
	split  string
	there  bool
	done   bool
}

// Prepare looks at what there is and what is to be done: it brings the packs out of
// the way, removes what does not belong in dir, and fails if a pack is missing.
// Nothing is opened yet. Close is to be called afterwards, whatever has happened.
func (u *Unpack) Prepare(ctx context.Context, v *Version, dir string) (err error) {
	if u == nil {
		return errNoJob
	}
	if err := v.begin(ctx); err != nil {
		return err
	}
	if u.root != nil {
		return errors.New("dataset: this job has been prepared already; make another one")
	}
	defer func() { err = v.of().because(err) }()
	if err := u.open(v, dir); err != nil {
		return err
	}
	if u.lock, err = u.root.Open("."); err != nil {
		return err
	}
	// Where there are no locks, nobody else can be told of.
	if _, err := new(fsys.Calls).TryLock(u.lock); errors.Is(err, fsys.ErrLocked) {
		return fmt.Errorf("another vaultpack is opening %s: %w", dir, err)
	} else if err != nil {
		return err
	}
	if u.done, err = u.readRecords(ctx); err != nil {
		return err
	}
	if u.private = u.done.private; u.private == "" {
		u.private = privatePrefix + rand.Text()
	}
	if err := u.sweep(ctx); err != nil {
		return fmt.Errorf("looking through %s: %w", dir, err)
	}
	return u.survey(ctx)
}

// Close lets go of the folder.
func (u *Unpack) Close() {
	if u == nil {
		return
	}
	if u.root != nil {
		u.root.Close()
	}
	if u.lock != nil {
		u.lock.Close()
	}
}

// Room is what an Unpack takes of a file system, in bytes.
type Room struct {
	Device, Free uint64
	// Grow is by how much the files take more than the packs, which they replace,
	// and Flight what is there twice at one time at most.
	Grow, Flight int64
	// Inodes are the files and folders to be made, and FreeInodes how many there can
	// be; both are zero where there is no such bound.
	Inodes, FreeInodes uint64
}

// Room tells what Run is going to take. It is known once Prepare has returned.
func (u *Unpack) Room() Room { return u.room }

// Run makes the files. It returns an error if the folder does not hold all that it is
// to hold afterwards; both calls again, on a new Unpack, go on from there.
func (u *Unpack) Run(ctx context.Context) error {
	switch {
	case u == nil:
		return errNoJob
	case u.version == nil || u.lock == nil:
		return errors.New("dataset: this job was not prepared")
	}
	if err := u.version.begin(ctx); err != nil {
		return err
	}
	return u.version.set().During(ctx, func(ctx context.Context) error {
		if err := u.run(ctx); err != nil {
			return err
		}
		return u.finish(ctx)
	})
}

func (u *Unpack) open(v *Version, dir string) (err error) {
	if CheckName(u.Name) != nil {
		return fmt.Errorf("%q cannot name a folder's records", u.Name)
	}
	u.version = v
	if u.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	u.packs = v.set().Over(packStore{v.set().Vault.Store, u})
	u.state = map[envelope.ObjectID]*packState{}
	u.large.files = map[string]*largeFile{}
	return nil
}

// survey goes through the index once: what lies in which pack, which packs are
// there, and what room the files take.
func (u *Unpack) survey(ctx context.Context) error {
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(u.lock.Fd()), &disk); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(u.lock.Fd()), &st); err != nil {
		return os.NewSyscallError("stat", err)
	}
	block := max(int64(disk.Bsize), 512)
	onDisk := func(n int64) int64 { return (n + block - 1) / block * block }
	inodes, tars, missing := int64(0), 0, (*tree.Object)(nil)
	held, need, largest, weight := int64(0), int64(0), int64(0), int64(0)
	for e, err := range u.version.Entries(ctx) {
		if err != nil {
			return err
		}
		if err := u.checkEntry(e); err != nil {
			return err
		}
		weight += int64(codec.Weight(e))
		if inodes++; inodes <= maxHeld && weight <= codec.MaxWeight {
			u.held = append(u.held, e)
		} else {
			u.held = nil
		}
		switch {
		case e.IsDir():
			u.folders = append(u.folders, e)
		case len(e.Extents) == 0:
			u.loose = append(u.loose, e)
		}
		for i, x := range e.Extents {
			s := u.state[x.Pack.ID]
			if s == nil {
				s = &packState{number: -1, done: u.done.packs[x.Pack.ID]}
				u.state[x.Pack.ID] = s
				if s.there = u.hasPack(x.Pack); s.there && !s.done {
					held += x.Pack.Pin.Size
				}
				if !s.there && !s.done && missing == nil {
					missing = x.Pack
				}
			}
			s.pieces++
			s.raw = s.raw || x.Offset == 0 && x.Length > 0
			if !s.raw && s.number < 0 {
				s.number = tars
				tars++
			}
			s.need += onDisk(x.Length)
			if i > 0 {
				s.split = e.Path
				u.state[e.Extents[0].Pack.ID].split = e.Path
			}
		}
	}
	if missing != nil && !u.Partial {
		if p := u.done.stale; p != "" {
			return fmt.Errorf("%q has been changed since it was opened, and its pack is used up; begin with fresh packs: %w", p, ErrMissing)
		}
		return u.version.set().PackError(missing, ErrMissing)
	}
	for id, s := range u.state {
		switch {
		case u.Partial && s.split != "":
			return fmt.Errorf("%q lies in several packs, which do not all go to one host: give every host the whole dataset (FullyReplicated)", s.split)
		case s.done:
			u.Done.Add(1)
			u.removePack(id)
		case s.there:
			need += s.need
			largest = max(largest, s.need)
		default:
			u.Absent.Add(1)
		}
	}
	u.room = Room{Device: uint64(st.Dev), Free: disk.Bavail * uint64(block)}
	if need > 0 {
		u.room.Grow, u.room.Flight = max(need-held, 0), int64(objects.PackReaders())*largest+4<<20
		if disk.Files > 0 {
			u.room.Inodes, u.room.FreeInodes = uint64(inodes), disk.Ffree
		}
	}
	return nil
}

// entries gives the version's entries once more.
func (u *Unpack) entries(ctx context.Context) iter.Seq2[*tree.Entry, error] {
	if u.held == nil {
		return u.version.Entries(ctx)
	}
	return func(yield func(*tree.Entry, error) bool) {
		for _, e := range u.held {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// checkEntry refuses the names that are an Unpack's own.
func (u *Unpack) checkEntry(e *tree.Entry) error {
	if strings.HasPrefix(e.Path, privatePrefix) {
		return fmt.Errorf("the dataset's %q has a name that is vaultpack's own in a folder that is opened in place; rename it and upload it again", e.Path)
	}
	return nil
}

// run gives each pack, once all that lies in it has been found, to a worker.
func (u *Unpack) run(ctx context.Context) error {
	n := objects.PackReaders()
	idle := make(chan *unpacker, n)
	defer func() {
		for len(idle) > 0 {
			(<-idle).close()
		}
	}()
	for i := range n {
		w, err := u.newWorker(i)
		if err != nil {
			return err
		}
		idle <- w
	}
	return workers.Run(ctx, n, func(ctx context.Context, g *workers.Group) error {
		return u.deal(ctx, func(pieces []packs.Piece) {
			g.Go(func() error {
				w := <-idle // there are as many as can run at once
				defer func() { idle <- w }()
				return w.pack(ctx, pieces)
			})
		})
	})
}

// deal collects the pieces of each pack, in the order of the index, and makes the
// folders that they are to lie in.
func (u *Unpack) deal(ctx context.Context, give func([]packs.Piece)) error {
	pending := map[envelope.ObjectID][]packs.Piece{}
	folders := Restore{root: u.root}
	defer folders.last.close()
	for _, e := range u.folders {
		if u.Tars {
			break
		}
		if err := folders.folder(ctx, e, true); err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	for e, err := range u.entries(ctx) {
		if err != nil {
			return err
		}
		if len(e.Extents) > 1 {
			if err := u.large.add(ctx, u, e); err != nil {
				return err
			}
		}
		for _, x := range e.Extents {
			id := x.Pack.ID
			s := u.state[id]
			if s.done || !s.there {
				continue
			}
			pending[id] = append(pending[id], packs.Piece{Entry: e, Extent: x})
			if len(pending[id]) < s.pieces {
				continue
			}
			give(pending[id])
			delete(pending, id)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// finish makes what lies in no pack, and removes what is the Unpack's own.
func (u *Unpack) finish(ctx context.Context) error {
	var failed error
	r := &Restore{version: u.version, root: u.root, Failed: func(path string, err error) {
		failed = errors.Join(failed, fmt.Errorf("%q: %w", path, err))
	}}
	defer r.last.close()
	r.staging = u.private + "/last"
	last, err := u.privateFolder("last")
	if err != nil {
		return err
	}
	defer last.Close()
	r.stageFD = int(last.Fd())
	for _, e := range u.loose {
		if e.IsLink() {
			err = r.link(ctx, e)
		} else {
			r.staged = map[*tree.Entry]*stagedFile{e: {}}
			if err = r.stageSmall(e, strings.NewReader("")); err == nil {
				err = r.place(r.staged[e].name, e)
			}
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	if err := u.root.RemoveAll(u.private); err != nil {
		return fmt.Errorf("removing what is left of the packs: %w", err)
	}
	if u.Tars {
		return ctx.Err()
	}
	// Each folder after all that lies in it.
	for _, e := range slices.Backward(u.folders) {
		r.closeFolder(e)
	}
	return errors.Join(failed, ctx.Err())
}

// privateFolder makes and opens a folder in the private one.
func (u *Unpack) privateFolder(name string) (*os.File, error) {
	path := u.private
	for _, elem := range []string{"", name} {
		if elem != "" {
			path += "/" + elem
		}
		if err := u.root.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return u.root.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}
