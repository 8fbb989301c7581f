package trainer_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/trainer"
)

var update = flag.Bool("update", false, "write the golden requests")

// What goes over the wire for each job in testdata is the golden JSON, and what
// --print shows. What is random in a vault has a word in its place: each digest
// and each manifest, whose contents are compared with what lies in the vault.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d jobs, %v", len(files), err)
	}
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	w.upload("digits", 20, 3000)
	w.upload("validation", 2, 100)
	w.upload("video.raw_2", 1, 20_000)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			j, err := trainer.ReadJob(file)
			if err != nil {
				t.Fatal(err)
			}
			before := w.objects()
			p := w.plan(j)
			printed, err := p.JSON()
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(before, w.objects()) {
				t.Error("planning has written to the vault")
			}
			if _, err := w.launcher.Launch(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			sent, err := trainer.Indent([]byte(w.bodies[len(w.bodies)-1]))
			if err != nil {
				t.Fatal(err)
			}
			if string(sent) != string(printed) {
				t.Errorf("printed:\n%s\nsent:\n%s", printed, sent)
			}
			golden(t, file, w.withWords(string(sent), p.Sealed, p.Name()))
		})
	}
}

// The same of processing jobs.
func TestProcessingRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/processing/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d jobs, %v", len(files), err)
	}
	w := newWorld(t)
	w.upload("digits", 8, 3000)
	w.upload("validation", 2, 100)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			j, err := trainer.ReadJob(file)
			if err != nil {
				t.Fatal(err)
			}
			before := w.objects()
			p := w.planProcessing(j)
			printed, err := p.JSON()
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(before, w.objects()) {
				t.Error("planning has written to the vault")
			}
			if _, err := w.launcher.LaunchProcessing(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			sent, err := trainer.Indent([]byte(w.bodies[len(w.bodies)-1]))
			if err != nil {
				t.Fatal(err)
			}
			if string(sent) != string(printed) {
				t.Errorf("printed:\n%s\nsent:\n%s", printed, sent)
			}
			golden(t, file, w.withWords(string(sent), p.Sealed, p.Name()))
		})
	}
}

// golden compares a request with the golden one of a job's file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	goldenFile(t, strings.TrimSuffix(file, ".yaml")+".json", got)
}

func goldenFile(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// withWords puts words in the place of what is random, and checks the manifests
// that it replaces.
func (w *world) withWords(request string, sealed []*trainer.Sealed, job string) string {
	w.t.Helper()
	objects := w.objects()
	words := []string{w.binary.SHA256, "BINARY", w.kmsKey, "KMS-KEY"}
	own := []string{"_vaultpack/bin/" + w.binary.SHA256 + "/vaultpack"}
	for _, s := range sealed {
		words = append(words, s.Version.Digest(), fmt.Sprintf("DIGEST(%s@%d)", s.Version.Dataset(), s.Version.Number))
		own = append(own, s.Contents.Metadata...)
	}
	own = append(own, "_vaultpack/jobs/digits/"+job+"/signing.vpk")
	for flag, key := range map[string]string{"--model-key": "model.vpk", "--checkpoints-key": "checkpoints.vpk"} {
		if strings.Contains(request, flag) {
			own = append(own, "_vaultpack/jobs/digits/"+job+"/"+key)
		}
	}
	slices.Sort(own)
	own = slices.Compact(own)
	for name, content := range objects {
		if !strings.HasSuffix(name, ".manifest") || !strings.Contains(request, name) {
			continue
		}
		prefix, names := readManifest(w.t, content)
		word := ""
		if prefix == "s3://data/ml/" && slices.Equal(names, own) {
			word = "vaultpack"
		}
		for _, s := range sealed {
			var full []string
			for _, n := range names {
				full = append(full, strings.TrimPrefix(prefix, "s3://data/ml/")+n)
			}
			if slices.Equal(full, trainer.PackNames(s)) {
				word = s.Version.Dataset()
			}
		}
		if word == "" {
			w.t.Errorf("the manifest %s is %s", name, content)
		}
		if word != "vaultpack" {
			words = append(words, path.Base(name), "MANIFEST("+word+")")
		}
		for _, n := range names {
			if key := strings.TrimPrefix(prefix, "s3://data/ml/") + n; objects[key] == "" {
				w.t.Errorf("the manifest of %s names %s, which is not there", word, key)
			}
		}
	}
	return strings.NewReplacer(words...).Replace(request)
}
