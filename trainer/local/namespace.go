package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/trainer/container"
)

const baseDir = container.BaseDir

// A start is how a command is started on a host.
type start struct {
	Argv []string
	Env  []string
	Dir  string // empty for where the run was started
}

// A hostSpec tells a supervisor what to make of its host, and what to start there.
type hostSpec struct {
	Dir     string // of the host
	Grace   time.Duration
	Private bool
	// What follows is for private hosts.
	Name      string
	HostsFile []byte
	Interface string // "lo", or that of a network of its own
	Address   string // with the length of its prefix; empty without others to reach
	Network   bool   // of its own
	Start     start
}

// A crewSpec tells a crew of its hosts.
type crewSpec struct {
	Dir     string // of the job
	Network bool   // the hosts have one of their own
	Hosts   []hostSpec
}

const (
	hostInterface = "eth0"
	prefixLength  = 16
)

// Modes of Enter.
const (
	enterHost = "host"
	enterCrew = "hosts"
)

// command is what is to be started.
func (r *run) command() (*exec.Cmd, error) {
	var starts []start
	for _, h := range r.cluster.hosts {
		argv := r.Command
		if r.Source != "" {
			var err error
			if argv, err = r.entry(&h); err != nil {
				return nil, err
			}
		}
		if len(argv) == 0 {
			return nil, errors.New("there is no command to start")
		}
		base := h.base()
		if r.walls.private {
			base = baseDir
		}
		s := start{Argv: argv, Env: r.environment(&h, base)}
		if r.Source != "" {
			s.Dir = filepath.Join(h.base(), "code")
		}
		starts = append(starts, s)
	}
	if len(r.Enter) > 0 {
		return r.enter(r.walls, starts)
	}
	s := starts[0]
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	cmd.Env, cmd.Dir = s.Env, s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	endWithThread(cmd.SysProcAttr, syscall.SIGTERM)
	return cmd, nil
}

// enter makes the command line that starts each host's command under a supervisor, within
// walls. What it is to do is passed on standard input, since others can see arguments.
func (r *run) enter(w walls, starts []start) (*exec.Cmd, error) {
	specs := make([]hostSpec, len(starts))
	for i, s := range starts {
		h := &r.cluster.hosts[i]
		specs[i] = hostSpec{Dir: h.dir, Grace: r.grace(), Private: w.private, Name: h.name, HostsFile: r.cluster.hostsFile(), Interface: "lo", Network: w.network, Start: s}
		if w.network && len(starts) > 1 {
			specs[i].Interface, specs[i].Address = hostInterface, fmt.Sprintf("%v/%d", h.address, prefixLength)
		}
	}
	mode, spec := enterHost, any(specs[0])
	if len(starts) > 1 {
		mode, spec = enterCrew, crewSpec{Dir: r.ws.dir, Network: w.network, Hosts: specs}
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(r.Enter[0], append(slices.Clone(r.Enter[1:]), mode)...)
	cmd.Stdin = bytes.NewReader(b)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if len(starts) > 1 {
		crewNamespaces(cmd.SysProcAttr, w)
	} else {
		hostNamespaces(cmd.SysProcAttr, w)
	}
	asRoot(cmd.SysProcAttr)
	endWithThread(cmd.SysProcAttr, syscall.SIGTERM)
	return cmd, nil
}

// Enter is the function that the command line Job.Enter must call, with the arguments that
// follow it. What it is to do it reads from standard input. For each host of the job there
// is a process that, where that is allowed, has namespaces of its own, in which it makes the
// job's files visible as /opt/ml. It starts the command, passes SIGTERM on to the command's
// whole process group, and ends everything that the command has started when the command or
// the run ends. Enter returns when all of that has ended, or with an error if the command
// could not be run.
func Enter(args []string) error {
	if len(args) != 1 {
		return errors.New("this is started by vaultpack itself")
	}
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch args[0] {
	case enterHost:
		var spec hostSpec
		if err := json.Unmarshal(b, &spec); err != nil {
			return err
		}
		return spec.enter()
	case enterCrew:
		var spec crewSpec
		if err := json.Unmarshal(b, &spec); err != nil {
			return err
		}
		return spec.run()
	}
	return errors.New("this is started by vaultpack itself")
}

// enter makes the host, and runs its command.
func (h *hostSpec) enter() error {
	dir := h.Start.Dir
	if h.Private {
		if err := h.wall(); err != nil {
			return err
		}
		if dir == filepath.Join(h.Dir, "ml", "code") {
			dir = filepath.Join(baseDir, "code")
		}
	}
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return err
		}
	}
	os.Clearenv()
	for _, kv := range h.Start.Env {
		name, value, _ := strings.Cut(kv, "=")
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("the variable %q: %w", name, err)
		}
	}
	return (&supervisor{dir: h.Dir, grace: h.Grace}).run(h.Start.Argv)
}
