package trainer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/trainer"
)

const good = `dataset: digits
image: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/train:1
role: arn:aws:iam::111122223333:role/training
instance_type: ml.m5.xlarge
`

// Each limit is found before anything is sent, and told with the field and its line.
func TestCheck(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, c := range []struct{ add, want string }{
		{"name: -x", "job.yaml:5: name: "},
		{"name: " + strings.Repeat("x", 64), "job.yaml:5: name: "},
		{"distribution: Sharded", "job.yaml:5: distribution: is \"Sharded\""},
		{"format: zip", "job.yaml:5: format: "},
		{"channels:\n  training: {dataset: other}", "has too; say it in one place"},
		{"channels:\n  vaultpack: {s3: s3://data/x}", "job.yaml:6: channels.vaultpack: "},
		{"channels:\n  ..: {s3: s3://data/x}", "job.yaml:6: channels...: "},
		{"channels:\n  a: {}", "job.yaml:6: channels.a: needs one of dataset and s3"},
		{"channels:\n  a:\n    s3: http://x", "job.yaml:7: channels.a.s3: "},
		{"channels:\n  a:\n    s3: s3://arn:aws:s3:eu-west-1:111122223333:accesspoint/x", "job.yaml:7: channels.a.s3: "},
		{"channels:\n  a:\n    dataset: d\n    input_mode: FastFile", "job.yaml:8: channels.a.input_mode: a sealed channel cannot be FastFile"},
		{"channels:\n  a: {dataset: d, input_mode: Pipe}", "a sealed channel cannot be Pipe"},
		{"channels:\n  a: {dataset: d, compression: Gzip}", "channels.a.compression: is for plain channels"},
		{"channels:\n  a: {dataset: d@0}", "\"0\" is not a version"},
		{"channels:\n  a: {s3: s3://data/x, data_type: AugmentedManifestFile}", "takes the input mode Pipe"},
		{"channels:\n  a: {s3: s3://data/x, instance_groups: [g]}", "there is no instance group \"g\""},
		{"channels:\n" + many(19, "  c%d: {s3: s3://data/x}\n"), "channels: there are 20, and 1 of vaultpack's own; the limit is 20"},
		{"hyperparameters:\n  k: " + strings.Repeat("v", 2501), "job.yaml:6: hyperparameters.k: has 2501 characters, the limit is 2500"},
		{"hyperparameters:\n  " + strings.Repeat("k", 257) + ": v", "has 257 characters, the limit is 256"},
		{"hyperparameters:\n  k: \"a\\nb\"", "hyperparameters.k: holds a line break"},
		{"hyperparameters:\n" + many(101, "  k%d: 1\n"), "hyperparameters: there are 101"},
		{"source: x\nentry: y.py\nhyperparameters:\n" + many(96, "  k%d: 1\n"), "hyperparameters: there are 101"},
		{"source: x\nentry: y.py\nhyperparameters: {sagemaker_program: z}", "set by source, entry and launcher"},
		{"source: x\nentry: y.py\nlauncher: horovod", "launcher: is \"horovod\", but must be one of torchrun, mpi, smddp"},
		{"launcher: torchrun", "is for script mode"},
		{"source: x\nentry: y.py\nlauncher: torchrun\nprocesses_per_host: 2", "processes_per_host: is for the launcher mpi"},
		{"source: x\nentry: y.py\nlauncher: mpi\nprocesses_per_host: 2000", "must be from 1 to 1024"},
		{"source: x\nentry: y.py\nlauncher: torchrun\nmpi_options: -x A", "mpi_options: are for the launchers mpi and smddp"},
		{"source: x\nentry: y.py\nlauncher: mpi\ninstance_groups: [{name: a, type: ml.c5.xlarge, count: 1}, {name: b, type: ml.c5.xlarge, count: 1}]", "launcher_group: is missing"},
		{"source: x\nentry: y.py\nlauncher: mpi\nlauncher_group: c\ninstance_groups: [{name: a, type: ml.c5.xlarge, count: 1}]", "launcher_group: there is no instance group \"c\""},
		{"source: x\nentry: y.py\nlauncher: torchrun\nlauncher_group: a", "launcher_group: is for the launcher mpi"},
		{"source: x\nentry: y.py\nlauncher: smddp\nhyperparameters:\n" + many(93, "  k%d: 1\n"), "hyperparameters: there are 101"},
		{"source: x", "entry: source (a folder) and entry"},
		{"source: x\nentry: ../y.py", "not the path of a script inside"},
		{"environment:\n  1A: x", "job.yaml:6: environment.1A: "},
		{"environment:\n  A: " + strings.Repeat("v", 513), "environment.A: has 513 characters"},
		{"environment:\n" + many(101, "  K%d: x\n"), "environment: there are 101 variables"},
		{"command: [" + strings.Repeat("x", 257) + "]", "command.0: has 257 characters"},
		{"command: [" + many(94, "x%d, ") + "]", "command: the container would take at least 101 arguments"},
		{"instance_count: 0", "job.yaml:5: instance_count: is 0"},
		{"instance_count: 2147483647", "job.yaml:5: instance_count: is 2147483647"},
		{"volume_size: 2147483647", "volume_size: is 2147483647 GB"},
		{"instance_groups: [{name: a, type: ml.m5.xlarge, count: 1}]", "cannot be used with instance_type"},
		{"volume_size: 0", "volume_size: is 0 GB"},
		{"volume_kms_key: 'a b'", "does not name a KMS key"},
		{"keep_alive: 7h", "keep_alive: is 7h0m0s, the limit is 6h0m0s"},
		{"keep_alive: 1h\nspot: true", "warm pools cannot be used with spot"},
		{"keep_alive: fortnight", "job.yaml:5: \"fortnight\" is not a duration"},
		{"max_runtime: 29d", "\"29d\" is not a duration"},
		{"max_runtime: 700h", "max_runtime: is 700h0m0s"},
		{"max_wait: 2h", "max_wait: is for spot instances"},
		{"spot: true\nmax_runtime: 3h\nmax_wait: 2h", "max_wait: is 2h0m0s, less than max_runtime 3h0m0s"},
		{"max_pending: 1h", "max_pending: is 1h0m0s, but must be from 2h0m0s"},
		{"retries: 31", "retries: is 31"},
		{"output: models", "output: \"models\" is not a place in S3"},
		{"output_compression: ZIP", "output_compression: "},
		{"checkpoint_path: /x", "requires checkpoints"},
		{"subnets: [subnet-1]", "subnets and security_groups are required together"},
		{"seal_model: true\noutput_compression: NONE", "seal_model: requires output_compression GZIP"},
		{"network_isolation: true", "cannot ask AWS KMS for the data key"},
		{"key_channel: arn:aws:kms:eu-west-1:111122223333:key/x", "without network_isolation the job asks AWS KMS, which is safer"},
		{"metrics: [{name: x}]", "metrics.0: needs a name and a regex"},
		{"metrics:\n" + many(41, "  - {name: m%d, regex: x}\n"), "metrics: there are 41"},
		{"tags: {'aws:x': y}", "tags.aws:x: is not a tag"},
		{"tags:\n" + many(51, "  t%d: x\n"), "tags: there are 51"},
		{"nonsense: 1", "job.yaml:5: there is no field \"nonsense\" here"},
		{"channels:\n  a: {dataset: d, mode: x}", "job.yaml:6: there is no field \"mode\" here"},
		{"instance_count: many", "job.yaml:5: cannot unmarshal"},
		{"---\ndataset: x", "more than one YAML document"},
	} {
		j, err := trainer.ParseJob("job.yaml", []byte(good+c.add+"\n"))
		if err == nil {
			err = j.Check()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n  got  %v\n  want %s", c.add, err, c.want)
		}
		// A run on this machine has the same limits.
		if j != nil {
			if err := j.CheckLocal(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, on this machine:\n  got  %v\n  want %s", c.add, err, c.want)
			}
		}
	}
	if j, err := trainer.ParseJob("job.yaml", []byte(good)); err != nil || j.Check() != nil || j.CheckLocal() != nil {
		t.Errorf("a good job: %v, %v, %v", err, j.Check(), j.CheckLocal())
	}
	// A folder of this machine is a channel here, and nowhere else.
	folder := &trainer.Job{Dataset: "d", Channels: map[string]*trainer.Channel{"x": {Folder: "./x"}}}
	if err := folder.Check(); folder.CheckLocal() != nil || err == nil || !strings.Contains(err.Error(), "needs one of dataset and s3") {
		t.Errorf("a folder: %v, %v", folder.CheckLocal(), err)
	}
}

// All mistakes are told at once, those of flags by the flag's name, those of what
// is missing without one.
func TestCheckTellsAll(t *testing.T) {
	j := &trainer.Job{Dataset: "digits", Image: "x", InstanceType: "m5.xlarge"}
	j.Given("instance_type", "--instance-type")
	err := j.Check()
	for _, want := range []string{`--instance-type: instance_type: "m5.xlarge" is not an instance type`, "role: is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	var field *trainer.FieldError
	if !errors.As(err, &field) {
		t.Errorf("%T", err)
	}
}

func TestInstanceTypes(t *testing.T) {
	for typ, want := range map[string]struct {
		arch string
		nvme bool
	}{
		"ml.m5.xlarge": {"amd64", false}, "ml.c5n.18xlarge": {"amd64", false}, "ml.p3.2xlarge": {"amd64", false}, "ml.m7i-flex.large": {"amd64", false},
		"ml.r5d.large": {"amd64", true}, "ml.g4dn.xlarge": {"amd64", true}, "ml.g5.xlarge": {"amd64", true}, "ml.g6e.xlarge": {"amd64", true},
		"ml.p3dn.24xlarge": {"amd64", true}, "ml.p4d.24xlarge": {"amd64", true}, "ml.p5.48xlarge": {"amd64", true}, "ml.p6-b200.48xlarge": {"amd64", true},
		"ml.trn1.2xlarge": {"amd64", true}, "ml.g5g.xlarge": {"arm64", false}, "ml.c7g.xlarge": {"arm64", false}, "ml.m6gd.xlarge": {"arm64", true},
		"ml.c6gn.xlarge": {"arm64", false}, "ml.p6e-gb200.36xlarge": {"arm64", true}, "ml.t3.medium": {"amd64", false},
	} {
		if got := trainer.ArchOf(typ); got != want.arch {
			t.Errorf("%s: %s", typ, got)
		}
		if got := trainer.HasNVMe(typ); got != want.nvme {
			t.Errorf("%s: local disks %v", typ, got)
		}
	}
}

func TestParseChannel(t *testing.T) {
	c, err := trainer.ParseChannel("s3://labels/x,input_mode=FastFile,content_type=text/csv")
	if err != nil || c.S3 != "s3://labels/x" || c.InputMode != "FastFile" || c.ContentType != "text/csv" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = trainer.ParseChannel("digits@2"); err != nil || c.Dataset != "digits@2" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err = trainer.ParseChannel("digits,mode=x"); err == nil {
		t.Error("an unknown field")
	}
}
