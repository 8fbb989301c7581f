package local

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// The launchers of script mode that can be used on this machine.
const (
	Torchrun = "torchrun"
	MPI      = "mpi"
)

// masterPort is that of the toolkit's torchrun.
const masterPort = "7777"

// CheckLauncher returns an error if the launcher cannot be used on this machine.
func (j *Job) CheckLauncher() error {
	if j == nil {
		return errors.New("local: a nil Job")
	}
	program := ""
	switch j.Launcher {
	case "":
		return nil
	case Torchrun:
		program = "torchrun"
	case MPI:
		program = "mpirun"
		if n := j.hostCount(); n > 1 {
			return fmt.Errorf("the launcher mpi reaches %d hosts by SSH, which are not there on this machine; use one host, or torchrun", n)
		}
	default:
		return fmt.Errorf("the launcher %s is in AWS's images only; leave it out here", j.Launcher)
	}
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("the launcher %s needs %s on this machine: %w", j.Launcher, program, err)
	}
	return nil
}

func (j *Job) hostCount() int {
	n := 0
	for _, g := range j.Groups {
		n += g.Count
	}
	return max(n, 1)
}

// main is the host that a launcher takes for the first: of groups that of the host's own.
func (r *run) main(h *host) string {
	if r.Launcher != "" {
		return r.cluster.names(h.group)[0]
	}
	return r.cluster.names("")[0]
}

// launcher is the command line by which the toolkit starts a script in several processes on
// a host (sagemaker-training-toolkit: torch_distributed.py, mpi.py).
func (r *run) launcher(h *host, args []string) []string {
	processes := strconv.Itoa(max(gpus(), 1))
	if r.Launcher == Torchrun {
		hosts := r.cluster.names(h.group)
		argv := []string{"torchrun", "--nnodes", strconv.Itoa(len(hosts)), "--nproc_per_node", processes}
		if len(hosts) > 1 {
			argv = append(argv, "--master_addr", hosts[0], "--master_port", masterPort, "--node_rank", strconv.Itoa(slices.Index(hosts, h.name)))
		}
		return append(append(argv, r.Entry), args...)
	}
	if r.ProcessesPerHost > 0 {
		processes = strconv.Itoa(r.ProcessesPerHost)
	}
	name := h.name
	if !r.walls.private { // it is the name of no machine
		name = "localhost"
	}
	argv := []string{"mpirun", "--host", name + ":" + processes, "-np", processes, "--allow-run-as-root", "--tag-output",
		"-mca", "btl_tcp_if_include", r.cluster.iface, "-mca", "oob_tcp_if_include", r.cluster.iface, "-bind-to", "none", "-map-by", "slot",
		"-mca", "pml", "ob1", "-mca", "btl", "^openib", "-mca", "orte_abort_on_non_zero_status", "1", "-mca", "btl_vader_single_copy_mechanism", "none"}
	argv = append(argv, strings.Fields(r.MPIOptions)...)
	return append(append(argv, "python3", "-m", "mpi4py", r.Entry), args...)
}

// launcherVariables are those that the toolkit sets for a launcher.
func (r *run) launcherVariables() map[string]string {
	switch r.Launcher {
	case Torchrun:
		return map[string]string{"NCCL_SOCKET_IFNAME": r.cluster.iface, "NCCL_PROTO": "simple"}
	case MPI:
		return map[string]string{"NCCL_SOCKET_IFNAME": r.cluster.iface, "NCCL_MIN_NRINGS": "4"}
	}
	return nil
}
