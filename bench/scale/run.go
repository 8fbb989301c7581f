package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A took is what one run of a command took.
type took struct {
	wall time.Duration
	cpu  time.Duration
	peak int64 // bytes of memory
}

// A place is where a command runs: its folder, and what is added to a bare
// environment.
type place struct {
	dir string
	env []string
}

// run runs a command to its end. The kernel's peak of its memory is never less
// than what this program had when it started the command, some 30 MiB.
func (p place) run(ctx context.Context, command string, args ...string) (took, error) {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + p.dir}, p.env...)
	// It gets no interrupt of its own from the terminal, and does not outlive this.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	err := cmd.Run()
	t := took{wall: time.Since(began)}
	if ctx.Err() != nil {
		return t, ctx.Err()
	}
	if err != nil {
		return t, fmt.Errorf("%s %q: %w\n%s", command, args, err, said.Bytes()[max(0, said.Len()-2000):])
	}
	t.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.peak = u.Maxrss << 10 // Linux gives KiB
	}
	fmt.Fprintf(os.Stderr, "  %8.2f s, %6.2f s cpu, %4d MiB  %s %.70q\n", t.wall.Seconds(), t.cpu.Seconds(), t.peak>>20, base(command), args)
	return t, nil
}

// settle lets the disk finish with what came before.
func settle() { unix.Sync() }

func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		return "memory (tmpfs)"
	}
	return "a disk"
}
