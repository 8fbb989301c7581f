package trainer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/trainer"
)

// The script runs the binary only if it is the one that the request names, and
// says else why not, in every shell that images have.
func TestOpenScript(t *testing.T) {
	shells := [][]string{{"/bin/sh"}}
	for _, s := range [][]string{{"dash"}, {"bash"}, {"busybox", "sh"}} {
		if _, err := exec.LookPath(s[0]); err == nil {
			shells = append(shells, s)
		}
	}
	const program = "#!/bin/sh\nif [ \"$1\" = -v ]; then exit 0; fi\necho ran \"$0\" \"$@\"\n"
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	if n := len(trainer.OpenScript); n > 256 {
		t.Errorf("the script has %d characters", n)
	}
	for name, c := range map[string]struct {
		at, content, digest string
		runs                bool
	}{
		"there":        {"_vaultpack/bin/" + sum(program) + "/vaultpack", program, sum(program), true},
		"flat":         {"vaultpack", program, sum(program), true},
		"changed":      {"_vaultpack/bin/" + sum(program) + "/vaultpack", program + "#", sum(program), false},
		"changed flat": {"vaultpack", program + "#", sum(program), false},
		"missing":      {"elsewhere", program, sum(program), false},
		"does not run": {"vaultpack", "#!/no/such/interpreter\n", sum("#!/no/such/interpreter\n"), false},
	} {
		for _, shell := range shells {
			t.Run(name+"/"+shell[0], func(t *testing.T) {
				base := t.TempDir()
				channel := filepath.Join(base, "input/data/vaultpack")
				file := filepath.Join(channel, c.at)
				for _, dir := range []string{filepath.Dir(file), filepath.Join(base, "output")} {
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
					t.Fatal(err)
				}
				script := strings.ReplaceAll(trainer.OpenScript, "/opt/ml", base)
				cmd := exec.Command(shell[0], append(shell[1:], "-c", script, "vaultpack", c.digest, "sagemaker-run", "--", "a b", "*")...)
				cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				err := cmd.Run()
				reason, _ := os.ReadFile(filepath.Join(base, "output/failure"))
				if ran := strings.HasPrefix(out.String(), "ran "); ran != c.runs || (err == nil) != c.runs {
					t.Errorf("%v\n%s%s", err, out.String(), errs.String())
				}
				if c.runs && !strings.HasSuffix(out.String(), " sagemaker-run -- a b *\n") {
					t.Errorf("arguments: %s", out.String())
				}
				if c.runs != (len(reason) == 0) || !c.runs && string(reason) != "vaultpack: binary missing or bad\n" {
					t.Errorf("reason %q", reason)
				}
				if !c.runs && cmd.ProcessState.ExitCode() != 1 {
					t.Errorf("exit code %d", cmd.ProcessState.ExitCode())
				}
			})
		}
	}
}

// The source is checked before the command runs.
func TestCodeScript(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "input/data/code/sourcedir.tar.gz")
	for _, dir := range []string{filepath.Dir(file), filepath.Join(base, "output")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.ReplaceAll(trainer.CodeScript, "/opt/ml", base)
	sum := sha256.Sum256([]byte("source"))
	for content, runs := range map[string]bool{"source": true, "changed": false} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("/bin/sh", "-c", script, hex.EncodeToString(sum[:]), "echo", "it runs", "train").Output()
		if got := strings.Contains(string(out), "it runs train"); got != runs || (err == nil) != runs {
			t.Errorf("%s: %q, %v", content, out, err)
		}
	}
	if reason, err := os.ReadFile(filepath.Join(base, "output/failure")); err != nil || !strings.Contains(string(reason), "was changed in S3") {
		t.Errorf("%q, %v", reason, err)
	}
}

// The same source makes the same bytes, whenever and by whomever it is packed.
func TestPackSource(t *testing.T) {
	make := func(mode os.FileMode) string {
		dir := t.TempDir()
		for name, content := range map[string]string{"train.py": "x", "lib/a.py": "y", "lib/__pycache__/a.pyc": "z", ".git/config": "g"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("train.py", filepath.Join(dir, "link.py")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := make(0o600)
	a, err := trainer.PackSource(dir, "train.py")
	if err != nil {
		t.Fatal(err)
	}
	b, err := trainer.PackSource(make(0o644), "train.py")
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("differs, %v", err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got := fmt.Sprint(names); got != "[lib/ lib/a.py link.py train.py]" {
		t.Errorf("%s", got)
	}
	for target, want := range map[string]string{"../../etc": "leads out of the source", "../.venv/bin": "is a link into .venv, which is not packed"} {
		link := filepath.Join(dir, "lib/out")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if _, err := trainer.PackSource(dir, "train.py"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a link to %s: %v", target, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../etc", filepath.Join(dir, "lib/out")); err != nil {
		t.Fatal(err)
	}
	if _, err := trainer.PackSource(dir, "train.py"); err == nil || !strings.Contains(err.Error(), "leads out of the source") {
		t.Errorf("%v", err)
	}
}

// What is not a static vaultpack for the architecture is refused.
func TestReadBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for _, c := range []struct{ file, arch, want string }{
		{script, "amd64", "is not a binary for Linux"},
		{"/nowhere/vaultpack", "amd64", "no such file"},
		{self, other, "is not for " + other},
		{"/bin/ls", runtime.GOARCH, "is linked dynamically"},
		{self, runtime.GOARCH, "is "}, // not vaultpack, or linked dynamically under -race
	} {
		if _, err := trainer.ReadBinary(c.file, c.arch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.file, err, c.want)
		}
	}
}

// Beside the program that launches, the small one goes before all, and none of another
// version is taken.
func TestFindBinary(t *testing.T) {
	race.Skip(t, "it builds what the race detector is not for")
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "vaultpack"), "../cmd/vaultpack-run")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	self := filepath.Join(dir, "vaultpack")
	for _, name := range []string{"vaultpack-run", "vaultpack-run-linux-amd64", "vaultpack-linux-amd64"} {
		if err := os.Link(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"vaultpack-run-linux-amd64", "vaultpack-run", "vaultpack"} {
		b, err := trainer.FindBeside(self, "amd64")
		if err != nil || filepath.Base(b.File) != name {
			t.Errorf("%+v is found, want %s: %v", b, name, err)
		}
		if name != "vaultpack" {
			os.Remove(filepath.Join(dir, name))
		}
	}
	if _, err := trainer.FindBeside(self, "arm64"); err == nil || !strings.Contains(err.Error(), self+" is not for arm64") {
		t.Errorf("for another architecture: %v", err)
	}
	if err := trainer.SameVersion(self, filepath.Join(dir, "vaultpack-linux-amd64")); err != nil {
		t.Error(err)
	}
	other, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.SameVersion(self, other); err == nil || !strings.Contains(err.Error(), "of another version") {
		t.Errorf("another program: %v", err)
	}
}
