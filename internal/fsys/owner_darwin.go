package fsys

import "golang.org/x/sys/unix"

func kernel() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil || id == "" {
		return unknown()
	}
	return short(id)
}

// space: there is one for all processes.
func space() string { return short("") }

func started(int) (start string, dead bool) { return "", false }
