package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// hostNamespaces gives a host what it is to have of its own.
func hostNamespaces(attr *syscall.SysProcAttr, w walls) {
	if w.private {
		attr.Cloneflags |= syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
	}
	if w.network {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
}

// crewNamespaces gives a crew what it takes to make those of its hosts.
func crewNamespaces(attr *syscall.SysProcAttr, w walls) {
	attr.Cloneflags |= syscall.CLONE_NEWNS
	if w.network {
		attr.Cloneflags |= syscall.CLONE_NEWNET // for what connects them
	}
}

// asRoot has a process with namespaces of its own that an unprivileged user starts be root
// in a user namespace.
func asRoot(attr *syscall.SysProcAttr) {
	if os.Geteuid() == 0 || attr.Cloneflags == 0 {
		return
	}
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// endWithThread has a process end by a signal when the thread that starts it does.
func endWithThread(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// adoptOrphans makes this process the parent of those of its descendants that lose theirs.
func adoptOrphans() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// descendants are the processes that a process has started, and those that they have.
func descendants(of int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]int{}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name of the program is in parentheses and may hold anything.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if len(f) < 2 || f[0] == "Z" || perr != nil {
			continue
		}
		if parent, err := strconv.Atoi(f[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	found := children[of]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// wall makes this process's namespaces those of the host.
func (h *hostSpec) wall() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := mount(h.Dir); err != nil {
		return fmt.Errorf("mounting the job's files at %s: %w", container.BaseDir, err)
	}
	if err := unix.Sethostname([]byte(h.Name)); err != nil {
		return fmt.Errorf("naming the host %s: %w", h.Name, err)
	}
	const table = "/etc/hosts"
	if _, err := os.Stat(table); err == nil {
		own := filepath.Join(h.Dir, "hosts")
		if err := os.WriteFile(own, h.HostsFile, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(own, table, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting the names of hosts: %w", err)
		}
	}
	if h.Network {
		return h.connect()
	}
	return nil
}

// mount makes dir/ml visible at /opt/ml, in this process's mount namespace only.
func mount(dir string) error {
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
