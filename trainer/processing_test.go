package trainer_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer"
)

// What a processing job does not have is refused, and so is what cannot end well.
func TestPlanProcessingRefuses(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	w.upload("other", 1, 10)
	good := func() *trainer.Job {
		j := w.job(nil)
		j.Command, j.Outputs = []string{"true"}, map[string]string{"small": "digits-small"}
		return j
	}
	w.planProcessing(good())
	for want, edit := range map[string]func(*trainer.Job){
		"spot: is for training jobs":            func(j *trainer.Job) { j.Spot = true },
		"hyperparameters: is for training jobs": func(j *trainer.Job) { j.Hyperparameters = map[string]trainer.Value{"a": trainer.ParseValue("1")} },
		"metrics: is for training jobs":         func(j *trainer.Job) { j.Metrics = []trainer.Metric{{Name: "a", Regex: "b"}} },
		"output: is for training jobs":          func(j *trainer.Job) { j.Output = "s3://bucket/x" },
		"channels.l.input_mode: is for training jobs": func(j *trainer.Job) {
			j.Channels = map[string]*trainer.Channel{"l": {S3: "s3://labels/", InputMode: "FastFile"}}
		},
		"channels.l.content_type: is for training jobs": func(j *trainer.Job) {
			j.Channels = map[string]*trainer.Channel{"l": {S3: "s3://labels/", ContentType: "a"}}
		},
		"bare:1 has neither ENTRYPOINT nor CMD": func(j *trainer.Job) { j.Command, j.Image = nil, "bare:1" },
		"(7 days)":                              func(j *trainer.Job) { j.MaxRuntime = trainer.Duration(8 * 24 * time.Hour) },
		"must be from 1 to 100":                 func(j *trainer.Job) { j.InstanceCount = 101 },
		"the limit is 256":                      func(j *trainer.Job) { j.Environment = map[string]string{"A": strings.Repeat("x", 257)} },
		"the limit is 10": func(j *trainer.Job) {
			j.Channels = map[string]*trainer.Channel{}
			for _, n := range "abcdefghi" {
				j.Channels[string(n)] = &trainer.Channel{S3: "s3://labels/"}
			}
		},
		"outputs.../x: ": func(j *trainer.Job) { j.Outputs = map[string]string{"../x": "digits-small"} },
		"outputs.x: ":    func(j *trainer.Job) { j.Outputs = map[string]string{"x": "no/dataset"} },
		"x and y cannot both be the next version of small": func(j *trainer.Job) { j.Outputs = map[string]string{"x": "small", "y": "small"} },
	} {
		j := good()
		edit(j)
		_, err := w.launcher.PlanProcessing(t.Context(), j)
		if field := (*trainer.FieldError)(nil); !errors.As(err, &field) || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	// Without a command it is the image's, if it can be looked up.
	for image, want := range map[string][]string{"a/b:1": {"--", "bash", "-m", "start.sh", "all"}, "missing:1": nil} {
		j := good()
		j.Command, j.Image = nil, image
		p, err := w.launcher.PlanProcessing(t.Context(), j)
		if err != nil {
			if want != nil || !strings.Contains(err.Error(), "cannot look up the command of the image missing:1") {
				t.Errorf("%s: %v", image, err)
			}
			continue
		}
		defer p.Close()
		if args := p.Request.AppSpecification.ContainerArguments; want == nil || len(args) < len(want) || !slices.Equal(args[len(args)-len(want):], want) {
			t.Errorf("%s: %q", image, args)
		}
	}
	if err := good().Check(); err == nil || !strings.Contains(err.Error(), "outputs: are those of a processing job") {
		t.Errorf("as a training job: %v", err)
	}
	// Who is no signer of a dataset cannot make a version of it, however the job ends.
	w.vault.Signer = signing.GenerateKey()
	if _, err := w.launcher.PlanProcessing(t.Context(), good()); err == nil || !strings.Contains(err.Error(), "--no-provenance") {
		t.Errorf("no signer of the input: %v", err)
	}
	j := good()
	j.NoProvenance, j.Outputs = true, map[string]string{"small": "other"}
	if _, err := w.launcher.PlanProcessing(t.Context(), j); err == nil || !strings.Contains(err.Error(), "is not a signer of dataset") {
		t.Errorf("no signer of the output: %v", err)
	}
}
