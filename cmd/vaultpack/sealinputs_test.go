package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
)

// A job that Python has made of the same description is the same, and runs when somebody
// else sends it.
func TestSealInputs(t *testing.T) {
	t.Parallel()
	j := newJobsAWS(t)
	printed, _ := j.train(0, "--name", "staged", "--print", "--", "sh", "-c", "ls /opt/ml/input/data/training/* | grep -c png")
	module, err := filepath.Abs("../../python")
	check(t, err)
	python := func(code string) []byte {
		t.Helper()
		p := j.command()
		cmd := exec.CommandContext(t.Context(), "python3", "-c", "import json\nfrom vaultpack.sagemaker import seal_inputs\n"+code)
		cmd.Dir, cmd.Env = p.Dir, append(p.Env, "PYTHONPATH="+module, "VAULTPACK_COMMAND="+p.Path)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, err.(*exec.ExitError).Stderr)
		}
		return out
	}
	const described = `command = ["sh", "-c", "ls /opt/ml/input/data/training/* | grep -c png"]
fields = dict(line.split(": ", 1) for line in open("job.yaml").read().splitlines())
job = seal_inputs(fields.pop("dataset"), stage=%s, name="staged", command=command, **fields)
print(json.dumps(job.request))`
	var want, got any
	check(t, json.Unmarshal([]byte(printed), &want))
	for _, stage := range []string{"False", "True"} {
		out := python(fmt.Sprintf(described, stage))
		check(t, json.Unmarshal(out, &got))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("stage=%s:\n%s\nthe command prints\n%s", stage, out, printed)
		}
	}
	in := new(sagemaker.CreateTrainingJobInput)
	check(t, json.Unmarshal([]byte(printed), in))
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(j.s3.Region), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("a", "b", "")))
	check(t, err)
	_, err = sagemaker.NewFromConfig(cfg, func(o *sagemaker.Options) { o.BaseEndpoint = &j.sm.URL }).CreateTrainingJob(t.Context(), in)
	check(t, err)
	says(t, j.runs(0, "logs", "staged", "--follow"), "1000\n", "completed staged")
	says(t, j.runs(exitFailed, "train", "-f", "job.yaml", "--name", "staged", "--stage", "--", "true"), "names can be used only once")
}
