package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A crew is the process between a run and the supervisors of several hosts. It connects the
// hosts, puts the name of each before the lines that it writes, and ends all of them when
// one fails or the run ends.
type crew struct {
	spec    *crewSpec
	network *network
	members map[int]*hostSpec // by the process of its supervisor
	outputs sync.WaitGroup
	out     sync.Mutex // of the lines

	stopped bool // the run has asked for it
	exit    exit // of the first host that failed
}

// run runs the hosts to the end of all.
func (c *crewSpec) run() error {
	lock, err := os.OpenFile(filepath.Join(c.Dir, runningName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := new(fsys.Calls).Lock(lock); err != nil {
		return err
	}
	if err := adoptOrphans(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, endNow)
	defer signal.Stop(signals)
	runtime.LockOSThread() // the hosts are to end with this thread
	m := &crew{spec: c, members: map[int]*hostSpec{}}
	if c.Network {
		if m.network, err = newNetwork(); err != nil {
			return err
		}
	}
	err = m.start()
	if err != nil {
		m.signal(endNow)
	}
	ended := make(chan reaped)
	go reap(ended)
	if err := errors.Join(err, m.wait(ended, signals)); err != nil {
		return err
	}
	m.exit.stopped = m.stopped
	return errors.Join(release(c.Dir), m.exit.write(c.Dir))
}

// start starts the hosts. Each waits for its part of the specification, which it gets when
// all can be reached.
func (m *crew) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var told []*os.File
	defer func() {
		for _, f := range told {
			f.Close()
		}
	}()
	for i := range m.spec.Hosts {
		pid, tell, err := m.launch(self, &m.spec.Hosts[i])
		if err != nil {
			return err
		}
		told = append(told, tell)
		m.members[pid] = &m.spec.Hosts[i]
		if m.network != nil {
			if err := m.network.add(pid); err != nil {
				return err
			}
		}
	}
	for i, f := range told {
		if err := json.NewEncoder(f).Encode(m.spec.Hosts[i]); err != nil {
			return fmt.Errorf("starting host %s: %w", m.spec.Hosts[i].Name, err)
		}
	}
	return nil
}

// launch starts the supervisor of a host.
func (m *crew) launch(self string, h *hostSpec) (pid int, tell *os.File, err error) {
	in, tell, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer in.Close()
	out, err := m.outlet(h.Name, os.Stdout)
	if err != nil {
		return 0, nil, errors.Join(err, tell.Close())
	}
	defer out.Close()
	errs, err := m.outlet(h.Name, os.Stderr)
	if err != nil {
		return 0, nil, errors.Join(err, tell.Close())
	}
	defer errs.Close()
	attr := &syscall.SysProcAttr{}
	hostNamespaces(attr, walls{private: h.Private, network: m.spec.Network})
	endWithThread(attr, syscall.SIGTERM)
	argv := append(append([]string{}, os.Args[:len(os.Args)-1]...), enterHost)
	pid, err = syscall.ForkExec(self, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{in.Fd(), out.Fd(), errs.Fd()}, Sys: attr})
	if err != nil {
		return 0, nil, errors.Join(fmt.Errorf("starting host %s: %w", h.Name, err), tell.Close())
	}
	return pid, tell, nil
}

// longest is how much of a line is passed on in one piece.
const longest = 256 << 10

// outlet is what a host writes to for its lines to come to w.
func (m *crew) outlet(name string, w io.Writer) (*os.File, error) {
	r, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	m.outputs.Go(func() {
		defer r.Close()
		lines := bufio.NewReaderSize(r, longest)
		for {
			line, err := lines.ReadSlice('\n')
			if len(line) > 0 {
				end := "\n"
				if line[len(line)-1] == '\n' {
					end = ""
				}
				m.out.Lock()
				_, werr := fmt.Fprintf(w, "%s | %s%s", name, line, end)
				m.out.Unlock()
				if werr != nil {
					return // whoever writes on is told
				}
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	})
	return theirs, nil
}

// signal passes a signal on to the supervisors that run.
func (m *crew) signal(sig syscall.Signal) {
	for pid := range m.members {
		syscall.Kill(pid, sig)
	}
}

// wait returns when no process of any host runs any more.
func (m *crew) wait(ended <-chan reaped, signals <-chan os.Signal) error {
	var rest <-chan time.Time
	var since time.Time
	for {
		select {
		case r, ok := <-ended:
			if !ok {
				m.outputs.Wait()
				return nil
			}
			if h := m.members[r.pid]; h != nil {
				delete(m.members, r.pid)
				m.ended(h, r.status)
			}
			if len(m.members) == 0 && rest == nil {
				since, rest = time.Now(), time.After(0)
			}
		case sig := <-signals:
			m.stopped = true
			m.signal(sig.(syscall.Signal))
		case <-rest: // of a host whose supervisor was killed
			if time.Since(since) > unkillable {
				return fmt.Errorf("processes of the job do not end: %d", descendants(os.Getpid()))
			}
			for _, pid := range descendants(os.Getpid()) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			rest = time.After(10 * time.Millisecond)
		}
	}
}

// ended takes note of a host that has ended. The first that fails has the others stopped.
func (m *crew) ended(h *hostSpec, status syscall.WaitStatus) {
	if e, ok := readExit(h.Dir); ok {
		status = e.status
	}
	if status == 0 || m.exit.host != "" {
		return
	}
	m.exit.status, m.exit.host = status, h.Name
	if !m.stopped && len(m.members) > 0 {
		fmt.Fprintf(os.Stderr, "vaultpack: host %s has failed; the others are stopped\n", h.Name)
		m.signal(syscall.SIGTERM)
	}
}
