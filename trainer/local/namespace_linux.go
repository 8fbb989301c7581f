package local

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// newNamespace gives the process mounts of its own; an unprivileged user is root in
// a user namespace for that.
func newNamespace(cmd *exec.Cmd) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
}

// dieWithParent lets nothing of a job outlive the run that removes its files.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
}

// endWithParent is dieWithParent for the calling thread.
func endWithParent() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0))
}

// mount makes dir/ml visible at /opt/ml, in this process's mount namespace only.
func mount(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	from := filepath.Join(dir, "ml")
	if info, err := os.Lstat(container.BaseDir); err == nil && info.IsDir() {
		return os.NewSyscallError("mount", unix.Mount(from, container.BaseDir, "", unix.MS_BIND|unix.MS_REC, ""))
	}
	// The real /opt is not written to: another one is put in its place, with all
	// that the real one has, and ml.
	parent := filepath.Dir(container.BaseDir)
	over := filepath.Join(dir, "opt")
	if err := os.Mkdir(over, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := unix.Mount("tmpfs", over, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := bind(filepath.Join(parent, e.Name()), filepath.Join(over, e.Name()), e); err != nil {
			return err
		}
	}
	ml := filepath.Join(over, filepath.Base(container.BaseDir))
	if err := os.Mkdir(ml, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, ml, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount", unix.Mount(over, parent, "", unix.MS_MOVE, ""))
}

// bind shows what is at from also at to.
func bind(from, to string, e fs.DirEntry) error {
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case e.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	default:
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	return os.NewSyscallError("mount", unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
}

func isMemory(st *unix.Statfs_t) bool { return int64(st.Type) == unix.TMPFS_MAGIC }
