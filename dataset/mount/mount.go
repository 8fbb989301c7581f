// Package mount shows a version of a dataset as a folder of this machine, through FUSE:
// read-only, decrypted as it is read, with nothing written to disk. It works on Linux.
//
// A version never changes, so the kernel keeps what it was given: names, attributes, the
// contents of files in its page cache, and the listings of folders. Inode numbers are the
// positions of entries in the version, and stay the same from one mount to the next. The
// package keeps no table of what the kernel knows, so a version of any number of files is
// mounted in bounded memory: that of package view.
//
// Owner and group are those of the process, and modes those of the version, without the
// set-user-ID and set-group-ID bits. The kernel checks permissions by them. Symbolic links
// are as they are in the version. The kernel follows them, and they may lead out of the
// mount.
//
// What is authenticated, and when, is said in package view. A read of what is not authentic
// fails with EIO.
package mount

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/view"
)

// Options are those of [Start]. The zero value stands for the defaults.
type Options struct {
	// AllowOther lets all users of this machine read what the modes allow them. Without
	// it only the user who mounts may, not even root.
	AllowOther bool
	// View bounds the memory.
	View view.Options
	// Failed is called for each read that has failed, other than by being interrupted,
	// with the path in the version. It may be called concurrently, and nil is allowed:
	// the reader has an error in any case.
	Failed func(path string, err error)
}

// ErrUnsupported is returned by Start on systems that it does not work on. It wraps
// errors.ErrUnsupported.
var ErrUnsupported = fmt.Errorf("a dataset can be mounted on Linux only: %w", errors.ErrUnsupported)

// ErrMounted is returned by Start if a version is mounted in the folder already.
var ErrMounted = errors.New("a version is mounted there already")

// ErrNotEmpty is returned by Start for a folder that holds something.
var ErrNotEmpty = errors.New("the folder is not empty, and a mount would hide what is in it")

// A BusyError says that the folder was in use when it was unmounted. It is not mounted any
// more, and reads of those who have used it fail.
type BusyError struct {
	Dir   string
	Users []Process // those that this user may know of
}

// A Process is one that has used a mount.
type Process struct {
	ID   int
	Name string
}

func (e *BusyError) Error() string {
	var who []string
	for _, p := range e.Users {
		who = append(who, fmt.Sprintf("%s (process %d)", p.Name, p.ID))
	}
	if len(who) == 0 {
		who = []string{"processes that cannot be seen from here"}
	}
	return fmt.Sprintf("%s was unmounted while it was in use by %s, which get errors from now on", e.Dir, strings.Join(who, ", "))
}

var errNoMount = errors.New("mount: a Mount that Start has not returned")
