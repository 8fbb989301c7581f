package sealedcheckpoints

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isBeingWritten reports whether somebody has the file open for writing. A read lease can be
// taken only if nobody has (fcntl(2), F_SETLEASE). It is released at once: while it is held,
// anyone who opens the file for writing would wait. If leases are not supported the result is
// false, and the caller has to rely on the file not having changed for a while.
func isBeingWritten(f *os.File) bool {
	busy := false
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
		busy = errors.Is(err, unix.EAGAIN)
	})
	return busy
}
