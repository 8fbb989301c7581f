package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slurmConf is of a controller and three nodes on one machine, without cgroups.
const slurmConf = `ClusterName=t
SlurmctldHost=HOST(127.0.0.1)
SlurmctldPort=PORT0
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=DIR/munge.sock
StateSaveLocation=DIR/state
SlurmdSpoolDir=DIR/%n
SlurmctldPidFile=DIR/ctld.pid
SlurmdPidFile=DIR/slurmd-%n.pid
SlurmctldLogFile=DIR/ctld.log
SlurmdLogFile=DIR/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=600
JobRequeue=1
SchedulerParameters=sched_interval=1,bf_interval=1,requeue_delay=1
MpiDefault=none
NodeName=n1 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT1 CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT2 CPUs=1 State=UNKNOWN
NodeName=n3 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT3 CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`

// slurm starts a Slurm with three nodes, and returns its configuration file.
func slurm(t *testing.T) (conf string) {
	t.Helper()
	if os.Getenv("VAULTPACK_SLURM") != "1" {
		t.Skip("not asked for: VAULTPACK_SLURM=1, with Slurm (apt-get install slurmctld slurmd slurm-client munge)")
	}
	for _, program := range []string{"slurmctld", "slurmd", "sbatch", "munged"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can start this Slurm")
	}
	// Not below t.TempDir: munge wants a path that others cannot write to, and a short one
	// for its socket.
	dir, err := os.MkdirTemp("/var/tmp", "vaultpack-slurm-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	for _, name := range []string{"state", "n1", "n2", "n3"} {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	host, err := os.Hostname()
	check(t, err)
	host, _, _ = strings.Cut(host, ".")
	words := []string{"DIR", dir, "HOST", host}
	for i := range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		words = append(words, fmt.Sprint("PORT", i), strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		check(t, l.Close())
	}
	conf = filepath.Join(dir, "slurm.conf")
	write(t, conf, []byte(strings.NewReplacer(words...).Replace(slurmConf)))
	key := filepath.Join(dir, "munge.key")
	check(t, os.WriteFile(key, []byte(strings.Repeat("k", 1024)), 0o400))
	start := func(pid string, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "SLURM_CONF="+conf)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		t.Cleanup(func() { stop(filepath.Join(dir, pid)) })
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	start("munge.pid", "munged", "--force", "--key-file="+key, "--socket="+in("munge.sock"), "--pid-file="+in("munge.pid"),
		"--log-file="+in("munge.log"), "--seed-file="+in("munge.seed"))
	start("ctld.pid", "slurmctld", "-c")
	for _, n := range []string{"n1", "n2", "n3"} {
		start("slurmd-"+n+".pid", "slurmd", "-N", n)
	}
	ready := exec.Command("sh", "-c", `for i in $(seq 300); do [ "$(sinfo -h -o '%T %D')" = "idle 3" ] && exit; sleep .1; done; sinfo; exit 1`)
	ready.Env = append(os.Environ(), "SLURM_CONF="+conf)
	if out, err := ready.CombinedOutput(); err != nil {
		t.Fatalf("the nodes do not come up: %v\n%s", err, out)
	}
	return conf
}

// stop ends the process that has written a file with its number.
func stop(pidFile string) {
	b, err := os.ReadFile(pidFile)
	pid, cerr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || cerr != nil {
		return
	}
	syscall.Kill(pid, syscall.SIGTERM)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
	}
	syscall.Kill(pid, syscall.SIGKILL)
}
