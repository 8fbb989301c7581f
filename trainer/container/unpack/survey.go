package unpack

import (
	"context"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// maxHeld is the number of entries up to which the index is read once and kept, about 100 MB.
var maxHeld int64 = 200_000

// A packState is what the index says about a pack.
type packState struct {
	pieces int   // in the pack
	need   int64 // bytes on disk of the files in it
	raw    bool  // it holds a piece of a large file, not a tar
	number int   // of a tar, in the order of the paths
	split  string
	there  bool
	done   bool
}

// Room is the space that a Job needs in a file system, in bytes.
type Room struct {
	Device, Free uint64
	// Grow is how much more space the files take than the packs that they replace.
	// Flight is the maximum that exists twice at one time.
	Grow, Flight int64
	// Inodes is the number of files and folders to create, and FreeInodes how many
	// can be created. Both are zero if there is no such limit.
	Inodes, FreeInodes uint64
}

// Room returns how much space Run needs. It is known once Prepare has returned.
func (u *Job) Room() Room { return u.room }

// survey reads the index once, to find out what is in which pack, which packs are
// present, and how much space the files take.
func (u *Job) survey(ctx context.Context) error {
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(u.lock.Fd()), &disk); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(u.lock.Fd()), &st); err != nil {
		return os.NewSyscallError("stat", err)
	}
	s := surveyor{Job: u, block: max(int64(disk.Bsize), 512)}
	weight := int64(0)
	for e, err := range u.version.Entries(ctx) {
		if err != nil {
			return err
		}
		if err := u.checkEntry(e); err != nil {
			return err
		}
		weight += int64(codec.Weight(e))
		if s.inodes++; s.inodes <= maxHeld && weight <= codec.MaxWeight {
			u.held = append(u.held, e)
		} else {
			u.held = nil
		}
		s.entry(e)
	}
	if s.missing != nil && !u.opts.Partial {
		if p := u.done.stale; p != "" {
			return fmt.Errorf("%q was changed after it was opened, and its pack is gone; start a new job, with fresh packs: %w", p, dataset.ErrMissing)
		}
		return objects.Of(u.version).PackError(s.missing, dataset.ErrMissing)
	}
	need, largest, err := u.openable()
	if err != nil {
		return err
	}
	u.room = Room{Device: uint64(st.Dev), Free: disk.Bavail * uint64(s.block)}
	if need > 0 {
		u.room.Grow, u.room.Flight = max(need-s.held, 0), int64(objects.PackReaders())*largest+4<<20
		if disk.Files > 0 {
			u.room.Inodes, u.room.FreeInodes = uint64(s.inodes), disk.Ffree
		}
	}
	return nil
}

// A surveyor collects what the entries of a version say about its packs.
type surveyor struct {
	*Job
	block   int64 // of the file system, in bytes
	inodes  int64
	tars    int
	held    int64        // bytes of the packs that are present and have to be opened
	missing *tree.Object // the first pack that is neither present nor done
}

// entry takes one entry into account.
func (s *surveyor) entry(e *tree.Entry) {
	switch {
	case e.IsDir():
		s.folders = append(s.folders, e)
	case len(e.Extents) == 0:
		s.loose = append(s.loose, e)
	}
	for i, x := range e.Extents {
		p := s.pack(x.Pack)
		p.pieces++
		p.raw = p.raw || x.Offset == 0 && x.Length > 0
		if !p.raw && p.number < 0 {
			p.number = s.tars
			s.tars++
		}
		p.need += (x.Length + s.block - 1) / s.block * s.block
		if i > 0 {
			p.split = e.Path
			s.state[e.Extents[0].Pack.ID].split = e.Path
		}
	}
}

// pack returns the state of a pack. It looks for the pack the first time.
func (s *surveyor) pack(o *tree.Object) *packState {
	if p := s.state[o.ID]; p != nil {
		return p
	}
	p := &packState{number: -1, done: s.done.packs[o.ID], there: s.hasPack(o)}
	s.state[o.ID] = p
	if p.there && !p.done {
		s.held += o.Pin.Size
	}
	if !p.there && !p.done && s.missing == nil {
		s.missing = o
	}
	return p
}

// openable counts the packs that are done and those that belong to other hosts. It
// returns how many bytes the files of the remaining packs take, and those of the largest
// pack.
func (u *Job) openable() (need, largest int64, err error) {
	for id, s := range u.state {
		switch {
		case u.opts.Partial && s.split != "":
			return 0, 0, fmt.Errorf("%q lies in several packs, which do not all go to one host: give every host the whole dataset (FullyReplicated)", s.split)
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
	return need, largest, nil
}

// entries yields the version's entries once more.
func (u *Job) entries(ctx context.Context) iter.Seq2[*tree.Entry, error] {
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
