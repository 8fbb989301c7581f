package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// inContainers runs the test for both programs that a container can start with:
// vaultpack-run, as it is built for that, and vaultpack itself.
func inContainers(t *testing.T, test func(t *testing.T, program string)) {
	t.Run("vaultpack-run", func(t *testing.T) {
		race.Skip(t, "what runs in a container is not built for the race detector")
		program, err := realBinary()
		check(t, err)
		test(t, program)
	})
	t.Run("vaultpack", func(t *testing.T) { test(t, "") })
}

// A trainingContainer is a place in which vaultpack-run runs, or vaultpack sagemaker-run,
// with a vault in a directory, a key in KMS and the channels as SageMaker would fill them.
type trainingContainer struct {
	*place
	program string // the path of vaultpack-run, or empty
	kms     *kmstest.Server
	arn     string
	base    string
	args    []string // --channel, of what was staged
}

func newContainer(t testing.TB, program string) *trainingContainer {
	c := &trainingContainer{place: newPlace(t), program: program, kms: kmstest.NewServer()}
	h := httptest.NewServer(c.kms)
	t.Cleanup(h.Close)
	key, err := c.kms.Client("eu-central-1", "admin").CreateKey(t.Context(), &kms.CreateKeyInput{})
	check(t, err)
	c.arn, c.base = *key.KeyMetadata.Arn, filepath.Join(c.home, "ml")
	// Credentials are those of the job's role, as a container gets them.
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":"job","SecretAccessKey":"x","Token":"t","Expiration":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(role.Close)
	c.env = slices.DeleteFunc(c.env, func(kv string) bool { return strings.HasPrefix(kv, "AWS_") })
	c.env = append(c.env, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+role.URL, "AWS_ENDPOINT_URL_KMS="+h.URL,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_REGION=eu-central-1")
	write(t, filepath.Join(c.home, "vaultpack.yaml"), fmt.Appendf(nil, "vault: vault\nkms_keys: [%s]\ncontext: {project: p}\n", c.arn))
	c.run(0, "init")
	return c
}

// open opens the newest version of a dataset in this process.
func (c *trainingContainer) open(name string) (*dataset.Dataset, *dataset.Version) {
	c.t.Helper()
	key, err := awskms.New(c.t.Context(), c.kms.Client("eu-central-1", "admin"), c.arn)
	check(c.t, err)
	v, err := config.Open(c.t.Context(), &config.Config{Vault: config.Setting{Value: filepath.Join(c.home, "vault")},
		KMSKeys: []config.Setting{{Value: c.arn}}, DefaultKey: true})
	check(c.t, err)
	v.Keys, v.Context = &vault.Keys{Open: []envelope.KeyWrapper{key}}, envelope.EncryptionContext{"project": "p"}
	d, err := dataset.Open(v, name)
	check(c.t, err)
	c.t.Cleanup(d.Close)
	ver, err := d.Latest(c.t.Context())
	check(c.t, err)
	return d, ver
}

// stage fills a channel with the newest version of a dataset.
func (c *trainingContainer) stage(name, channel string) {
	c.t.Helper()
	d, ver := c.open(name)
	ch, err := local.Stage(c.t.Context(), ver, d, c.base, channel)
	check(c.t, err)
	c.args = append(c.args, "--channel", ch.String())
	c.kms.ResetCalls()
}

func (c *trainingContainer) train(command ...string) *exec.Cmd {
	key := []string{"--kms-key", c.arn}
	if c.arn == "" {
		key = []string{"--key-channel", "vaultpack-key"}
	}
	args := append(append([]string{"sagemaker-run"}, key...), "--context", "project=p", "--base-dir", c.base)
	args = append(args, c.args...)
	return c.inside(append(append(args, "--"), command...)...)
}

// inside is the program of the container.
func (c *trainingContainer) inside(args ...string) *exec.Cmd {
	cmd := c.command(args...)
	if c.program != "" {
		cmd.Path = c.program
	}
	return cmd
}

// runs runs the container to its end, and wants the exit code.
func (c *trainingContainer) runs(want int, command ...string) string {
	c.t.Helper()
	cmd := c.train(command...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != want {
		c.t.Fatalf("exit code %d, want %d\n%s", got, want, out)
	}
	return string(out)
}

func (c *trainingContainer) data(elem ...string) string {
	return filepath.Join(append([]string{c.base, "input", "data"}, elem...)...)
}

// failure is what SageMaker would show.
func (c *trainingContainer) failure() string {
	b, _ := os.ReadFile(filepath.Join(c.base, "output", "failure"))
	return string(b)
}

func (c *trainingContainer) calls() string {
	var ops []string
	for _, call := range c.kms.Calls() {
		ops = append(ops, call.Operation)
	}
	c.kms.ResetCalls()
	return strings.Join(ops, " ")
}

// mixed is a tree of small files and one in many pieces.
func mixed(t testing.TB, dir string, files int) {
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprint(i%5), fmt.Sprintf("%04d.bin", i)), treetest.Bytes(int64(i%50)*1000, byte(i)))
	}
	write(t, filepath.Join(dir, "large"), treetest.Bytes(5<<20+17, 3))
	check(t, os.Symlink("0/0005.bin", filepath.Join(dir, "link")))
}

func TestSagemakerRun(t *testing.T) {
	t.Parallel()
	inContainers(t, testSagemakerRun)
}

func testSagemakerRun(t *testing.T, program string) {
	c := newContainer(t, program)
	src := filepath.Join(c.home, "src")
	mixed(t, src, 300)
	c.run(0, "push", src, "-d", "d", "--pack-size", "256KiB")
	c.stage("d", "training")
	c.stage("d", "validation")
	// The exit code is the command's, and the environment too.
	c.env = append(c.env, "TOLD=something")
	out := c.runs(7, "sh", "-c", `test -f "$0/large" && echo "$TOLD" && exit 7`, c.data("training"))
	says(t, out, "something\n", "channel training: d@1, ", "channel validation: d@1, ")
	treetest.Equal(t, src, c.data("training"))
	treetest.Equal(t, src, c.data("validation"))
	if got := c.calls(); got != "Decrypt" {
		t.Errorf("calls to KMS: %q", got)
	}
	if c.failure() != "" {
		t.Error(c.failure())
	}
	// Again, as in a container that is started again.
	says(t, c.runs(0, "true"), "opened packs: 0, files: 0")
	treetest.Equal(t, src, c.data("training"))

	// What is wrong is told in one line, and the command is not started.
	says(t, c.runs(exitFailed, "no-such-command"), "cannot start the training command")
	says(t, c.failure(), "no-such-command")
	c.kms.Fail("Decrypt", 1, kmstest.Fault{Code: "AccessDeniedException"})
	says(t, c.runs(exitNotAllowed, "touch", c.base+"/started"), "kms:Decrypt")
	says(t, c.failure(), "kms:Decrypt")
	if strings.Contains(c.failure(), "\n") {
		t.Errorf("%q", c.failure())
	}
	c.args = nil
	c.stage("d", "training")
	good := c.args[1]
	c.args[1] = strings.Replace(good, "#", "#0000", 1)[:len(good)]
	c.runs(exitAuthentication, "touch", c.base+"/started")
	says(t, c.failure(), "the job was started for 0000", "authentication failed")
	c.args[1] = good[:len(good)-1]
	c.runs(exitUsage, "touch", c.base+"/started")
	c.args[1] = good
	c.env = append(c.env, "SAGEMAKER_BASE_DIR="+c.base)
	cmd := c.inside("sagemaker-run", "--no-such-flag")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitUsage {
		t.Errorf("a flag that is none: %v\n%s", cmd.ProcessState, out)
	}
	says(t, c.failure(), "no-such-flag")
	c.arn += "x"
	c.calls()
	c.runs(exitAuthentication, "touch", c.base+"/started") // no such key has a slot
	if got := c.calls(); got != "" {
		t.Errorf("another key was called: %s", got)
	}
	if _, err := os.Stat(c.base + "/started"); err == nil {
		t.Error("the command was started")
	}
}

// A run may be killed at any moment, and its packs brought again or not: no file
// that is not whole ever has its name, and in the end all is there.
func TestSagemakerRunKilled(t *testing.T) {
	t.Parallel()
	inContainers(t, testSagemakerRunKilled)
}

func testSagemakerRunKilled(t *testing.T, program string) {
	race.Skip(t, "kills are not for the race detector")
	c := newContainer(t, program)
	src := filepath.Join(c.home, "src")
	mixed(t, src, 400)
	c.run(0, "push", src, "-d", "d", "--pack-size", "128KiB")
	killed, resumed := 0, 0
	for round := range 3 {
		check(t, os.RemoveAll(c.base))
		c.args = nil
		c.stage("d", "training")
		// Longer and longer, until it gets through.
		for limit := 30; ; limit += 5 {
			cmd := c.train("true")
			var out bytes.Buffer
			cmd.Stderr = &out
			check(t, cmd.Start())
			after := time.AfterFunc(time.Duration(15+rand.IntN(limit))*time.Millisecond, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			after.Stop()
			whole(t, src, c.data("training"))
			if err == nil {
				if strings.Contains(out.String(), "open already: ") {
					resumed++
				}
				break
			}
			if sys := cmd.ProcessState.Sys().(syscall.WaitStatus); !sys.Signaled() {
				t.Fatalf("round %d: %v\n%s", round, err, out.String())
			}
			killed++
			if round%2 == 1 && killed%4 == 0 { // a new instance, or the same disk with fresh packs
				c.args = nil
				c.stage("d", "training")
			}
		}
		treetest.Equal(t, src, c.data("training"))
	}
	t.Logf("%d kills, %d rounds went on from one", killed, resumed)
	if killed < 3 || resumed == 0 {
		t.Errorf("only %d kills, and %d rounds that went on from one", killed, resumed)
	}
}

// whole fails the test for a file that has its name and is not the one of src.
func whole(t testing.TB, src, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), ".vaultpack-open-") {
			return fs.SkipDir
		}
		if err != nil || !e.Type().IsRegular() || strings.HasSuffix(name, ".vpk") {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		want, err := os.ReadFile(filepath.Join(src, rel))
		check(t, err)
		got, err := os.ReadFile(name)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s is not whole", rel)
		}
		return nil
	}))
}

// SIGTERM while the channels are opened stops cleanly; afterwards it is the
// command's.
func TestSagemakerRunStopped(t *testing.T) {
	t.Parallel()
	inContainers(t, testSagemakerRunStopped)
}

func testSagemakerRunStopped(t *testing.T, program string) {
	c := newContainer(t, program)
	src := filepath.Join(c.home, "src")
	mixed(t, src, 50)
	c.run(0, "push", src, "-d", "d", "--pack-size", "128KiB")
	c.stage("d", "training")
	c.kms.Fail("Decrypt", 1, kmstest.Fault{Delay: time.Minute})
	cmd := c.train("touch", c.base+"/started")
	check(t, cmd.Start())
	for c.kms.Unmet() > 0 { // until it waits for its key
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 || time.Since(began) > 30*time.Second {
		t.Errorf("exit code %d after %v", code, time.Since(began))
	}
	says(t, c.failure(), "stopped by terminated while the sealed channels were being opened")
	if _, err := os.Stat(c.base + "/started"); err == nil {
		t.Error("the command was started")
	}
	// At whatever moment the signal comes, the run ends: of the signal itself where it
	// comes before this program catches any.
	for i := range 25 {
		c.kms.Fail("Decrypt", 1, kmstest.Fault{Delay: 3 * time.Second})
		cmd := c.train("touch", c.base+"/started")
		check(t, cmd.Start())
		time.Sleep(time.Duration(i) * 8 * time.Millisecond)
		check(t, cmd.Process.Signal(syscall.SIGTERM))
		hangs := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		hangs.Stop()
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.ExitStatus() != 143 && s.Signal() != syscall.SIGTERM {
			t.Errorf("stopped after %d ms, it ends with %v", 8*i, cmd.ProcessState)
		}
	}
	c.kms.ResetCalls()
	out := c.runs(9, "sh", "-c", "trap 'exit 9' TERM; kill -TERM $$; sleep 5")
	says(t, out, "channel training")
	treetest.Equal(t, src, c.data("training"))
}

// A key channel is used instead of KMS, and is empty when the command starts.
func TestKeyChannel(t *testing.T) { inContainers(t, testKeyChannel) }

func testKeyChannel(t *testing.T, program string) {
	c := newContainer(t, program)
	src := filepath.Join(c.home, "src")
	mixed(t, src, 50)
	c.run(0, "push", src, "-d", "d")
	c.stage("d", "training")
	d, ver := c.open("d")
	job := envelope.GenerateLocalKey()
	ring, name, err := d.KeyringFor(t.Context(), ver.KeyID, job)
	check(t, err)
	write(t, c.data("vaultpack-key", "local.key"), job.EncodeSecret())
	write(t, c.data("vaultpack-key", name), ring.Bytes())
	c.kms.ResetCalls()
	c.arn = ""
	says(t, c.runs(0, "ls", "-lA", c.data("vaultpack-key")), "total 0\n")
	treetest.Equal(t, src, c.data("training"))
	if got := c.calls(); got != "" {
		t.Errorf("calls to KMS: %q", got)
	}
	c.runs(exitFailed, "true")
	says(t, c.failure(), "vaultpack-key", "used up by an earlier run")
}

// signingKey is the file that the place's signing key was made in.
func (c *trainingContainer) signingKey() (file string) {
	c.t.Helper()
	check(c.t, filepath.WalkDir(c.home, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "signing.key" {
			file = path
		}
		return err
	}))
	return file
}

func TestSagemakerRunSigns(t *testing.T) {
	t.Parallel()
	inContainers(t, testSagemakerRunSigns)
}

// A program that stays beside the command, to sign what that makes, is not noticed: exit
// codes are the command's, and so are signals; what is left behind is reaped.
func testSagemakerRunSigns(t *testing.T, program string) {
	c := newContainer(t, program)
	write(t, filepath.Join(c.home, "d", "a"), []byte("data"))
	c.run(0, "push", "./d")
	c.stage("d", "training")
	d, ver := c.open("d")
	text, err := os.ReadFile(c.signingKey())
	check(t, err)
	signer, err := signing.ParsePrivateKey(text)
	check(t, err)
	d.Vault().Signer = signer
	cert, err := provenance.Certify(t.Context(), d, provenance.Run{Job: "job", Builder: provenance.SageMaker,
		Inputs: []provenance.Input{{Channel: "training", Dataset: "d", Version: ver.Number, Digest: ver.Digest()}}}, time.Now().Add(time.Hour))
	check(t, err)
	defer cert.Wipe()
	name, err := cert.Seal(t.Context(), ver)
	check(t, err)
	r, err := d.Vault().Get(t.Context(), name, 0, -1)
	check(t, err)
	sealed, err := io.ReadAll(r)
	check(t, err)
	r.Close()
	write(t, c.data("vaultpack", name), sealed)
	c.args = append(c.args, "--signing", name)
	model := filepath.Join(c.base, "model")
	is := func(want bool) {
		t.Helper()
		files, err := provenance.ReadFolder(t.Context(), model)
		check(t, err)
		v := provenance.NewVerifier(d.Vault())
		defer v.Close()
		if _, _, err := v.Model(t.Context(), files); (err == nil) != want {
			t.Errorf("the model is believed: %v, want %v", err, want)
		}
		check(t, os.RemoveAll(model))
		check(t, os.Mkdir(model, 0o755))
	}
	check(t, os.Mkdir(model, 0o755))

	c.env = append(c.env, "TRAINING_JOB_ARN=arn:aws:sagemaker:eu-central-1:1:training-job/job", "M="+model)
	says(t, c.runs(0, "sh", "-c", `cat "$0" >"$M/m"; (sleep 0.1 &)`, c.data("training", "a")), "signed a statement of how the model was made")
	is(true)
	says(t, c.runs(0, "true"), "there is no model to sign a statement about")
	c.runs(7, "sh", "-c", `echo >"$M/m"; exit 7`)
	is(false)
	c.runs(128+9, "sh", "-c", `kill -KILL $$`)
	if c.failure() != "" {
		t.Error(c.failure())
	}
	says(t, c.runs(exitFailed, "no-such-command"), "cannot start the training command")
	// A job that is stopped keeps the model that it has.
	for sig, code := range map[syscall.Signal]int{syscall.SIGTERM: 0, syscall.SIGINT: 3, syscall.SIGUSR1: 4} {
		cmd := c.train("sh", "-c", `trap 'echo >"$M/m"; exit 0' TERM; trap 'echo >"$M/m"; exit 3' INT; trap 'echo >"$M/m"; exit 4' USR1; echo ready; while :; do sleep 0.05; done`)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		check(t, err)
		if line != "ready\n" {
			t.Fatalf("%q", line)
		}
		check(t, cmd.Process.Signal(sig))
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%v: exit code %d, want %d", sig, got, code)
		}
		is(sig != syscall.SIGUSR1)
	}
	// What cannot be signed does not cost the model.
	says(t, c.runs(0, "sh", "-c", `echo >"$M/m"; ln -s /etc/passwd "$M/l"`), "warning: the model has no statement of how it was made")
	check(t, os.Remove(filepath.Join(model, "l")))
	is(false)
	// Another's key is found before anything is started.
	write(t, c.data("vaultpack", strings.Replace(name, "/job/", "/other/", 1)), sealed)
	c.args[len(c.args)-1] = strings.Replace(name, "/job/", "/other/", 1)
	c.runs(exitAuthentication, "touch", c.base+"/started")
	says(t, c.failure(), "that of another job")
	c.args[len(c.args)-1] = "_vaultpack/jobs/e/job/signing.vpk"
	c.runs(exitFailed, "touch", c.base+"/started")
	if _, err := os.Stat(c.base + "/started"); err == nil {
		t.Error("the command was started")
	}
}
