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

// An Owner is a process, as the names of what it is writing tell of it: without
// locks, and on a file system whose locks do not reach other machines, that is how
// leftovers of the dead are told from the work of the living.
type Owner struct {
	kernel string // this boot of this machine
	space  string // in which pid counts
	pid    int
	start  string // of the process, since a pid is used again
}

// unknown is of whom nobody can tell anything: no other process has it.
func unknown() string { return short(rand.Text()) }

// short does not tell what it stands for: names in a vault are seen by its owner.
func short(s string) string {
	sum := sha256.Sum256([]byte("vaultpack owner\x00" + s))
	return hex.EncodeToString(sum[:6])
}

// Self is this process.
var Self = sync.OnceValue(func() Owner {
	o := Owner{kernel: kernel(), space: space(), pid: os.Getpid()}
	if o.start, _ = started(o.pid); o.start == "" {
		o.start = "0"
	}
	return o
})

// String is of lower-case letters, digits and hyphens, which all file systems take.
func (o Owner) String() string {
	return o.kernel + "-" + o.space + "-" + strconv.Itoa(o.pid) + "-" + o.start
}

// ParseOwner reads what String wrote, at the beginning of s.
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

// Here reports whether it runs, or ran, on this machine since it was started, so
// that locks are common to both on any file system.
func (o Owner) Here() bool { return o.kernel == Self().kernel }

// Known reports whether Alive can tell.
func (o Owner) Known() bool { return o.Here() && o.space == Self().space }

// Alive reports whether the process still runs. It has to be known.
func (o Owner) Alive() bool {
	if err := syscall.Kill(o.pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	start, dead := started(o.pid)
	if start == "" { // others' processes may be hidden
		return true
	}
	return !dead && (start == o.start || o.start == "0")
}

// IsTemporary reports whether s, which follows a prefix, ends a name that nobody but
// this program gives: what crypto/rand.Text makes, with an Owner before it or without.
func IsTemporary(s string) bool {
	if _, ok := ParseOwner(s); ok {
		s = s[strings.LastIndexByte(s, '-')+1:]
	}
	return len(s) == 26 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
