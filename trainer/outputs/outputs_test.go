package outputs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/outputs"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/trainer/sealedoutput"
	"github.com/vaultpack/vaultpack/vault"
)

// A world is a vault, and a SageMaker whose jobs are what the test says.
type world struct {
	*testing.T
	vault *vault.Vault
	d     *dataset.Dataset
	v     *dataset.Version
	jobs  map[string]*sagemaker.DescribeProcessingJobOutput
	trainer.ProcessingAPI
}

func (w *world) DescribeProcessingJob(_ context.Context, in *sagemaker.DescribeProcessingJobInput, _ ...func(*sagemaker.Options)) (*sagemaker.DescribeProcessingJobOutput, error) {
	return w.jobs[*in.ProcessingJobName], nil
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, d: datasettest.New(t), jobs: map[string]*sagemaker.DescribeProcessingJobOutput{}}
	w.vault = w.d.Vault()
	w.vault.Signer, w.vault.Location = signing.GenerateKey(), "s3://data/ml"
	w.v = datasettest.Packed(t, w.d, []string{"a"}, map[string]string{"a": "1"})
	return w
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// job is a job that has sealed its outputs on each host, as the opener does: files maps
// OUTPUT/HOST/PATH to what is in it.
func (w *world) job(name string, hosts int, files map[string]string) {
	w.Helper()
	ctx := w.Context()
	keyName, err := sealedmodel.NewKey(ctx, w.v, name, sealedmodel.KeyName)
	w.check(err)
	key, err := sealedmodel.KeyOf(ctx, w.d, name, sealedmodel.KeyName)
	w.check(err)
	defer key.Wipe()
	cert, err := provenance.Certify(ctx, w.d, provenance.Run{Job: name, Builder: provenance.SageMaker,
		Inputs: []provenance.Input{{Channel: "training", Dataset: "d", Version: w.v.Number, Digest: w.v.Digest()}}}, time.Now().Add(time.Hour))
	w.check(err)
	defer cert.Wipe()
	d := &sagemaker.DescribeProcessingJobOutput{ProcessingJobName: &name, ProcessingJobArn: aws.String("arn:" + name), ProcessingJobStatus: types.ProcessingJobStatusCompleted,
		ProcessingResources:    &types.ProcessingResources{ClusterConfig: &types.ProcessingClusterConfig{InstanceCount: aws.Int32(int32(hosts))}},
		AppSpecification:       &types.AppSpecification{ContainerArguments: []string{"0", "sagemaker-run", "--model-key", keyName, "--processing"}},
		ProcessingOutputConfig: &types.ProcessingOutputConfig{}}
	w.jobs[name] = d
	base := w.TempDir()
	done := map[string]bool{}
	for path := range files {
		output, rest, _ := strings.Cut(path, "/")
		host, _, _ := strings.Cut(rest, "/")
		if !done[output] {
			d.AppSpecification.ContainerArguments = append(d.AppSpecification.ContainerArguments, "--output", output+"="+output+"-set")
			d.ProcessingOutputConfig.Outputs = append(d.ProcessingOutputConfig.Outputs, types.ProcessingOutput{OutputName: &output,
				S3Output: &types.ProcessingS3Output{S3Uri: aws.String("s3://data/ml/_vaultpack/jobs/d/" + name + "/output/" + output)}})
		}
		if done[output] = true; done[output+"/"+host] {
			continue
		}
		done[output+"/"+host] = true
		dir := filepath.Join(base, output, host)
		w.check(os.MkdirAll(dir, 0o755))
		for path, text := range files {
			if rel, ok := strings.CutPrefix(path, output+"/"+host+"/"); ok && rel != "" {
				file := filepath.Join(dir, rel)
				w.check(os.MkdirAll(filepath.Dir(file), 0o755))
				w.check(os.WriteFile(file, []byte(text), 0o640))
			}
		}
		l := sealedoutput.Label{Job: name, Output: output, Host: host}
		w.check(l.Write(dir))
		w.check(cert.Sign(ctx, dir, provenance.Made{Host: host, Started: time.Now(), Finished: time.Now()}))
		_, err := sealedoutput.Seal(ctx, dir, dir+".vpk", l, key)
		w.check(err)
		b, err := os.ReadFile(dir + ".vpk")
		w.check(err)
		w.put(name, output, host, b)
	}
	d.AppSpecification.ContainerArguments = append(d.AppSpecification.ContainerArguments, "--", "run", "--output", "not=ours")
}

func object(job, output, host string) string {
	return objects.JobFolder("d", job) + "output/" + output + "/" + host + ".vpk"
}

func (w *world) put(job, output, host string, b []byte) {
	w.Helper()
	w.check(w.vault.Put(w.Context(), object(job, output, host), func(dst io.Writer) error { _, err := dst.Write(b); return err }))
}

func (w *world) get(job, output, host string) []byte {
	w.Helper()
	r, err := w.vault.Get(w.Context(), object(job, output, host), 0, -1)
	w.check(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	w.check(err)
	return b
}

func (w *world) commit(job string) ([]outputs.Committed, error) {
	w.Helper()
	j, err := outputs.Find(w.Context(), w, job)
	w.check(err)
	return outputs.Commit(w.Context(), w.vault, j, outputs.Options{})
}

// latest is what the newest version of a dataset has, by path; empty if there is none.
func (w *world) latest(name string) map[string]string {
	w.Helper()
	d, err := dataset.Open(w.vault, name)
	w.check(err)
	defer d.Close()
	v, err := d.Latest(w.Context())
	if errors.Is(err, dataset.ErrUnknownDataset) {
		return nil
	}
	w.check(err)
	dir := w.TempDir()
	_, err = restore.Run(w.Context(), v, dir, restore.Options{})
	w.check(err)
	got := map[string]string{}
	w.check(filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[rel] = string(b)
		return err
	}))
	return got
}

var made = map[string]string{"small/algo-1/a/1": "one", "small/algo-1/empty": "", "small/algo-2/a/2": strings.Repeat("two", 1<<20), "report/algo-1/r": "first", "report/algo-2/s": "second"}

// Each output becomes a version of what all hosts have made, once.
func TestCommit(t *testing.T) {
	w := newWorld(t)
	w.job("one", 2, made)
	for _, again := range []bool{false, true} {
		done, err := w.commit("one")
		if err != nil || len(done) != 2 {
			t.Fatal(done, err)
		}
		for _, c := range done {
			if c.Version != 1 || c.Before != again {
				t.Errorf("%+v", c)
			}
		}
	}
	got := w.latest("small-set")
	if len(got) != 3 || got["a/1"] != "one" || got["a/2"] != made["small/algo-2/a/2"] {
		t.Errorf("%d files", len(got))
	}
	// The next job's replace them.
	w.job("two", 1, map[string]string{"small/algo-1/b": "b", "report/algo-1/r": "r"})
	if done, err := w.commit("two"); err != nil || done[0].Version != 2 {
		t.Fatal(done, err)
	}
	if got := w.latest("small-set"); len(got) != 1 || got["b"] != "b" {
		t.Errorf("%v", got)
	}
	w.job("none", 1, map[string]string{"small/algo-1/": ""})
	if _, err := w.commit("none"); err == nil || !strings.Contains(err.Error(), "has written no file") {
		t.Errorf("an empty output: %v", err)
	}
	w.job("both", 2, map[string]string{"small/algo-1/x": "1", "small/algo-2/x": "2"})
	if _, err := w.commit("both"); err == nil || !strings.Contains(err.Error(), "two hosts have written it") {
		t.Errorf("a name twice: %v", err)
	}
	w.jobs["both"].ProcessingJobStatus = types.ProcessingJobStatusFailed
	if _, err := outputs.Find(t.Context(), w, "both"); !errors.As(err, new(*outputs.NotCompletedError)) {
		t.Errorf("a job that failed: %v", err)
	}
	w.vault.Location = "s3://other/vault"
	if _, err := w.commit("two"); err == nil || !strings.Contains(err.Error(), "--vault") {
		t.Errorf("another vault: %v", err)
	}
}

// Whatever is done to a sealed output, no version is made of it.
func TestForgedOutputs(t *testing.T) {
	w := newWorld(t)
	w.job("one", 2, made)
	w.job("two", 2, made)
	part := w.get("one", "small", "algo-1")
	for at := 0; at < len(part); at += len(part)/8 + 1 {
		changed := bytes.Clone(part)
		changed[at] ^= 1
		w.refused(t, "a bit changed", changed)
	}
	for _, n := range []int{0, 1, 64, len(part) / 2, len(part) - 1} {
		w.refused(t, "cut", part[:n])
	}
	w.refused(t, "something behind it", append(bytes.Clone(part), 0))
	w.refused(t, "another host's", w.get("one", "small", "algo-2"))
	w.refused(t, "another output", w.get("one", "report", "algo-1"))
	w.refused(t, "another job's", w.get("two", "small", "algo-1"))
	w.put("one", "small", "algo-1", part)
	w.check(w.vault.Delete(t.Context(), object("one", "small", "algo-2")))
	if _, err := w.commit("one"); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a host's part is missing: %v", err)
	}
	// Who can read the dataset has the job's key, but not its certificate.
	key, err := sealedmodel.KeyOf(t.Context(), w.d, "one", sealedmodel.KeyName)
	w.check(err)
	defer key.Wipe()
	for name, with := range map[string]func(dir string){
		"no statement":      func(string) {},
		"another statement": func(dir string) { w.otherStatement(dir) },
	} {
		dir := t.TempDir()
		l := sealedoutput.Label{Job: "one", Output: "small", Host: "algo-1"}
		w.check(l.Write(dir))
		w.check(os.WriteFile(filepath.Join(dir, "forged"), []byte("forged"), 0o644))
		with(dir)
		to := filepath.Join(t.TempDir(), "x")
		_, err := sealedoutput.Seal(t.Context(), dir, to, l, key)
		w.check(err)
		b, err := os.ReadFile(to)
		w.check(err)
		w.refused(t, name, b)
	}
}

// otherStatement puts the statement of another job in an output's folder.
func (w *world) otherStatement(dir string) {
	w.Helper()
	cert, err := provenance.Certify(w.Context(), w.d, provenance.Run{Job: "mine", Builder: provenance.SageMaker,
		Inputs: []provenance.Input{{Channel: "training", Dataset: "d", Version: w.v.Number, Digest: w.v.Digest()}}}, time.Now().Add(time.Hour))
	w.check(err)
	defer cert.Wipe()
	w.check(cert.Sign(w.Context(), dir, provenance.Made{Host: "algo-1", Started: time.Now(), Finished: time.Now()}))
}

func (w *world) refused(t *testing.T, what string, part []byte) {
	t.Helper()
	w.put("one", "small", "algo-1", part)
	done, err := w.commit("one")
	if !errors.Is(err, envelope.ErrAuthentication) || len(done) > 1 || len(done) == 1 && done[0].Name != "report" {
		t.Errorf("%s: %v, %v", what, done, err)
	}
	if got := w.latest("small-set"); got != nil {
		t.Fatalf("%s: a version was made", what)
	}
}

// What cannot be a file of a dataset is refused before anything is sealed, and links become
// what they lead to.
func TestSeal(t *testing.T) {
	key := envelope.GenerateLocalKey()
	defer key.Wipe()
	l := sealedoutput.Label{Job: "j", Output: "o", Host: "algo-1"}
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	for _, err := range []error{os.WriteFile(file, []byte("a"), 0o600), os.Symlink("a", filepath.Join(dir, "b")), l.Write(dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]func(path string) error{
		"is not a file":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"path escapes":       func(path string) error { return os.Symlink("/etc/passwd", path) },
		"no such file":       func(path string) error { return os.Symlink("nothing", path) },
		"not a regular file": func(path string) error { return os.Symlink(".", path) },
	} {
		path := filepath.Join(dir, "bad")
		if err := f(path); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "sealed")
		if _, err := sealedoutput.Seal(t.Context(), dir, to, l, key); err == nil {
			t.Errorf("%s: it is sealed", name)
		} else if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: something is left to be stored", name)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "sealed")
	if n, err := sealedoutput.Seal(t.Context(), dir, to, l, key); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	sealed, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = sealedoutput.Read(t.Context(), bytes.NewReader(sealed), l, key, func(f sealedoutput.File, r io.Reader) error {
		b, err := io.ReadAll(r)
		got[f.Path] = string(b) + " " + f.Mode.String()
		return err
	})
	if err != nil || len(got) != 3 || got["a"] != "a -rw-------" || got["b"] != got["a"] {
		t.Errorf("%q, %v", got, err)
	}
	if err := l.Write(dir); err == nil || !strings.Contains(err.Error(), "vaultpack's own name") {
		t.Errorf("a folder of that name: %v", err)
	}
}
