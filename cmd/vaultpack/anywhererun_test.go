package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// example is the text of a file of examples/anywhere.
func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(anywhere, name))
	check(t, err)
	return string(b)
}

// program writes a program, and returns its path.
func program(t *testing.T, file, text string) string {
	t.Helper()
	write(t, file, []byte(text))
	check(t, os.Chmod(file, 0o755))
	return file
}

// dockerStandIn takes the place of docker: it takes the flags that docker run has and the
// example uses, in an environment that has only what they pass on, and runs the entry
// point below $ROOT.
const dockerStandIn = `#!/bin/sh
set -eu
[ "$1" = run ] || { echo "docker: no run: $1" >&2; exit 125; }
shift
set -- "$@" --end
entry='' env="PATH=$PATH"
while :; do
  case "$1" in
  --rm|--init|--read-only) shift ;;
  --user|--tmpfs) shift 2 ;;
  --entrypoint) entry=$2; shift 2 ;;
  --env)
    case "$2" in
    *=*) env="$env ${2%%=*}=$ROOT${2#*=}" ;;
    *) eval "v=\${$2-}"; [ -z "$v" ] || env="$env $2=$v" ;;
    esac
    shift 2 ;;
  -*) echo "docker: unknown flag $1" >&2; exit 125 ;;
  *) shift; break ;;
  esac
done
args=''
for a; do
  case "$a" in --end) break ;; /data*|/opt*) a=$ROOT$a ;; esac
  args="$args $a"
done
exec env -i $env $entry $args
`

// The command for docker gives the container what it needs and no more, and is the
// command's own in exit code.
func TestAnywhereDocker(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	root := filepath.Join(p.home, "root")
	p.env = append(p.env, "VAULTPACK_HOME="+filepath.Join(root, "tmp", "vaultpack"))
	write(t, filepath.Join(p.home, "scans", "a"), []byte("a"))
	p.run(exitDone, "push", "-q", "./scans")
	bin := filepath.Join(p.home, "bin")
	program(t, filepath.Join(bin, "docker"), dockerStandIn)
	program(t, filepath.Join(root, "opt", "train.sh"), "#!/bin/sh\nenv >$1/../env\n[ \"$(cat $1/a)\" = a ] && exit 7\n")
	cmd := exec.Command("sh", "-c", example(t, "docker-run.sh"), "docker-run.sh", "scans@1")
	cmd.Dir = p.home
	cmd.Env = append(p.env, "PATH="+bin+":"+os.Getenv("PATH"), "ROOT="+root, "AWS_REGION=eu-central-1", "AWS_SESSION_TOKEN=token", "SECRET=x",
		"VAULTPACK_VAULT="+filepath.Join(root, "tmp", "vaultpack", "vault"), "VAULTPACK_LOCAL_KEY=/nowhere")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	env, err := os.ReadFile(filepath.Join(root, "data", "env"))
	check(t, err)
	for name, want := range map[string]bool{"AWS_REGION=eu-central-1": true, "AWS_SESSION_TOKEN=token": true, "VAULTPACK_OPENED=scans@1#": true,
		"SECRET": false, "VAULTPACK_VAULT": false, "VAULTPACK_HOME": false, "VAULTPACK_LOCAL_KEY": false} {
		if strings.Contains(string(env), name) != want {
			t.Errorf("the training's environment has %s: want %v\n%s", name, want, env)
		}
	}
}

// The script for a machine seals what the training makes and removes the plaintext; SIGTERM
// is the training's, whose exit code comes back, and then nothing is sealed.
func TestAnywhereEC2(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	write(t, filepath.Join(p.home, "scans", "a"), []byte("a"))
	p.run(exitDone, "push", "-q", "./scans")
	scratch := filepath.Join(p.home, "scratch")
	check(t, os.Mkdir(scratch, 0o755))
	script := filepath.Join(p.home, "ec2.sh")
	program(t, script, example(t, "ec2.sh"))
	begin := func(train string) *exec.Cmd {
		program(t, filepath.Join(p.home, "train.sh"), "#!/bin/sh\n"+train)
		cmd := exec.Command(script, "scans@1")
		cmd.Dir, cmd.Env = p.home, append(p.env, "SCRATCH="+scratch)
		check(t, cmd.Start())
		return cmd
	}
	ended := func(cmd *exec.Cmd, code int) {
		t.Helper()
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	stopped := begin("trap 'sleep .1; exit 9' TERM\n>ready\nwhile :; do sleep .02; done")
	waitFor(t, filepath.Join(p.home, "ready"))
	check(t, stopped.Process.Signal(syscall.SIGTERM))
	ended(stopped, 9)
	ended(begin("exit 3"), 3)
	p.run(exitFailed, "versions", "scans-models")
	ended(begin("cp $1/a $2/model"), 0)
	if out, _ := p.run(exitDone, "cat", "scans-models", "model"); out != "a" {
		t.Errorf("the model is %q", out)
	}
}

// The batch file, on a Slurm of three nodes: each node opens the data once and removes it,
// the model is sealed, and a job that is requeued while it trains does it all again.
func TestAnywhereSlurm(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	p.env = append(p.env, "SLURM_CONF="+slurm(t), "SCRATCH="+filepath.Join(p.home, "scratch"))
	check(t, os.Mkdir(filepath.Join(p.home, "scratch"), 0o755))
	write(t, filepath.Join(p.home, "scans", "a"), []byte("a"))
	p.run(exitDone, "push", "-q", "./scans")
	program(t, filepath.Join(p.home, "slurm.sbatch"), example(t, "slurm.sbatch"))
	program(t, filepath.Join(p.home, "train.sh"), `#!/bin/sh
if [ -z "${SLURM_RESTART_COUNT-}" ]; then
  trap 'exit 143' TERM
  >ready.$SLURM_PROCID
  while :; do sleep .05; done
fi
mkdir -p $2
echo "$SLURMD_NODENAME $VAULTPACK_OPENED $(cat $1/a)" >$2/model.$SLURM_PROCID
`)
	sh := func(command string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = p.home, p.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	job := sh("sbatch --parsable --output=log --export=ALL,DATASET=scans@1 slurm.sbatch")
	waitFor(t, filepath.Join(p.home, "ready.0"))
	waitFor(t, filepath.Join(p.home, "ready.1"))
	sh("scontrol requeue " + job)
	// It is held for two minutes, but for this.
	sh("for i in $(seq 300); do scontrol update jobid=" + job + " starttime=now 2>/dev/null || true; scontrol show job " + job +
		" | grep -Eq 'JobState=(COMPLETED|FAILED|CANCELLED)' && break; sleep .2; done")
	if state := sh("scontrol show job " + job); !strings.Contains(state, "JobState=COMPLETED") || !strings.Contains(state, "Restarts=1") {
		t.Fatalf("%s\n%s", state, sh("cat log"))
	}
	for _, rank := range []string{"0", "1"} {
		out, _ := p.run(exitDone, "cat", "scans-models", "model."+rank)
		if !strings.HasPrefix(out, "n") || !strings.Contains(out, " scans@1#") || !strings.HasSuffix(out, " a\n") {
			t.Errorf("rank %s has made %q", rank, out)
		}
	}
	if left, err := os.ReadDir(filepath.Join(p.home, "scratch")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v\n%s", left, err, sh("cat log"))
	}
}
