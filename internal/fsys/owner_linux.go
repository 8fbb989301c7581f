package fsys

import (
	"os"
	"strconv"
	"strings"
)

// kernel is the same in all containers of a machine, until the machine restarts.
func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) < 32 {
		return unknown()
	}
	return short(string(b))
}

func space() string {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return unknown()
	}
	return short(ns)
}

// started returns when the process was started, in the kernel's ticks, and whether it
// has ended and only waits for its parent. If this process cannot see that, start is
// empty.
func started(pid int) (start string, dead bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// The name of the program is in parentheses and may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 20 {
		return "", false
	}
	return f[19], f[0] == "Z" || f[0] == "X"
}
