package uploader

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/vault"
)

// lookAhead is how many objects the walk knows of before it passes one on: to know whether a
// later one belongs to its sample.
const lookAhead = 1024

// A bucketWalker lists a bucket, in the order of the index, which is that of the listing: a
// folder is before what is in it.
type bucketWalker struct {
	*upload
	unfit func(name string, err error) // is called for what cannot be uploaded
	yield func(found) error

	queue []found
	last  string // the name last added to the queue
	// above are the names of objects of which each is the beginning of the next, and the last
	// of the next object, as far as the listing has come.
	above    []string
	archived int64
}

var errUnfit = errors.New("it is not uploaded; copy it to another key, or leave it out with --exclude")

func (w *bucketWalker) walk(ctx context.Context) error {
	for p, err := range w.bucket.List(ctx) {
		if err != nil {
			return err
		}
		if err := w.one(p); err != nil {
			return err
		}
	}
	for len(w.queue) > 0 {
		if err := w.pass(); err != nil {
			return err
		}
	}
	if n := w.archived; n > 0 {
		w.Warn(fmt.Errorf("%d objects of %s lie in an archive class (GLACIER or DEEP_ARCHIVE); those that are new and were not restored cannot be read", n, w.bucket))
	}
	return nil
}

// one takes the next object of the listing.
func (w *bucketWalker) one(p vault.Pinned) error {
	name := p.Name
	if w.hasOwn && strings.HasPrefix(name, w.ownPrefix) {
		w.skip(name, "file of the vault or its keys")
		return nil
	}
	if !w.Filter.Selects(name) {
		return nil
	}
	e := &tree.Entry{Path: name}
	if err := w.check(p, e); err != nil {
		w.unfit(name, fmt.Errorf("%w: %w", err, errUnfit))
		return nil
	}
	if e.IsDir() {
		e.Mode, e.ModTime = folderMode, p.Modified
	} else {
		w.above = append(w.above, name)
		describeObject(e, p, w.host)
		if p.Class == "GLACIER" || p.Class == "DEEP_ARCHIVE" {
			w.archived++
		}
	}
	w.addFolders(name, p)
	w.queue, w.last = append(w.queue, found{entry: e, pin: &p}), name
	for len(w.queue) > lookAhead {
		if err := w.pass(); err != nil {
			return err
		}
	}
	return nil
}

// addFolders adds the folders of an object that are not there yet. They have the time of the
// first object in them.
func (w *bucketWalker) addFolders(name string, p vault.Pinned) {
	for i := range len(name) - 1 {
		if name[i] == '/' && !strings.HasPrefix(w.last, name[:i+1]) {
			w.queue = append(w.queue, found{entry: &tree.Entry{Path: name[:i+1], Mode: folderMode, ModTime: p.Modified}})
		}
	}
}

// check returns an error if no file or folder can be made of the object.
func (w *bucketWalker) check(p vault.Pinned, e *tree.Entry) error {
	name := strings.TrimSuffix(p.Name, "/")
	if e.IsDir() && p.Size > 0 {
		return fmt.Errorf("its key ends in a slash as that of a folder, but it has %d bytes", p.Size)
	}
	if p.Name != "" {
		if err := tree.CheckPath(name); err != nil {
			return err
		}
	}
	for len(w.above) > 0 && !strings.HasPrefix(p.Name, w.above[len(w.above)-1]) {
		w.above = w.above[:len(w.above)-1]
	}
	for _, file := range w.above {
		if strings.HasPrefix(p.Name, file+"/") {
			return fmt.Errorf("there is an object %q too, which cannot be both a file and a folder", file)
		}
	}
	return nil
}

// pass passes on the first object of the queue.
func (w *bucketWalker) pass() error {
	f := w.queue[0]
	w.queue[0] = found{}
	w.queue = w.queue[1:]
	f.more = f.entry.IsFile() && w.more(f.entry.Path)
	return w.yield(f)
}

// more reports whether an object in the queue belongs to the sample of the one before it.
func (w *bucketWalker) more(name string) bool {
	stem := sampleKey(name)
	base := stem[strings.LastIndexByte(stem, '/')+1:]
	if base[0] == '.' {
		return false
	}
	i := sort.Search(len(w.queue), func(i int) bool { return w.queue[i].entry.Path >= stem+"." })
	for ; i < len(w.queue) && strings.HasPrefix(w.queue[i].entry.Path, stem+"."); i++ {
		if e := w.queue[i].entry; e.IsFile() && !strings.Contains(e.Path[len(stem):], "/") {
			return true
		}
	}
	return false
}
