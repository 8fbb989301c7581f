package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A took is what one run of a command took.
type took struct {
	wall time.Duration
	cpu  time.Duration
	// server is the processor time of the servers during the run: MinIO, or the
	// sink in this process.
	server time.Duration
	peak   int64 // bytes of memory
}

// A place is where a command runs: its folder, and what is added to an empty
// environment.
type place struct {
	dir string
	env []string
}

// run runs a command to its end. The kernel's peak value of its memory is never
// less than what this program used when it started the command, about 30 MiB.
func (p place) run(ctx context.Context, command string, args ...string) (took, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + p.dir}, p.env...)
	// It does not receive interrupts from the terminal, and does not outlive this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	before := serversCPU()
	began := time.Now()
	err := cmd.Run()
	t := took{wall: time.Since(began)}
	t.server = serversCPU() - before
	if ctx.Err() != nil {
		return t, ctx.Err()
	}
	if err != nil {
		return t, fmt.Errorf("%s %q: %w\n%s", command, args, err, said.Bytes()[max(0, said.Len()-2000):])
	}
	t.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.peak = u.Maxrss << 10 // Linux reports KiB
	}
	fmt.Fprintf(os.Stderr, "  %8.2f s, %6.2f s cpu, %6.2f s of the server, %4d MiB  %s %.70q\n", t.wall.Seconds(), t.cpu.Seconds(), t.server.Seconds(), t.peak>>20, base(command), args)
	return t, nil
}

// serversCPU returns the processor time so far of this process and of its running
// children.
func serversCPU() time.Duration {
	var self unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) != nil {
		return 0
	}
	cpu := time.Duration(self.Utime.Nano() + self.Stime.Nano())
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		// The name, in parentheses, may contain anything. After it: state, parent, …
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 13 || f[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, ticks := range f[11:13] {
			n, _ := strconv.Atoi(ticks)
			cpu += time.Duration(n) * (time.Second / 100) // USER_HZ
		}
	}
	return cpu
}

// settle lets the disk finish earlier writes.
func settle() { unix.Sync() }

// touch writes as much as will be in use at once, and removes it. A virtual machine
// provides memory at its first use, and whoever runs first would pay for that.
func (b *bench) touch() error {
	dir, remove, err := b.sub("touched")
	if err != nil {
		return err
	}
	defer remove()
	for i := range 3 {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for n := int64(0); n < b.large && err == nil; n += int64(len(block)) {
			_, err = f.Write(block)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		return "memory (tmpfs)"
	}
	return "a disk"
}
