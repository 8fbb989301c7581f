//go:build !386 && !arm

package mount

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// forever is how long the kernel may keep what it was told: a version does not change.
const forever = 365 * 24 * time.Hour

// blockSize is the unit of statfs, and what programs are told to read at one time at least.
const blockSize = 4096

// fileSystem answers the kernel. What it does not implement it refuses with ENOSYS; what
// changes files does not come here, as the mount is read-only.
type fileSystem struct {
	fuse.RawFileSystem
	view   *view.View
	ctx    context.Context // of all reads
	end    context.CancelFunc
	owner  fuse.Owner
	made   time.Time // of the version: for folders that have no time
	failed func(path string, err error)
	opened *opened

	// What the kernel takes for an answer that holds for all files, so that it does not
	// ask again: every file can be opened, and has no handle.
	noOpen, noOpenDir bool
}

func newFileSystem(ctx context.Context, v *view.View, o Options) *fileSystem {
	f := &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), view: v, made: v.Version().Created,
		owner: fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}, failed: o.Failed, opened: newOpened()}
	f.ctx, f.end = context.WithCancel(ctx)
	return f
}

func (f *fileSystem) String() string { return "vaultpack" }

func (f *fileSystem) Init(s *fuse.Server) {
	flags := s.KernelSettings().Flags64()
	f.noOpen, f.noOpenDir = flags&fuse.CAP_NO_OPEN_SUPPORT != 0, flags&fuse.CAP_NO_OPENDIR_SUPPORT != 0
}

// begin begins with a request. done is to be called at its end.
func (f *fileSystem) begin(cancel <-chan struct{}, from uint32) (v *view.View, ctx context.Context, done func()) {
	ctx, done = until(f.ctx, cancel, from)
	return f.view.WithContext(ctx), ctx, done
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// status is what the kernel is told of an error, which is reported.
func (f *fileSystem) status(ctx context.Context, path string, err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrClosed)):
		return fuse.EINTR
	}
	if f.failed != nil {
		f.failed(path, err)
	}
	return fuse.EIO
}

// panicked is what a panic in a request is.
func (f *fileSystem) panicked(v any) fuse.Status {
	return f.status(f.ctx, "", fmt.Errorf("a fault in vaultpack, please report it: %v\n%s", v, debug.Stack()))
}

func (f *fileSystem) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	folder, err := entryOf(v, in.NodeId)
	if err != nil {
		return f.status(ctx, "", err)
	}
	e, err := child(ctx, v, folder, name)
	if err != nil {
		return f.status(ctx, folder.Path+name, err)
	}
	out.SetEntryTimeout(forever)
	if e == nil {
		return fuse.OK // with no node: the kernel remembers that there is none
	}
	return f.status(ctx, e.Path, f.fill(v, e, out))
}

// fill tells the kernel of an entry.
func (f *fileSystem) fill(v *view.View, e *tree.Entry, out *fuse.EntryOut) error {
	id, err := nodeOf(v, e)
	if err != nil {
		return err
	}
	out.NodeId, out.Generation = id, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	f.attr(e, id, &out.Attr)
	return nil
}

func (f *fileSystem) attr(e *tree.Entry, id node, out *fuse.Attr) {
	t := e.ModTime
	if t.IsZero() {
		t = f.made
	}
	out.SetTimes(&t, &t, &t)
	out.Ino, out.Owner, out.Nlink, out.Blksize = id, f.owner, 1, blockSize
	// A folder with one link is one whose folders are not counted, for find.
	out.Mode = modeOf(e)
	switch {
	case e.IsFile():
		out.Size = uint64(e.Size)
		out.Blocks = (out.Size + 511) / 512
	case e.IsLink():
		out.Size = uint64(len(e.Link))
	}
}

// modeOf is the mode of an entry as the kernel has it, without bits that give rights.
func modeOf(e *tree.Entry) uint32 {
	if e.IsLink() {
		return syscall.S_IFLNK | 0o777
	}
	mode := uint32(e.Mode.Perm())
	if e.Mode&fs.ModeSticky != 0 {
		mode |= syscall.S_ISVTX
	}
	return mode | typeOf(e)
}

func typeOf(e *tree.Entry) uint32 {
	switch {
	case e.IsDir():
		return syscall.S_IFDIR
	case e.IsLink():
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}

func (f *fileSystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	e, err := entryOf(v, in.NodeId)
	if err != nil {
		return f.status(ctx, "", err)
	}
	out.SetTimeout(forever)
	f.attr(e, in.NodeId, &out.Attr)
	return fuse.OK
}

func (f *fileSystem) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	e, err := entryOf(v, in.NodeId)
	switch {
	case err != nil:
		return nil, f.status(ctx, "", err)
	case !e.IsLink():
		return nil, fuse.EINVAL
	case len(e.Link) >= maxLink:
		return nil, f.status(ctx, e.Path, fmt.Errorf("its target has %d bytes, which is more than the kernel takes", len(e.Link)))
	}
	return []byte(e.Link), fuse.OK
}

// Limits of the kernel, in bytes. Both are what Linux has in files of its own, too.
const (
	maxLink = 4096 // including a zero byte
	maxName = 1024 // FUSE_NAME_MAX
)

func (f *fileSystem) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.noOpen {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Flush has the kernel not ask when a file is closed, either.
func (f *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

func (f *fileSystem) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.noOpenDir {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
	return fuse.OK
}

func (f *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	file := f.opened.get(in.NodeId)
	if file == nil {
		e, err := entryOf(v, in.NodeId)
		if err != nil {
			return nil, f.status(ctx, "", err)
		}
		if file, err = f.view.OpenEntry(e); err != nil {
			return nil, f.status(ctx, e.Path, err)
		}
		file = f.opened.put(in.NodeId, file)
	}
	n, err := file.ReadAtContext(ctx, buf, int64(in.Offset))
	if err != nil && err != io.EOF {
		f.opened.drop(in.NodeId)
		return nil, f.status(ctx, file.Entry().Path, err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	t := f.view.Version().Totals
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, maxName
	out.Blocks = uint64(t.Bytes+blockSize-1) / blockSize
	out.Files = uint64(t.Files + t.Folders + t.Links)
	return fuse.OK
}

// Names of extended attributes.
const (
	attrDataset = "user.vaultpack.dataset"
	attrVersion = "user.vaultpack.version"
	attrDigest  = "user.vaultpack.digest"
	attrSum     = "user.vaultpack.sha256"
)

// attrs are the extended attributes of an entry: names and values in turn.
func (f *fileSystem) attrs(id node, e *tree.Entry) (all []string) {
	if id == fuse.FUSE_ROOT_ID {
		v := f.view.Version()
		all = append(all, attrDataset, v.Dataset(), attrVersion, strconv.FormatInt(v.Number, 10), attrDigest, v.Digest())
	}
	if e.IsFile() && e.Sum != nil {
		all = append(all, attrSum, hex.EncodeToString(e.Sum))
	}
	return all
}

func (f *fileSystem) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	e, err := entryOf(v, in.NodeId)
	if err != nil {
		return 0, f.status(ctx, "", err)
	}
	all := f.attrs(in.NodeId, e)
	for i := 0; i < len(all); i += 2 {
		if all[i] == attr {
			return give(dest, all[i+1])
		}
	}
	return 0, fuse.ENOATTR
}

func (f *fileSystem) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	e, err := entryOf(v, in.NodeId)
	if err != nil {
		return 0, f.status(ctx, "", err)
	}
	all, names := f.attrs(in.NodeId, e), ""
	for i := 0; i < len(all); i += 2 {
		names += all[i] + "\x00"
	}
	return give(dest, names)
}

// give copies a value that has to fit.
func give(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
