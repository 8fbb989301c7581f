package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxLinks is the most symbolic links on a path, as in Linux.
const maxLinks = 40

// realTrusted returns the real path of a file after checking that nobody else
// controls its contents: the file, each link that leads to it, and each folder
// above any of them belong to this user or root, and nobody else can write there.
// In a folder such as /tmp, where everyone may create files but only their owner
// can remove or rename them, the owner of the file decides.
func realTrusted(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	const root = string(filepath.Separator)
	at, rest, links := root, strings.Split(filepath.Clean(abs), root), 0
	if err := trustedAt(at); err != nil {
		return "", err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at) // at has no links
			continue
		}
		next := filepath.Join(at, name)
		if err := trustedAt(next); err != nil {
			return "", err
		}
		target, err := os.Readlink(next)
		if errors.Is(err, syscall.EINVAL) {
			at = next
			continue
		}
		if err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: file, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(target) {
			at = root
		}
		rest = append(strings.Split(target, root), rest...)
	}
	return at, nil
}

// An untrustedError says that another user controls what is at a path.
type untrustedError struct{ path, why string }

func (e *untrustedError) Error() string { return e.path + " " + e.why }

// trustedAt checks one file, folder or link.
func trustedAt(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if !trustedOwner(st.Uid) && !(info.IsDir() && outsideNamespace(st.Uid)) {
		return &untrustedError{path, fmt.Sprintf("belongs to another user (uid %d), so it is not trusted; change its owner, or remove it", st.Uid)}
	}
	mode := info.Mode()
	if mode&fs.ModeSymlink != 0 || mode.IsDir() && mode&fs.ModeSticky != 0 || readOnly(path) {
		return nil // a link has no mode of its own
	}
	switch {
	case mode.Perm()&0o002 != 0:
		return &untrustedError{path, "can be written by everyone, so its contents are not trusted; fix that with: chmod o-w " + path}
	case mode.Perm()&0o020 != 0 && !ownGroup(st.Gid):
		return &untrustedError{path, fmt.Sprintf("can be written by the group %d, so its contents are not trusted; fix that with: chmod g-w %s", st.Gid, path)}
	}
	return nil
}

// trustedOwner reports whether the user is the one who runs this process, root, or
// the one who became root with sudo.
func trustedOwner(uid uint32) bool {
	euid := os.Geteuid()
	sudo, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32)
	return uid == 0 || int64(uid) == int64(euid) || euid == 0 && err == nil && uint64(uid) == sudo
}

// ownGroup reports whether the group is root's, or the one that many systems create
// for each user, with the user's own name or number.
func ownGroup(gid uint32) bool {
	if gid == 0 {
		return true
	}
	if int64(gid) != int64(os.Getegid()) {
		return false
	}
	if os.Getegid() == os.Geteuid() {
		return true
	}
	u, err := user.Current()
	if err != nil {
		return false
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(gid), 10))
	return err == nil && g.Name == u.Username
}

// outsideNamespace reports whether the owner is not mapped in the user namespace of
// this process. In an unprivileged container, the system's folders look like that.
func outsideNamespace(uid uint32) bool {
	overflow, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil || strings.TrimSpace(string(overflow)) != strconv.FormatUint(uint64(uid), 10) {
		return false
	}
	all, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(all)), " ") != "0 0 4294967295"
}

// readOnly reports whether the file system is mounted read-only, regardless of
// modes: configuration that Kubernetes mounts looks like that.
func readOnly(path string) bool {
	const flag = 1 // ST_RDONLY of Linux and MNT_RDONLY of the BSDs
	var st syscall.Statfs_t
	return syscall.Statfs(path, &st) == nil && st.Flags&flag != 0
}
