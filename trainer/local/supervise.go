package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/trainer/container"
)

const (
	// exitName is the file in a job's folder that tells how its command has ended.
	exitName = "exit"
	// runningName is a file there that is locked as long as anything of the job runs.
	runningName = "running"
	// endNow has a supervisor end the job at once.
	endNow = syscall.SIGUSR1
	// unkillable is how long a process may take to end after SIGKILL.
	unkillable = 10 * time.Second
)

// A supervisor is the process between a run and its job. Every process of the job is its
// descendant, in whatever session or group it is, and becomes its child when its parent
// ends. So it can end all of them, also when the run was killed.
type supervisor struct {
	dir   string // the job's folder
	grace time.Duration
	pid   int // of the command, and its group

	reaped  chan reaped
	status  syscall.WaitStatus
	ended   bool // the command has
	stopped bool
	asked   bool // what has left the group to end, too
	killing <-chan time.Time
	since   time.Time
}

type reaped struct {
	pid    int
	status syscall.WaitStatus
}

// run runs the command to its end, and that of all that it has started.
func (s *supervisor) run(argv []string) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, runningName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := new(fsys.Calls).Lock(lock); err != nil {
		return err
	}
	file, err := exec.LookPath(argv[0])
	if err != nil {
		return s.notStarted(err)
	}
	if err := adoptOrphans(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, endNow)
	defer signal.Stop(signals)
	runtime.LockOSThread()           // the command is to end with this thread
	none, err := os.Open(os.DevNull) // as in a container there is no input
	if err != nil {
		return err
	}
	defer none.Close()
	attr := &syscall.SysProcAttr{Setpgid: true}
	endWithThread(attr, syscall.SIGKILL)
	s.pid, err = syscall.ForkExec(file, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{none.Fd(), 1, 2}, Sys: attr})
	if err != nil {
		return s.notStarted(&os.PathError{Op: "exec", Path: file, Err: err})
	}
	s.reaped = make(chan reaped)
	go reap(s.reaped)
	return s.wait(signals)
}

// notStarted tells why there is no command, also as the reason of the job's failure, as a
// container does.
func (s *supervisor) notStarted(err error) error {
	err = fmt.Errorf("cannot start the training command: %w", err)
	return errors.Join(err, container.WriteFailure(filepath.Join(s.dir, "ml"), err))
}

// reap waits for all children, until there are none.
func reap(to chan<- reaped) {
	defer close(to)
	for {
		var r reaped
		var err error
		if r.pid, err = syscall.Wait4(-1, &r.status, 0, nil); err == nil {
			to <- r
		} else if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// wait returns when nothing of the job runs any more.
func (s *supervisor) wait(signals <-chan os.Signal) error {
	var over <-chan time.Time
	for {
		select {
		case r, ok := <-s.reaped:
			if !ok {
				return nil
			}
			if r.pid == s.pid {
				s.ended, s.status = true, r.status
				err := release(s.dir)
				if err == nil {
					err = exit{status: r.status, stopped: s.stopped}.write(s.dir)
				}
				if err != nil {
					return errors.Join(err, s.kill())
				}
			}
			s.next()
		case sig := <-signals:
			if sig == endNow {
				s.stopped = true // of two signals at once the later may be seen first
				s.begin()
				break
			}
			if !s.stopped {
				s.stopped, over = true, time.After(s.grace)
				syscall.Kill(-s.pid, syscall.SIGTERM)
			}
		case <-over:
			s.begin()
		case <-s.killing:
			if err := s.kill(); err != nil {
				return err
			}
		}
	}
}

// next decides what becomes of the rest of a job of which a process has ended. As in a
// container, all else ends at once with the command. Of a job that was stopped the command's
// group has all of the grace; what has left it is asked to end when nobody is left there
// that might do so in order.
func (s *supervisor) next() {
	switch {
	case s.ended && !s.stopped:
		s.begin()
	case s.stopped && !s.asked && errors.Is(syscall.Kill(-s.pid, 0), syscall.ESRCH):
		s.asked = true
		for _, pid := range descendants(os.Getpid()) {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

// begin begins to kill.
func (s *supervisor) begin() {
	if s.killing == nil {
		s.since = time.Now()
		s.killing = time.After(0)
	}
}

// kill kills what there is by now, which may be starting others.
func (s *supervisor) kill() error {
	if !s.since.IsZero() && time.Since(s.since) > unkillable {
		return fmt.Errorf("processes of the job do not end: %d", descendants(os.Getpid()))
	}
	syscall.Kill(-s.pid, syscall.SIGKILL)
	for _, pid := range descendants(os.Getpid()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.killing = time.After(10 * time.Millisecond)
	return nil
}

// An exit is how a command has ended, or of several hosts the one that failed.
type exit struct {
	status  syscall.WaitStatus
	stopped bool
	host    string // empty if there is only one, or none failed
}

// write records it, also for a later run.
func (e exit) write(dir string) error {
	return atomicfile.Replace(filepath.Join(dir, exitName), 0o600, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d %t %s\n", e.status, e.stopped, e.host)
		return err
	})
}

// readExit reads what was written; ok is false where there is nothing.
func readExit(dir string) (e exit, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, exitName))
	if err != nil {
		return e, false
	}
	n, _ := fmt.Fscan(strings.NewReader(string(b)), &e.status, &e.stopped, &e.host)
	return e, n >= 2
}
