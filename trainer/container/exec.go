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

// An Ended says how a command has ended.
type Ended struct {
	Code    int  // as in a shell: 128 plus the number of the signal that ended it
	Stopped bool // it received a signal to stop
}

// A Child is a running command. This process waits for it and passes signals on to it.
type Child struct {
	pid     int
	signals chan os.Signal
}

// Signals begins to collect the signals for a command. Pass the result to [Start].
func Signals() chan os.Signal {
	c := make(chan os.Signal, 64)
	interrupt.Notify(c, passed...)
	return c
}

// Start starts the command, and passes the signals on to it.
func Start(command []string, signals chan os.Signal) (*Child, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("cannot start the training command: %w", err)
	}
	c := &Child{signals: signals}
	if c.pid, err = syscall.ForkExec(path, command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}); err != nil {
		return nil, fmt.Errorf("cannot start the training command %s: %w", path, err)
	}
	return c, nil
}

// Wait waits for the command to end. If this is the container's first process, the
// processes that the command has left behind end too, as they would if the command were
// the first process.
func (c *Child) Wait() Ended {
	defer signal.Stop(c.signals)
	ended := make(chan syscall.WaitStatus, 1)
	go func() {
		// A container's first process is the parent of all that has lost its own.
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, 0, nil)
			if pid == c.pid {
				ended <- status
				return
			}
			if err != nil && !errors.Is(err, syscall.EINTR) {
				ended <- 1 << 8
				return
			}
		}
	}()
	var e Ended
	for {
		select {
		case s := <-c.signals:
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				e.Stopped = true
			}
			syscall.Kill(c.pid, s.(syscall.Signal))
		case status := <-ended:
			if e.Code = status.ExitStatus(); status.Signaled() {
				e.Code = 128 + int(status.Signal())
			}
			if os.Getpid() == 1 {
				syscall.Kill(-1, syscall.SIGKILL)
			}
			return e
		}
	}
}

// host is the name that SageMaker gives this host, in a file below the folder:
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
