package container

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/interrupt"
)

// Exec replaces the process with the command, with the environment env, so that signals and
// the exit code are the command's. It returns only if it fails.
func Exec(command, env []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("cannot start the training command: %w", err)
	}
	if err := syscall.Exec(path, command, env); err != nil {
		return fmt.Errorf("cannot start the training command %s: %w", path, err)
	}
	return nil
}

// passed are the signals that a container's first process passes on to the command.
var passed = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT, syscall.SIGWINCH}

// An Ended says how a command ended.
type Ended struct {
	Code    int  // as in a shell: 128 plus the number of the signal that ended it
	Stopped bool // it received a signal to stop
}

// A Child is a running command. This process waits for it and passes signals on to it.
type Child struct {
	pid     int // and the process group
	signals chan os.Signal
	grace   time.Duration // of the group, from the signal to stop on
}

// groupGrace is how long a group whose first process has ended after a signal to stop may
// take to end. SageMaker kills a container 120 seconds after that signal; what is left of
// them is for signing and sealing.
const groupGrace = 90 * time.Second

// Signals begins to collect the signals for a command. Pass the result to [Start].
func Signals() chan os.Signal {
	c := make(chan os.Signal, 64)
	interrupt.Notify(c, passed...)
	return c
}

// Start starts the command in a process group of its own, and passes the signals on to that
// group, so that a script behind a shell receives them too.
func Start(command []string, signals chan os.Signal) (*Child, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("cannot start the training command: %w", err)
	}
	c := &Child{signals: signals, grace: groupGrace}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if c.pid, err = syscall.ForkExec(path, command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr}); err != nil {
		return nil, fmt.Errorf("cannot start the training command %s: %w", path, err)
	}
	return c, nil
}

// Wait waits for the command to end. If it was stopped, Wait also waits for the rest of its
// process group, which may be saving something: a shell ends at the signal, and its script
// later. If this is the container's first process, the processes that the command has left
// behind then end too, as they would if the command were the first process.
func (c *Child) Wait() Ended {
	defer signal.Stop(c.signals)
	ended := make(chan syscall.WaitStatus, 1)
	go c.reap(ended)
	var e Ended
	var over, look <-chan time.Time
	late, asked := false, false
	for {
		select {
		case s := <-c.signals:
			if (s == syscall.SIGTERM || s == syscall.SIGINT) && !e.Stopped {
				e.Stopped, over = true, time.After(c.grace)
			}
			syscall.Kill(-c.pid, s.(syscall.Signal))
		case status := <-ended:
			if e.Code = status.ExitStatus(); status.Signaled() {
				e.Code = 128 + int(status.Signal())
			}
			if !e.Stopped || late {
				return c.end(e)
			}
			look = time.After(0)
		case <-look:
			if !c.others(&asked) {
				return c.end(e)
			}
			look = time.After(20 * time.Millisecond)
		case <-over:
			if late = true; look != nil { // the command itself has all the time that it gets
				return c.end(e)
			}
		}
	}
}

// others reports whether anything that the command has started may still end in order. What
// has left the group is asked to, once nobody is left there who might do so.
func (c *Child) others(asked *bool) bool {
	switch {
	case !errors.Is(syscall.Kill(-c.pid, 0), syscall.ESRCH):
		return true
	case os.Getpid() != 1 || errors.Is(syscall.Kill(-1, 0), syscall.ESRCH):
		return false
	case !*asked:
		*asked = true
		syscall.Kill(-1, syscall.SIGTERM)
	}
	return true
}

// reap sends how the command has ended. A container's first process is the parent of all
// that has lost its own, and goes on to wait for those until there are none.
func (c *Child) reap(ended chan<- syscall.WaitStatus) {
	sent := false
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		failed := err != nil && !errors.Is(err, syscall.EINTR)
		switch {
		case pid == c.pid:
			sent = true
			ended <- status
		case failed && !sent:
			sent = true
			ended <- 1 << 8
		}
		if failed || sent && os.Getpid() != 1 {
			return
		}
	}
}

// end ends what the command has left behind.
func (c *Child) end(e Ended) Ended {
	if e.Stopped {
		syscall.Kill(-c.pid, syscall.SIGKILL)
	}
	if os.Getpid() == 1 {
		syscall.Kill(-1, syscall.SIGKILL)
	}
	return e
}

// host returns the name that SageMaker gives this host, from a file below the folder:
// https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
func host(dir string) string {
	var c struct {
		Host string `json:"current_host"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "resourceconfig.json"))
	if err != nil || json.Unmarshal(b, &c) != nil || !IsChannelName(c.Host) {
		c.Host = ""
	}
	return cmp.Or(c.Host, "algo-1")
}
