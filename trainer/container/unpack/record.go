package unpack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/place"
)

// What a Job records: for each pack, the files that have been moved into place,
// with their inodes and change times afterwards, and the pieces of large files; and
// another record for each large file that has been moved into place. The records
// are lists in the format of pending ones, in the store that the version was read
// from, and their source is the private folder with the version's digest.

// wholeSuffix distinguishes the record of a large file from that of a pack.
const wholeSuffix = "-file"

func (u *Job) recordFolder() string {
	kind := ""
	if u.opts.Tars {
		kind = "-tars"
	}
	return u.version.Dataset() + "/opened/" + u.opts.Name + kind + "/"
}

func (u *Job) record(ctx context.Context, name string, entries []*tree.Entry) error {
	slices.SortFunc(entries, func(a, b *tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	d := objects.Of(u.version)
	list, err := codec.EncodeList(codec.PendingFormat, d.Name, u.private+" "+u.version.Digest(), entries)
	if err != nil {
		return err
	}
	key, err := d.Key(ctx, u.version.KeyID)
	if err != nil {
		return err
	}
	if err := d.SealData(ctx, key, u.recordFolder()+name+".vpk", list); err != nil {
		return fmt.Errorf("recording what has been opened: %w", err)
	}
	return nil
}

// forget removes a record.
func (u *Job) forget(ctx context.Context, name string) error {
	return objects.Of(u.version).Vault.Delete(ctx, u.recordFolder()+name+".vpk")
}

// A record is what earlier runs recorded and is still true.
type record struct {
	private string
	packs   map[envelope.ObjectID]bool // packs with all files in place
	whole   map[string]bool            // large files with their own record
	keep    map[string]bool            // files in their places
	stale   string                     // a file in its place that has been touched
}

// readRecords reads what has been recorded for this version. Records that do not
// authenticate are skipped: their packs are then needed again.
func (u *Job) readRecords(ctx context.Context) (*record, error) {
	rec := &record{packs: map[envelope.ObjectID]bool{}, whole: map[string]bool{}, keep: map[string]bool{}}
	lists := map[string][]*tree.Entry{}
	for o, err := range objects.Of(u.version).Vault.List(ctx, u.recordFolder()) {
		if err != nil {
			return nil, fmt.Errorf("listing what has been opened: %w", err)
		}
		// They are local to this machine, where only this user can write, so they are not
		// signed.
		h, entries, err := objects.Of(u.version).ReadPrivateList(ctx, o.Name)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		private, ok := strings.CutSuffix(h.Source, " "+u.version.Digest())
		if err != nil || !ok || !strings.HasPrefix(private, privatePrefix) {
			continue
		}
		rec.private = private
		lists[strings.TrimSuffix(path.Base(o.Name), ".vpk")] = entries
	}
	u.private = rec.private
	touched := map[string]bool{} // large files that are recorded but have changed
	for name, entries := range lists {
		if !strings.HasSuffix(name, wholeSuffix) || len(entries) != 1 {
			continue
		}
		if p := entries[0].Path; u.settled(entries[0]) {
			rec.whole[p], rec.keep[p] = true, true
		} else {
			touched[p] = true
		}
	}
	for name, entries := range lists {
		id, err := envelope.ParseObjectID(name)
		if err != nil {
			continue
		}
		holds := true
		for _, e := range entries {
			switch {
			case isSettled(e.Seen) && u.settled(e), rec.whole[e.Path]:
				rec.keep[e.Path] = true
			case !isSettled(e.Seen) && u.beingPutTogether(e):
			case !isSettled(e.Seen) && !touched[e.Path] && u.placedUnrecorded(e):
				rec.keep[e.Path] = true
			default:
				holds, rec.stale = false, e.Path
			}
		}
		rec.packs[id] = holds
	}
	return rec, nil
}

// settled reports whether a file is the recorded one, untouched.
func (u *Job) settled(e *tree.Entry) bool {
	info, err := u.root.Lstat(e.Name())
	if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size {
		return false
	}
	now := seenOfInfo(info)
	return now.Inode == e.Seen.Inode && now.ChangeTime.Equal(e.Seen.ChangeTime)
}

// beingPutTogether reports whether the file that has the piece is in the private
// folder, whose name nobody else knows.
func (u *Job) beingPutTogether(e *tree.Entry) bool {
	entries, err := fs.ReadDir(u.root.FS(), path.Join(u.private, "large"))
	if err != nil {
		return false
	}
	for _, f := range entries {
		info, err := f.Info()
		if err == nil && info.Mode().IsRegular() && seenOfInfo(info).Inode == e.Seen.Inode {
			return true
		}
	}
	return false
}

// placedUnrecorded reports whether a large file was moved into place just when its
// run was killed.
func (u *Job) placedUnrecorded(e *tree.Entry) bool {
	info, err := u.root.Lstat(e.Name())
	return err == nil && info.Mode().IsRegular() && info.Size() == e.Size && info.Mode()&fsys.ModeMask == e.Mode &&
		info.ModTime().Equal(e.ModTime) && seenOfInfo(info).Inode == e.Seen.Inode
}

func seenOfInfo(info fs.FileInfo) tree.Seen {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return tree.Seen{}
	}
	return tree.Seen{Host: seenHere, Inode: uint64(st.Ino), ChangeTime: place.ChangeTimeOf(st)}
}

// sweep moves the packs to the private folder, and removes everything else that is
// not recorded. Links are not followed.
func (u *Job) sweep(ctx context.Context) error {
	packs, err := u.privateFolder("packs")
	if err != nil {
		return err
	}
	packs.Close()
	entries, err := fs.ReadDir(u.root.FS(), u.private)
	if err != nil {
		return err
	}
	for _, e := range entries { // what was being written when a run was killed
		if e.Name() != "packs" && e.Name() != "large" {
			if err := u.root.RemoveAll(path.Join(u.private, e.Name())); err != nil {
				return err
			}
		}
	}
	kept, err := u.sweepFolder(ctx, ".")
	if err != nil {
		return err
	}
	if kept != len(u.done.keep) {
		return errors.New("a folder was moved after it was opened; start a new job, with fresh packs")
	}
	return nil
}

func (u *Job) sweepFolder(ctx context.Context, dir string) (kept int, err error) {
	f, err := u.root.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return 0, err
	}
	// Files before folders: a pack in its own place before another with the same name.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if a.IsDir() != b.IsDir() && b.IsDir() {
			return -1
		} else if a.IsDir() != b.IsDir() {
			return 1
		}
		return cmp.Compare(a.Name(), b.Name())
	})
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return kept, context.Cause(ctx)
		}
		name := path.Join(dir, e.Name())
		switch {
		case name == u.private:
		case e.IsDir():
			if info, err := e.Info(); err == nil && info.Mode().Perm()&0o700 != 0o700 {
				u.root.Chmod(name, info.Mode().Perm()|0o700)
			}
			n, err := u.sweepFolder(ctx, name)
			if err != nil {
				return kept, err
			}
			if kept += n; n == 0 {
				u.root.Remove(name)
			}
		case e.Type().IsRegular() && u.done.keep[name]:
			kept++
		case e.Type().IsRegular() && isPackName(e.Name()):
			if err := u.adopt(name, e.Name()); err != nil {
				return kept, err
			}
		default:
			if err := u.root.Remove(name); err != nil {
				return kept, err
			}
			// Links from an earlier run are made again.
			ours := strings.HasPrefix(name, privatePrefix) || e.Type()&fs.ModeSymlink != 0 && u.done.private != ""
			if u.opts.Removed != nil && !ours {
				u.opts.Removed(name)
			}
		}
	}
	return kept, nil
}

// adopt moves a pack to the private folder, unless one with its name is already there.
func (u *Job) adopt(name, base string) error {
	to := path.Join(u.private, "packs", base)
	if _, err := u.root.Lstat(to); err == nil {
		return u.root.Remove(name)
	}
	return u.root.Rename(name, to)
}

func isPackName(base string) bool {
	id, ok := strings.CutSuffix(base, ".vpk")
	_, err := envelope.ParseObjectID(id)
	return ok && err == nil
}

// checkEntry rejects names that a Job uses itself.
func (u *Job) checkEntry(e *tree.Entry) error {
	if strings.HasPrefix(e.Path, privatePrefix) {
		return fmt.Errorf("the name of %q is reserved in a folder that is opened in place; rename the file and upload it again", e.Path)
	}
	return nil
}
