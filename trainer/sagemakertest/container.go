package sagemakertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const credentialsPath = "/credentials/"

// lend serves the role's credentials to containers, at a path that nobody else
// knows.
func (j *job) lend() (id string) {
	id = rand.Text()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Server.creds[id] = j.creds
	return id
}

func (s *Server) withdraw(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.creds, id)
}

func (s *Server) serveCredentials(w http.ResponseWriter, id string) {
	s.mu.Lock()
	c, ok := s.creds[id]
	s.mu.Unlock()
	if !ok {
		http.Error(w, "no such container", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey,
		"Token": c.SessionToken, "Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
}

// A container is the process of one host.
type container struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it and all its processes have ended
	code int           // its exit code, or 128 plus the signal
}

// setupScript runs in the container's namespaces before its command: it mounts the
// host's folder $1 over /opt/ml without leaving a trace outside, and execs the
// rest. On descriptor 3 it writes why it failed, or the word ready.
const setupScript = `
path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 4>&1 5>&2 >&3 2>&3
set -e
dir=$1 host=$2 workdir=$3; shift 3
mount --make-rprivate /
if ! [ -d /opt/ml ]; then
	mkdir "$dir/opt"
	[ -d /opt ] || mkdir /opt
	mount --rbind /opt "$dir/opt"
	mount -t tmpfs -o mode=0755 tmpfs /opt
	for f in "$dir"/opt/* "$dir"/opt/.[!.]*; do
		name=/opt/${f##*/}
		if [ -L "$f" ]; then cp -P "$f" "$name"
		elif [ -d "$f" ]; then mkdir "$name"; mount --rbind "$f" "$name"
		elif [ -e "$f" ]; then : >"$name"; mount --bind "$f" "$name"
		fi
	done
	mkdir /opt/ml
fi
mount --bind "$dir/ml" /opt/ml
for f in "$dir"/fastfile/*; do
	[ -d "$f" ] || continue
	mount --bind "$f" "/opt/ml/input/data/${f##*/}"
	mount -o remount,bind,ro "/opt/ml/input/data/${f##*/}"
done
[ ! -e /etc/hosts ] || mount --bind "$dir/hosts" /etc/hosts
mount -t proc proc /proc 2>/dev/null || :
hostname "$host" 2>/dev/null || :
ip link set lo up 2>/dev/null || :
cd "$workdir"
echo ready
set +e
exec >&4 2>&5 3>&- 4>&- 5>&-
PATH=$path
exec "$@"
`

// Available returns an error that says why no job can run here, or nil if jobs can
// run.
func Available() error { return available() }

var available = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "sagemakertest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h := host{name: "algo-1", dir: dir}
	if err := os.Mkdir(filepath.Join(dir, "ml"), 0o755); err != nil {
		return err
	}
	if err := writeHosts(dir, 1); err != nil {
		return err
	}
	ct, err := launch(h, []string{"/bin/sh", "-c", "true"}, nil, "/", false, io.Discard, io.Discard)
	if err != nil {
		return fmt.Errorf("sagemakertest cannot run jobs here: %w", err)
	}
	<-ct.done
	return nil
})

// start starts the host's container with the entrypoint and arguments of the job
// or, if it has none, the image's own with the argument train.
func (j *job) start(h host, credentials string) (*container, error) {
	alg := j.in.AlgorithmSpecification
	command := alg.ContainerEntrypoint
	if command == nil {
		command = j.image.Entrypoint
	}
	switch {
	case alg.ContainerArguments != nil:
		command = append(slices.Clone(command), alg.ContainerArguments...)
	case alg.ContainerEntrypoint == nil && !j.processing:
		command = append(slices.Clone(command), "train")
	}
	isolated := aws.ToBool(j.in.EnableNetworkIsolation)
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": "/root"}
	maps.Copy(env, j.image.Env)
	maps.Copy(env, j.in.Environment)
	if !j.processing {
		env["TRAINING_JOB_NAME"], env["TRAINING_JOB_ARN"] = j.name, j.arn
	}
	env["AWS_REGION"] = j.region
	if !isolated {
		env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = j.URL + credentialsPath + credentials
	}
	maps.Copy(env, j.cfg.Env)
	if err := writeHosts(h.dir, len(j.hosts())); err != nil {
		return nil, err
	}
	stream := j.stream(h.name)
	out, errs := &lineWriter{emit: stream.add}, &lineWriter{emit: stream.add}
	workdir := j.image.WorkDir
	if workdir == "" {
		workdir = "/"
	}
	return launch(h, command, env, workdir, isolated, out, errs)
}

// writeHosts gives each host its own loopback address.
func writeHosts(dir string, n int) error {
	lines := "127.0.0.1 localhost\n"
	for i := range n {
		lines += fmt.Sprintf("127.0.0.%d algo-%d\n", i+1, i+1)
	}
	return os.WriteFile(filepath.Join(dir, "hosts"), []byte(lines), 0o644)
}

// launch starts the command in new namespaces, where it is process 1, as in `docker
// run`, and returns when it is running.
func launch(h host, command []string, env map[string]string, workdir string, isolated bool, stdout, stderr io.Writer) (*container, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ct := &container{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel treats the end of the thread that started the process as the
		// end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ct.done)
		err := errors.New("only Linux has what it takes")
		for _, user := range userNamespace() {
			ct.cmd = exec.Command("/bin/sh", append([]string{"-c", setupScript, "sh", h.dir, h.name, workdir}, command...)...)
			ct.cmd.Env = []string{}
			for _, k := range slices.Sorted(maps.Keys(env)) {
				ct.cmd.Env = append(ct.cmd.Env, k+"="+env[k])
			}
			ct.cmd.Stdout, ct.cmd.Stderr = stdout, stderr
			ct.cmd.ExtraFiles = []*os.File{w}
			isolate(ct.cmd, user, isolated)
			if err = ct.cmd.Start(); !errors.Is(err, syscall.EPERM) {
				break
			}
		}
		w.Close()
		defer r.Close()
		if err != nil {
			started <- fmt.Errorf("no namespaces of its own for a container, which takes Linux and either root with CAP_SYS_ADMIN or user namespaces (sysctl user.max_user_namespaces; a container's seccomp profile may forbid them): %w", err)
			return
		}
		said, _ := io.ReadAll(r)
		text, ready := bytes.CutSuffix(said, []byte("ready\n"))
		if ready {
			started <- nil
		}
		ct.cmd.Wait()
		for _, o := range []io.Writer{stdout, stderr} {
			if l, ok := o.(*lineWriter); ok {
				l.flush()
			}
		}
		state := ct.cmd.ProcessState
		ct.code = state.ExitCode()
		if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			ct.code = 128 + int(ws.Signal())
		}
		if !ready {
			started <- fmt.Errorf("the container could not be set up: %s (exit code %d)", bytes.TrimSpace(text), ct.code)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return ct, nil
}

// stop sends SIGTERM, and SIGKILL after the grace, or when ctx ends.
func (ct *container) stop(ctx context.Context, grace time.Duration) {
	ct.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ct.done:
	case <-t.C:
	case <-ctx.Done():
	}
	ct.cmd.Process.Kill()
	<-ct.done
}

// A lineWriter passes each line written to it to emit, without the newline.
type lineWriter struct {
	emit func(string)
	part []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		l.part = append(l.part, line...)
		if !ok {
			return n, nil
		}
		l.flush()
		b = rest
	}
}

func (l *lineWriter) flush() {
	if line := strings.TrimSuffix(string(l.part), "\r"); line != "" {
		l.emit(line)
	}
	l.part = nil
}
