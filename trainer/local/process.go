package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// start runs the command and waits for its end.
func (r *run) start(ctx context.Context, cmd *exec.Cmd) (res *Result, err error) {
	if ctx.Err() != nil {
		return &Result{Status: Stopped, Code: -1, Reason: "stopped before the command was started"}, nil
	}
	// As in a container there is no input, a signal of the terminal's does not reach
	// the job, and no process of the job outlives it.
	var guard workers.Guard
	defer guard.Resume()
	out := &outlet{guard: &guard}
	defer func() {
		if failed := out.close(); failed != nil && err == nil {
			res, err = nil, failed
		}
	}()
	if cmd.Stdout, err = out.to(r.Stdout); err != nil {
		return nil, err
	}
	if cmd.Stderr, err = out.to(r.Stderr); err != nil {
		return nil, err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	// The command is to end with this thread, whatever ends it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the training command: %w", err)
	}
	// Before out is closed, which waits for those that write.
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	out.started()
	halted, reason, err := r.wait(ctx, cmd, r.now)
	if err != nil {
		return nil, err
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	base := r.cluster.hosts[0].base()
	if e, ok := readExit(r.ws.dir); ok && len(r.Enter) > 0 {
		status = e.status
		for _, h := range r.cluster.hosts {
			if h.name == e.host {
				base = h.base()
			}
		}
	}
	if halted {
		return &Result{Status: Stopped, Code: exitCode(status), Reason: reason}, nil
	}
	return result(status, base), nil
}

// wait waits for the command's end, and stops it when the context ends, or its time.
func (j *Job) wait(ctx context.Context, cmd *exec.Cmd, now <-chan struct{}) (halted bool, reason string, err error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var kill, unheard, over <-chan time.Time
	if j.MaxRuntime > 0 {
		over = time.After(j.MaxRuntime)
	}
	stop, group := ctx.Done(), -cmd.Process.Pid
	halt := func() {
		stop, over, halted = nil, nil, true
		j.Logf("stopping the job: it has %v to end", j.grace())
		syscall.Kill(group, syscall.SIGTERM)
		kill = time.After(j.grace())
	}
	end := func() {
		if len(j.Enter) == 0 {
			syscall.Kill(group, syscall.SIGKILL)
			return
		}
		cmd.Process.Signal(endNow)
		unheard = time.After(2 * unkillable)
	}
	var gone <-chan time.Time // looks whether the group has ended
	for {
		select {
		case <-stop:
			halt()
		case <-over:
			reason = MaxRuntimeExceeded
			j.Logf("the job has run for %v, which is the most that it may", j.MaxRuntime)
			halt()
		case <-now:
			if now = nil; !halted {
				halt() // both signals have come at once
			}
			end()
		case <-kill:
			end()
		case <-unheard:
			cmd.Process.Kill()
		case err = <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return halted, reason, fmt.Errorf("running the training command: %w", err)
			}
			if !halted {
				return false, "", nil
			}
			gone = time.After(0)
		case <-gone:
			if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
				return true, reason, nil
			}
			gone = time.After(20 * time.Millisecond)
		}
	}
}

func (j *Job) grace() time.Duration {
	if j.Grace > 0 {
		return j.Grace
	}
	return 120 * time.Second
}

// exitCode is that of a container whose command has ended so: 128 and the number of the
// signal that has ended it.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// result is what SageMaker makes of an exit code and of output/failure.
func result(status syscall.WaitStatus, base string) *Result {
	code := exitCode(status)
	if code == 0 {
		return &Result{Status: Completed}
	}
	return &Result{Status: Failed, Code: code, Reason: fmt.Sprintf("AlgorithmError: %s, exit code: %d", readFailure(base), code)}
}

// mostOfFailure is how many characters of output/failure are a reason.
const mostOfFailure = 1024

// readFailure is the start of what the command wrote to output/failure. It is empty if that
// is no file: a pipe, or a link out of the job's folder, is not followed.
func readFailure(base string) string {
	root, err := os.OpenRoot(base)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, err := root.OpenFile("output/failure", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(f, mostOfFailure*utf8.UTFMax))
	if err != nil {
		return ""
	}
	text := []rune(string(b)) // what is no UTF-8 becomes U+FFFD
	return string(text[:min(len(text), mostOfFailure)])
}
