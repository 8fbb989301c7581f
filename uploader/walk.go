package uploader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// A found is something found by the walk.
type found struct {
	entry *tree.Entry // without extents
	file  string      // its path on this machine
	// more says that a later file in the folder belongs to the same sample.
	more bool
	plan *tree.Entry   // what the plan says of it, nil if there is none
	pin  *vault.Pinned // of an object
}

// A walker walks the source in the order of the index: by the bytes of the paths, where
// folders end in a slash.
type walker struct {
	filter  *Filter
	links   Links
	own     []fs.FileInfo
	host    string
	failed  func(path string, err error)
	skipped func(path, why string)
	linked  func(path string, out bool) // called with each link that is kept
	yield   func(found) error

	root, realRoot string
	above          []fs.FileInfo // the folders that the walk is in
	behind         int           // how many links to folders the walk has followed
	ways           map[[2]uint64]int
}

// walk calls yield for everything in root, which is a folder or a file.
func (w *walker) walk(ctx context.Context, root string) error {
	info, err := os.Stat(root) // the root itself may be a link
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a folder nor a regular file", root)
		}
		file, err := filepath.EvalSymlinks(root) // no link is followed later
		if err != nil {
			return err
		}
		if !w.filter.all() {
			return fmt.Errorf("%s is a file; patterns select files in a folder", root)
		}
		return w.yield(found{entry: w.entry(filepath.Base(root), info), file: file})
	}
	w.root = absolute(root)
	if w.realRoot, err = filepath.EvalSymlinks(w.root); err != nil {
		return err
	}
	w.above = []fs.FileInfo{info}
	e := w.entry("", info)
	if err := w.yield(found{entry: e, file: root}); err != nil {
		return err
	}
	return w.folder(ctx, root, "")
}

// folder walks one folder; prefix is its path with a slash.
func (w *walker) folder(ctx context.Context, dir, prefix string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.readDir(dir)
	if err != nil && prefix == "" {
		return err
	}
	if err != nil {
		w.failed(strings.TrimSuffix(prefix, "/"), err)
	}
	// An excluded file is not part of a sample either.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		path := prefix + e.Name()
		return w.filter.excluded(path, kind(e.IsDir())) || !e.IsDir() && !w.filter.included(path)
	})
	for i, e := range entries {
		if err := w.one(ctx, dir, prefix, e, func() bool { return sampleGoesOn(entries, i) }); err != nil {
			return err
		}
	}
	return nil
}

// one yields what the folder has under a name; more reports whether the sample
// continues.
func (w *walker) one(ctx context.Context, dir, prefix string, e fs.DirEntry, more func() bool) error {
	path, file := prefix+e.Name(), filepath.Join(dir, e.Name())
	target, isFollowed := e.(*followed)
	info, err := e.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isFollowed:
		return nil // removed since the folder was read
	case err != nil:
		w.failed(path, err)
		return nil
	case info.IsDir() != e.IsDir():
		w.failed(path, errChanged) // and so in another place in the order
		return nil
	}
	if w.isOwn(info) || isFollowed && w.ownTarget(target.file) {
		w.skipped(path, "file of the vault or its keys")
		return nil
	}
	if what := leftover(e.Name()); what != "" && !isFollowed && info.Mode()&fs.ModeSymlink == 0 {
		w.skipped(path, what)
		return nil
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := w.yield(found{entry: w.entry(path+"/", info), file: file}); err != nil {
			return err
		}
		w.above = append(w.above, info)
		if isFollowed {
			w.behind++
		}
		defer func() {
			w.above = w.above[:len(w.above)-1]
			if isFollowed {
				w.behind--
			}
		}()
		return w.folder(ctx, file, path+"/")
	case mode&fs.ModeSymlink != 0:
		en := w.entry(path, info)
		if en.Link, err = os.Readlink(file); err != nil {
			w.failed(path, err)
			return nil
		}
		if w.linked != nil {
			w.linked(path, w.leadsOut(file, en.Link))
		}
		return w.yield(found{entry: en, file: file})
	case mode.IsRegular():
		if isFollowed {
			file = target.file
		}
		return w.yield(found{entry: w.entry(path, info), file: file, more: more()})
	}
	w.skipped(path, kindName(info.Mode()))
	return nil
}

// Count walks a source as an upload with these options does, and counts its files and
// their bytes. After each file it calls told, if it is not nil, with the counts so
// far.
func Count(ctx context.Context, path string, opts Options, told func(files, bytes int64)) (files, bytes int64, err error) {
	if err := given.Check(ctx, path != "", errors.New("uploader: a source without a name")); err != nil {
		return 0, 0, err
	}
	w := &walker{filter: opts.Filter, links: opts.Links, own: ownFiles(opts.Own), failed: func(string, error) {}, skipped: func(string, string) {}}
	w.yield = func(f found) error {
		if f.entry.IsFile() {
			files++
			bytes += f.entry.Size
			if told != nil {
				told(files, bytes)
			}
		}
		return nil
	}
	err = w.walk(ctx, path)
	return files, bytes, err
}

func ownFiles(names []string) []fs.FileInfo {
	var infos []fs.FileInfo
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			infos = append(infos, info)
		}
	}
	return infos
}

func (w *walker) isOwn(info fs.FileInfo) bool {
	return slices.ContainsFunc(w.own, func(own fs.FileInfo) bool { return os.SameFile(own, info) })
}

// readDir returns a folder's entries in the order of the index. If it returns an error,
// it also returns the entries that it could read.
func (w *walker) readDir(dir string) ([]fs.DirEntry, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	entries = w.follow(dir, entries)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		an, bn := a.Name(), b.Name()
		n := min(len(an), len(bn))
		if c := strings.Compare(an[:n], bn[:n]); c != 0 {
			return c
		}
		return int(orderByte(a, n)) - int(orderByte(b, n))
	})
	return entries, err
}

// orderByte returns byte n of the entry's name, after which a folder has a slash and a
// file nothing.
func orderByte(e fs.DirEntry, n int) byte {
	switch {
	case n < len(e.Name()):
		return e.Name()[n]
	case e.IsDir():
		return '/'
	}
	return 0
}

// sampleStem returns what the files of one sample have in common, as in WebDataset: the
// name up to its first dot. A name that begins with a dot is a separate sample.
func sampleStem(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// sampleKey is what the paths of the files of one sample have in common.
func sampleKey(name string) string {
	dir, base := path.Split(name)
	return dir + sampleStem(base)
}

// sampleGoesOn reports whether a file after entries[i] belongs to the same sample. The
// names that continue with a dot follow one another, except for folders between them; the
// bare stem may precede them by some distance.
func sampleGoesOn(entries []fs.DirEntry, i int) bool {
	name := entries[i].Name()
	stem := sampleStem(name)
	if stem[0] == '.' {
		return false
	}
	j := i + 1
	if stem == name {
		k, _ := slices.BinarySearchFunc(entries[j:], stem+".", func(e fs.DirEntry, s string) int {
			if e.IsDir() {
				return strings.Compare(e.Name()+"/", s)
			}
			return strings.Compare(e.Name(), s)
		})
		j += k
	}
	for ; j < len(entries) && strings.HasPrefix(entries[j].Name(), stem+"."); j++ {
		if entries[j].Type().IsRegular() {
			return true
		}
	}
	return false
}

func (w *walker) entry(path string, info fs.FileInfo) *tree.Entry {
	e := &tree.Entry{Path: path}
	describe(e, info, w.host)
	return e
}

// describe copies the attributes of info to the entry.
func describe(e *tree.Entry, info fs.FileInfo, host string) {
	e.Mode, e.ModTime = info.Mode()&fsys.ModeMask, info.ModTime()
	if info.Mode()&fs.ModeSymlink != 0 {
		e.Mode = fs.ModePerm // what systems report for links differs and means nothing
	}
	if !info.Mode().IsRegular() {
		return
	}
	e.Size = info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Seen = tree.Seen{Host: host, Inode: st.Ino, ChangeTime: changeTime(st)}
	}
	e.Recent = recent(e.ModTime) || recent(e.Seen.ChangeTime)
}

// recent reports whether the time is so close to now that a further change could leave it
// unchanged: some file systems keep times in steps of 2 s. A time far in the future was
// set deliberately; a change resets it.
func recent(t time.Time) bool {
	const step = 2 * time.Second
	age := time.Since(t)
	return age < step && age > -time.Hour
}

// sameFile reports whether a file found now is the recorded one: by size, time and mode,
// and also by inode and change time if this machine wrote the record. Those of an object are its
// ETag and time, and have to be known: files of one bucket and another are often of the same
// size and second.
func sameFile(now, then *tree.Entry) bool {
	if !then.IsFile() || now.Size != then.Size || now.Mode != then.Mode || !now.ModTime.Equal(then.ModTime) {
		return false
	}
	if strings.HasPrefix(now.Seen.Host, bucketHost) || strings.HasPrefix(then.Seen.Host, bucketHost) {
		return then.Seen.Host == now.Seen.Host && then.Seen.Inode == now.Seen.Inode && then.Seen.ChangeTime.Equal(now.Seen.ChangeTime)
	}
	return then.Seen.Host != now.Seen.Host || now.Seen.Host == "" ||
		then.Seen.Inode == now.Seen.Inode && then.Seen.ChangeTime.Equal(now.Seen.ChangeTime)
}

func kindName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// settle waits until a file that has just been changed is older than the clock tick of
// file systems. A change within the same tick would leave its time unchanged, and the
// next run would not notice it.
func settle(ctx context.Context, e *tree.Entry) {
	const tick = 20 * time.Millisecond
	age := time.Since(e.Seen.ChangeTime)
	if e.Seen.Host == "" || age < 0 || age > tick {
		return
	}
	select {
	case <-time.After(tick - age):
	case <-ctx.Done():
	}
}
