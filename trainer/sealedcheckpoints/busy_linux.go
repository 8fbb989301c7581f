package sealedcheckpoints

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isBeingWritten reports whether somebody has the file open for writing. A read lease can be
// taken only where nobody has (fcntl(2), F_SETLEASE). It is given back at once: as long as it
// is held, whoever opens the file for writing would wait. Where there are no leases the
// answer is no, and that the file has not changed for a while has to do.
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
