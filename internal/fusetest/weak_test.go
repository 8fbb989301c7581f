// Package fusetest runs vaultpack on a real FUSE mount of a file system that can do
// less. It is a module of its own, so that who uses vaultpack's packages does not get
// what only this test needs.
package fusetest

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A weakNode is one of a loopback file system without hard links, locks, syncing of
// folders and renames that look, whose times are even seconds, and whose
// files are open to all, as FAT's are.
type weakNode struct {
	fs.LoopbackNode
	noChmod bool // modes are refused, else set without effect
}

func (n *weakNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &weakNode{fs.LoopbackNode{RootData: ops.(*fs.LoopbackNode).RootData}, n.noChmod}
}

func (n *weakNode) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOSYS
}

// A weakDir is an open folder.
type weakDir struct {
	fs.FileReaddirenter
	fs.FileReleasedirer
}

func (weakDir) Fsyncdir(context.Context, uint32) syscall.Errno { return syscall.EINVAL }

func (n *weakNode) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	dir, flags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return weakDir{dir.(fs.FileReaddirenter), dir.(fs.FileReleasedirer)}, flags, 0
}

func (n *weakNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, 0)
}

func (n *weakNode) Setlk(context.Context, fs.FileHandle, uint64, *fuse.FileLock, uint32) syscall.Errno {
	return syscall.ENOSYS
}

func (n *weakNode) Setlkw(context.Context, fs.FileHandle, uint64, *fuse.FileLock, uint32) syscall.Errno {
	return syscall.ENOSYS
}

// coarse is what such a file system tells of a file.
func coarse(a *fuse.Attr) {
	a.Atime, a.Mtime, a.Ctime = a.Atime&^1, a.Mtime&^1, a.Ctime&^1
	a.Atimensec, a.Mtimensec, a.Ctimensec = 0, 0, 0
	a.Mode |= 0o777
}

func (n *weakNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child, errno := n.LoopbackNode.Lookup(ctx, name, out)
	coarse(&out.Attr)
	return child, errno
}

func (n *weakNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, f, ff, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	coarse(&out.Attr)
	return child, f, ff, errno
}

func (n *weakNode) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	errno := n.LoopbackNode.Getattr(ctx, f, out)
	coarse(&out.Attr)
	return errno
}

func (n *weakNode) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if mode, set := in.GetMode(); set && n.noChmod && mode&0o777 != 0o777 {
		return syscall.EPERM
	}
	errno := n.LoopbackNode.Setattr(ctx, f, in, out)
	coarse(&out.Attr)
	return errno
}

// Statx is not had, so that nobody sees exact times by it.
func (n *weakNode) Statx(context.Context, fs.FileHandle, uint32, uint32, *fuse.StatxOut) syscall.Errno {
	return syscall.ENOSYS
}

// mount makes dir be seen at mnt, weakly.
func mount(dir, mnt string, noChmod bool) (*fuse.Server, error) {
	data := &fs.LoopbackRoot{Path: dir}
	root := &weakNode{fs.LoopbackNode{RootData: data}, noChmod}
	data.RootNode = root
	second := time.Second
	return fs.Mount(mnt, root, &fs.Options{AttrTimeout: &second, EntryTimeout: &second,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, EnableLocks: true, FsName: "weak", Name: "weak"}})
}
