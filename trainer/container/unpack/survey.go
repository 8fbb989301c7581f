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

// maxHeld is up to how many entries the index is read once and kept, some 100 MB.
var maxHeld int64 = 200_000

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

// Room is what a Job takes of a file system, in bytes.
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
func (u *Job) Room() Room { return u.room }

// survey goes through the index once: what lies in which pack, which packs are
// there, and what room the files take.
func (u *Job) survey(ctx context.Context) error {
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
			return fmt.Errorf("%q has been changed since it was opened, and its pack is used up; begin with fresh packs: %w", p, dataset.ErrMissing)
		}
		return objects.Of(u.version).PackError(missing, dataset.ErrMissing)
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
