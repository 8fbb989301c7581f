package fsys

import "io/fs"

// ModeMask is the bits of a mode that a dataset stores: the twelve of POSIX.
const ModeMask = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// PosixMode converts Go's mode bits to the twelve of POSIX.
func PosixMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&bit != 0 {
			out |= 0o1000 << i
		}
	}
	return out
}

// GoMode converts the twelve bits of POSIX to Go's.
func GoMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&(0o1000<<i) != 0 {
			out |= bit
		}
	}
	return out
}
