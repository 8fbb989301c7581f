package trainer_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/trainer"
)

// What is printed for boto3 and the SDKs is Python, and sends the request: it runs with
// stand-ins for them, which take the documented arguments.
func TestPrint(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d jobs, %v", len(files), err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 here")
	}
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	w.upload("digits", 20, 3000)
	w.upload("validation", 2, 100)
	w.upload("video.raw_2", 1, 20_000)
	ran := map[string]int{}
	sources, wants := map[string]string{}, map[string][]byte{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			j, err := trainer.ReadJob(file)
			if err != nil {
				t.Fatal(err)
			}
			p := w.plan(j)
			if j.KeyChannel == "" { // the golden files name what is staged
				if err := w.launcher.Stage(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			want, err := p.JSON()
			if err != nil {
				t.Fatal(err)
			}
			for _, format := range trainer.Formats {
				got, err := p.Print(format, "eu-west-1")
				if format == "sdk" && j.MaxPending > 0 {
					if err == nil || !strings.Contains(err.Error(), "StoppingCondition.MaxPendingTimeInSeconds: the Estimator") {
						t.Errorf("%v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if golden := filepath.Join("testdata/printed", name+"."+format); exists(golden) {
					goldenFile(t, golden, w.withWords(string(got), p.Sealed, p.Name()))
				}
				ran[format]++
				switch format {
				case "json":
					equal(t, format, got, want)
				case "pipeline":
					var step struct {
						Name, Type string
						Arguments  map[string]any
					}
					if err := json.Unmarshal(got, &step); err != nil || step.Type != "Training" || step.Arguments["TrainingJobName"] != nil {
						t.Errorf("%v\n%s", err, got)
					}
					step.Arguments["TrainingJobName"] = step.Name
					b, err := json.Marshal(step.Arguments)
					if err != nil {
						t.Fatal(err)
					}
					equal(t, format, b, want)
				default:
					sources[name+" as "+format], wants[name+" as "+format] = string(got), want
				}
			}
		})
	}
	for name, got := range runPython(t, sources) {
		equal(t, name, got, wants[name])
	}
	for _, format := range trainer.Formats {
		if ran[format] < 10 {
			t.Errorf("%s was tried %d times", format, ran[format])
		}
	}
	if _, err := w.plan(w.job(nil)).Print("xml", ""); err == nil {
		t.Error("there is a format xml")
	}
}

// runPython gives the requests that the sources send.
func runPython(t *testing.T, sources map[string]string) (requests map[string]json.RawMessage) {
	t.Helper()
	in, err := json.Marshal(sources)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "testdata/printed/sdk.py")
	cmd.Stdin = bytes.NewReader(in)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &requests)
	}
	if err != nil || len(requests) != len(sources) {
		t.Fatalf("%d of %d: %v\n%s", len(requests), len(sources), err, errs.String())
	}
	return requests
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func equal(t *testing.T, format string, got, want []byte) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v\n%s", format, err, got)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s: got:\n%s\nwant:\n%s", format, got, want)
	}
}

// What is staged is what a launch stages, and nothing is sent.
func TestStage(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	p := w.plan(w.job(func(j *trainer.Job) { j.SealModel, j.Source, j.Entry = true, "testdata/src", "train.py" }))
	before := w.objects()
	if err := w.launcher.Stage(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	staged := 0
	for name := range w.objects() {
		if _, was := before[name]; !was {
			staged++
		}
	}
	other := w.plan(w.job(func(j *trainer.Job) {
		j.Name, j.SealModel, j.Source, j.Entry = "other", true, "testdata/src", "train.py"
	}))
	before = w.objects()
	if _, err := w.launcher.Launch(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	// The second shares the program and the manifest of the packs.
	if n := len(w.objects()) - len(before); staged != n+2 || len(w.bodies) != 1 {
		t.Errorf("staged %d objects, launched with %d, sent %d requests", staged, n, len(w.bodies))
	}
	if err := w.launcher.Stage(t.Context(), p); err == nil || !strings.Contains(err.Error(), "names can be used only once") {
		t.Errorf("staged again: %v", err)
	}
}
