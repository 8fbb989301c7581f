package trainer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/vault"
)

func (w *world) job(edit func(*trainer.Job)) *trainer.Job {
	j := &trainer.Job{Name: "job-1", Dataset: "digits", Image: "repo/image", Role: "arn:aws:iam::111122223333:role/training", InstanceType: "ml.m5.xlarge"}
	if edit != nil {
		edit(j)
	}
	return j
}

// What cannot work is refused with the reason before anything is written.
func TestPlanRefuses(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	w.upload("large", 1, 20_000)
	w.upload("empty", 0, 0)
	local := envelope.GenerateLocalKey()
	kmsKeys := w.vault.Keys
	w.vault.Keys = &vault.Keys{Open: []envelope.KeyWrapper{local}, Wrap: []envelope.KeyWrapper{local}}
	w.upload("home", 1, 100)
	w.vault.Keys = &vault.Keys{Open: append(kmsKeys.Open, local), Wrap: kmsKeys.Wrap}
	before := len(w.objects())
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "train.py"), local.EncodeSecret(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(*trainer.Job)
		want string
	}{
		"no version":  {func(j *trainer.Job) { j.Dataset = "digits@9" }, "no such version"},
		"no dataset":  {func(j *trainer.Job) { j.Dataset = "none" }, "no such dataset"},
		"no contents": {func(j *trainer.Job) { j.Dataset = "empty" }, "has no contents to train on"},
		"pieces": {func(j *trainer.Job) { j.Dataset, j.Distribution, j.InstanceCount = "large", "ShardedByS3Key", 2 },
			`"000.bin" is larger than a pack, and with ShardedByS3Key no host would get all of it`},
		"too many hosts": {func(j *trainer.Job) { j.Distribution, j.InstanceCount = "ShardedByS3Key", 100 }, "packs for 100 hosts"},
		"local key only": {func(j *trainer.Job) { j.Dataset = "home" }, "vaultpack keys add home --new-kms-key ARN"},
		"image":          {func(j *trainer.Job) { j.Image = "1.dkr.ecr.eu-west-1.amazonaws.com/missing" }, "aws ecr get-login-password"},
		"long argument":  {func(j *trainer.Job) { j.Command = strings.Split(strings.Repeat("x,", 100), ",") }, "arguments, the limit is 100"},
		"key in source":  {func(j *trainer.Job) { j.Source, j.Entry = src, "train.py" }, "is a secret key of vaultpack"},
		"own key":        {func(j *trainer.Job) { j.NetworkIsolation, j.KeyChannel = true, sseKey }, "is a key of the vault itself"},
		"no script":      {func(j *trainer.Job) { j.Source, j.Entry = src, "x.py" }, "there is no script x.py"},
	} {
		_, err := w.launcher.Plan(t.Context(), w.job(c.edit))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n  got  %v\n  want %s", name, err, c.want)
		}
	}
	w.vault.Location = "/srv/vault"
	if _, err := w.launcher.Plan(t.Context(), w.job(nil)); err == nil || !strings.Contains(err.Error(), "--local") {
		t.Errorf("a vault in a folder: %v", err)
	}
	if n := len(w.objects()); n != before {
		t.Errorf("%d objects were written", n-before)
	}
}

// What weakens a job is said.
func TestWeakened(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 1, 100)
	off := false
	p := w.plan(w.job(func(j *trainer.Job) {
		j.InstanceCount, j.InterContainerEncryption, j.OutputKMSKey, j.VolumeKMSKey, j.Spot = 2, &off, "none", "none", true
		j.Channels = map[string]*trainer.Channel{"labels": {S3: "s3://labels/"}}
		j.NetworkIsolation, j.KeyChannel, j.TensorBoard = true, "arn:aws:kms:eu-west-1:1:key/2", "s3://models/tb"
	}))
	all := strings.Join(p.Weakened, "\n")
	for _, want := range []string{"channel labels is not encrypted by vaultpack", "in the clear", "until it ends", "no output_kms_key", "checkpoints are encrypted", "volume_kms_key is none", "TensorBoard"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	if p = w.plan(w.job(nil)); len(p.Weakened) > 0 {
		t.Errorf("the default job is weakened: %v", p.Weakened)
	}
	// Of instance groups, those with local disks take no key, and then none gets one.
	for types, want := range map[string]string{"ml.g5.xlarge ml.p4d.24xlarge": "", "ml.m5.xlarge ml.c5.xlarge": "",
		"ml.g5.xlarge ml.c5.xlarge": "the volumes of the instance groups b are encrypted with a key of SageMaker's"} {
		p = w.plan(w.job(func(j *trainer.Job) {
			a, b, _ := strings.Cut(types, " ")
			j.InstanceType, j.InstanceCount = "", 0
			j.InstanceGroups = []trainer.InstanceGroup{{Name: "a", Type: a, Count: 1}, {Name: "b", Type: b, Count: 1}}
		}))
		if all := strings.Join(p.Weakened, "\n"); !strings.Contains(all, want) || (want == "") != (all == "") {
			t.Errorf("%s: weakened: %q, want %q", types, all, want)
		}
		if key := p.Request.ResourceConfig.VolumeKmsKeyId; (key != nil) != (types == "ml.m5.xlarge ml.c5.xlarge") {
			t.Errorf("%s: the key of the volumes is %v", types, key)
		}
	}
}

// A job that is not created leaves nothing of its own behind, and the error names
// the permission; what is shared stays for the next.
func TestLaunchFails(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 1, 100)
	w.answer = func(op string, _ int) (int, string) {
		if op != "CreateTrainingJob" {
			return 400, `{"__type":"ValidationException","message":"Requested resource not found."}`
		}
		return 400, `{"__type":"AccessDeniedException","message":"User: arn:aws:iam::111122223333:user/u is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/training because no identity-based policy allows the iam:PassRole action"}`
	}
	j := w.job(func(j *trainer.Job) {
		j.Source, j.Entry = "testdata/src", "train.py"
		j.NetworkIsolation, j.KeyChannel = true, "arn:aws:kms:eu-west-1:1:key/2"
	})
	_, err := w.launcher.Launch(t.Context(), w.plan(j))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "the permission iam:PassRole on arn:aws:iam::111122223333:role/training is missing") {
		t.Errorf("%v", err)
	}
	shared := 0
	for name := range w.objects() {
		if strings.HasPrefix(name, "_vaultpack/jobs/") {
			t.Errorf("%s is left", name)
		}
		if strings.HasPrefix(name, "_vaultpack/") {
			shared++
		}
	}
	if shared != 2 {
		t.Errorf("%d shared objects", shared)
	}
}

// A lost answer: SageMaker has the job, and says of the repeated request that the
// name is taken. That is a success; of another's job of the name it is none.
func TestLaunchAnswerLost(t *testing.T) {
	for _, ours := range []bool{true, false} {
		w := newWorld(t)
		w.upload("digits", 1, 100)
		p := w.plan(w.job(nil))
		w.answer = func(op string, _ int) (int, string) {
			if op == "CreateTrainingJob" {
				return 400, `{"__type":"ResourceInUse","message":"Training job names must be unique within an AWS account and region"}`
			}
			args := "[]"
			if ours {
				args = `["` + strings.Join(p.Request.AlgorithmSpecification.ContainerArguments, `","`) + `"]`
			}
			return 200, `{"TrainingJobArn":"arn:x","CreationTime":4102444800,"AlgorithmSpecification":{"TrainingInputMode":"File","ContainerArguments":` + args + `}}`
		}
		arn, err := w.launcher.Launch(t.Context(), p)
		if ours && (err != nil || arn != "arn:x") {
			t.Errorf("ours: %q, %v", arn, err)
		}
		if !ours && (err == nil || !strings.Contains(err.Error(), "choose another with --name")) {
			t.Errorf("another's: %v", err)
		}
	}
}

// A name serves once: what an older job of the name has left is not overwritten.
func TestLaunchNameTaken(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 1, 100)
	if err := w.vault.Create(t.Context(), "_vaultpack/jobs/digits/job-1/output/model.tar.gz", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.launcher.Launch(t.Context(), w.plan(w.job(nil))); err == nil || !strings.Contains(err.Error(), "names can be used only once") {
		t.Errorf("%v", err)
	}
	if len(w.bodies) > 0 {
		t.Error("a request was sent")
	}
}

// The key channel opens the dataset without KMS, by what lies in it and nothing
// else; it is written with the other KMS key, and removed again.
func TestKeyChannel(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 3, 100)
	other := "arn:aws:kms:eu-west-1:111122223333:key/77777777-2222-3333-4444-555555555555"
	p := w.plan(w.job(func(j *trainer.Job) { j.NetworkIsolation, j.KeyChannel = true, other }))
	if _, err := w.launcher.Launch(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if len(w.keyStore) != 1 || w.keyStore[0] != other {
		t.Errorf("written under %v", w.keyStore)
	}
	const folder = "_vaultpack/jobs/digits/job-1/key/"
	objects := w.objects()
	key, err := envelope.ParseLocalKey([]byte(objects[folder+"local.key"]))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range objects {
		if under, ok := strings.CutPrefix(name, folder); ok && under != "local.key" {
			ring, err := envelope.ParseKeyring([]byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ring.Unwrap(t.Context(), envelope.EncryptionContext{"team": "vision", envelope.ContextDataset: "digits"}, key); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if strings.Contains(objects[under], key.Fingerprint()) {
				t.Errorf("the keyring of the dataset itself was changed")
			}
		}
	}
	if strings.Contains(w.bodies[0], strings.TrimSpace(objects[folder+"local.key"])) || strings.Contains(w.bodies[0], "--kms-key") {
		t.Errorf("the request holds a key: %s", w.bodies[0])
	}
	if err := trainer.RemoveKey(t.Context(), w.vault, "digits", "job-1"); err != nil {
		t.Fatal(err)
	}
	for name := range w.objects() {
		if strings.HasPrefix(name, folder) {
			t.Errorf("%s is left", name)
		}
	}
}

// Beside the datasets lies what jobs need: no list shows it and no gc takes it.
func TestBesideDatasets(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 3, 100)
	if _, err := w.launcher.Launch(t.Context(), w.plan(w.job(func(j *trainer.Job) { j.Source, j.Entry = "testdata/src", "train.py" }))); err != nil {
		t.Fatal(err)
	}
	names, err := dataset.List(t.Context(), w.vault)
	if err != nil || len(names) != 1 || names[0] != "digits" {
		t.Errorf("datasets %v, %v", names, err)
	}
	before := len(w.objects())
	if _, err := w.open("digits").Collect(t.Context(), dataset.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.objects()); n != before {
		t.Errorf("gc has removed %d objects", before-n)
	}
	if _, err := dataset.Open(w.vault, "_vaultpack"); err == nil {
		t.Error("_vaultpack is a dataset")
	}
}

// The binary is sent once, whatever the jobs; what somebody has changed is sent again.
func TestBinaryOnce(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 1, 100)
	puts := &countingStore{Store: w.vault.Store, puts: map[string]int{}}
	w.vault.Store = puts
	for _, name := range []string{"a", "b"} {
		if _, err := w.launcher.Launch(t.Context(), w.plan(w.job(func(j *trainer.Job) { j.Name = name }))); err != nil {
			t.Fatal(err)
		}
	}
	shared := 0
	for name, n := range puts.puts {
		if !strings.HasPrefix(name, "_vaultpack/jobs/") {
			shared++
		}
		if n != 1 {
			t.Errorf("%s was sent %d times", name, n)
		}
	}
	if shared != 2 || len(w.bodies) != 2 {
		t.Errorf("%d shared objects, %d requests", shared, len(w.bodies))
	}
	was := w.objects()
	changed := 0
	for name, content := range was {
		if strings.HasPrefix(name, "_vaultpack/manifests/") {
			changed++
			if err := w.vault.Replace(t.Context(), name, []byte(content), []byte("not "+content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if changed == 0 {
		t.Fatal("no manifest to change")
	}
	if _, err := w.launcher.Launch(t.Context(), w.plan(w.job(func(j *trainer.Job) { j.Name = "c" }))); err != nil {
		t.Fatal(err)
	}
	is := w.objects()
	for name, content := range was {
		if is[name] != content {
			t.Errorf("%s stays changed", name)
		}
	}
}
