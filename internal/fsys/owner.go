package fsys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// An Owner identifies a process in the names of the files that it is writing. Without
// locks, or with locks that do not reach other machines, this distinguishes leftovers
// from the files of running processes.
type Owner struct {
	kernel string // this boot of this machine
	space  string // in which pid counts
	pid    int
	start  string // of the process, since pids are reused
}

// unknown stands for an unknown process; no other process has it.
func unknown() string { return short(rand.Text()) }

// short hides the value it stands for, since whoever runs a vault sees the names in it.
func short(s string) string {
	sum := sha256.Sum256([]byte("vaultpack owner\x00" + s))
	return hex.EncodeToString(sum[:6])
}

// Self returns the Owner for this process.
var Self = sync.OnceValue(func() Owner {
	o := Owner{kernel: kernel(), space: space(), pid: os.Getpid()}
	if o.start, _ = started(o.pid); o.start == "" {
		o.start = "0"
	}
	return o
})

// String returns lower-case letters, digits and hyphens, which all file systems accept.
func (o Owner) String() string {
	return o.kernel + "-" + o.space + "-" + strconv.Itoa(o.pid) + "-" + o.start
}

// ParseOwner parses the result of String at the beginning of s.
func ParseOwner(s string) (o Owner, ok bool) {
	f := strings.SplitN(s, "-", 5)
	if len(f) < 4 || len(f[0]) != 12 || len(f[1]) != 12 {
		return o, false
	}
	pid, err := strconv.Atoi(f[2])
	if err != nil || pid < 1 {
		return o, false
	}
	if _, err := strconv.ParseUint(f[3], 10, 64); err != nil {
		return o, false
	}
	return Owner{f[0], f[1], pid, f[3]}, true
}

// Here reports whether the process runs, or ran, on this machine since the machine
// last started, so that it and this process see the same locks on any file system.
func (o Owner) Here() bool { return o.kernel == Self().kernel }

// Known reports whether Alive can find out.
func (o Owner) Known() bool { return o.Here() && o.space == Self().space }

// Alive reports whether the process still runs. Known must be true.
func (o Owner) Alive() bool {
	if err := syscall.Kill(o.pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	start, dead := started(o.pid)
	if start == "" { // other users' processes may be hidden
		return true
	}
	return !dead && (start == o.start || o.start == "0")
}

// IsTemporary reports whether s, which follows a prefix, is the end of a temporary name
// of this program: the result of crypto/rand.Text, with or without an Owner before it.
func IsTemporary(s string) bool {
	if _, ok := ParseOwner(s); ok {
		s = s[strings.LastIndexByte(s, '-')+1:]
	}
	return len(s) == 26 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
