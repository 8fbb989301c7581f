//go:build !386 && !arm

package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxRead is what one request of the kernel reads at most, in bytes.
	maxRead = 1 << 20
	// maxBackground is how many requests of its own, to read ahead, it has under way.
	maxBackground = 64
	// readAhead is how far it reads ahead, in KiB, if this process may say so.
	readAhead = "1024"
)

// attach mounts a file system in a folder and reads the first request.
func attach(dir, source string, f *fileSystem, o Options) (*fuse.Server, error) {
	opts := &fuse.MountOptions{
		AllowOther: o.AllowOther, FsName: source, Name: strings.TrimPrefix(fsType, "fuse."),
		Options: []string{"ro", "nosuid", "nodev", "default_permissions"},
		// What it logs are requests that nobody waits for any more.
		Logger:   log.New(io.Discard, "", 0),
		MaxWrite: maxRead, MaxBackground: maxBackground,
		EnableSymlinkCaching: true, ExplicitDataCacheControl: true,
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_NO_OPENDIR_SUPPORT,
		PanicHandler:      f.panicked,
	}
	fd, err := mountDirectly(dir, source, o)
	if errors.Is(err, unix.EPERM) {
		if _, err := fusermount(); err != nil {
			return nil, fmt.Errorf("mounting needs root, or the program fusermount3, which is missing: install the package fuse3: %w", fs.ErrPermission)
		}
		return fuse.NewServer(f, dir, opts)
	}
	if err != nil {
		return nil, err
	}
	s, err := fuse.NewServer(f, fmt.Sprintf("/dev/fd/%d", fd), opts)
	if err != nil {
		return nil, errors.Join(err, detach(dir, lazily))
	}
	return s, nil
}

// mountDirectly mounts without a helper, which takes root. Unlike the library's, its file of
// /dev/fuse is closed in programs that this one starts: what keeps it open keeps a mount
// that has lost its process from failing.
func mountDirectly(dir, source string, o Options) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("there is no FUSE here: load the kernel module fuse, or give the container the device, as with docker run --device /dev/fuse --cap-add SYS_ADMIN: %w", &fs.PathError{Op: "open", Path: "/dev/fuse", Err: err})
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("this user, or this container, may not use FUSE; a container gets it with docker run --device /dev/fuse --cap-add SYS_ADMIN: %w", &fs.PathError{Op: "open", Path: "/dev/fuse", Err: unix.EACCES})
	case err != nil:
		return -1, &fs.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRead)
	if o.AllowOther {
		options += ",allow_other"
	}
	if err = unix.Mount(source, dir, fsType, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mounting in %s: %w", dir, err)
	}
	return fd, nil
}

// widen has the kernel read further ahead than it does by itself. Only root may say so, and
// without it reading is slower.
func widen(device string) {
	os.WriteFile(filepath.Join("/sys/class/bdi", device, "read_ahead_kb"), []byte(readAhead), 0)
}

// settle has the kernel learn that there is nothing to wait for in files: else a program of
// Go that reads its own mount waits for itself. The library has a file for that.
func settle(dir string) {
	fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// A detaching says what happens if the mount is in use.
type detaching int

const (
	ifIdle   detaching = iota
	lazily             // it goes from the folder, and stays for those who have it open
	forcibly           // as lazily, and their requests fail
)

// detach takes the topmost mount from a folder.
func detach(dir string, how detaching) error {
	flags := map[detaching]int{ifIdle: 0, lazily: unix.MNT_DETACH, forcibly: unix.MNT_DETACH | unix.MNT_FORCE}[how]
	err := unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW)
	if how == forcibly && errors.Is(err, unix.EPERM) {
		err = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	helper, lookErr := fusermount()
	if lookErr != nil {
		return err
	}
	args := []string{"-u"}
	if how != ifIdle {
		args = append(args, "-z")
	}
	cmd := exec.Command(helper, append(args, "--", dir)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	// It tells of a folder that is in use by its text alone.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		if strings.Contains(said.String(), "busy") {
			return unix.EBUSY
		}
		return fmt.Errorf("%s: %w: %s", helper, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// abort fails the requests of a mount, wherever it is.
func abort(device string) error {
	_, minor, _ := strings.Cut(device, ":")
	return os.WriteFile(filepath.Join("/sys/fs/fuse/connections", minor, "abort"), []byte("1"), 0)
}

func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// unmountWaits are how long an unmount waits before it tries again: what was read at that
// moment is closed soon.
var unmountWaits = []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond}
