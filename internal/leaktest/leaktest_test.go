package leaktest_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}

// Every package of this module that has tests looks for what they leave.
func TestEveryPackageLooks(t *testing.T) {
	root := os.DirFS("../..")
	looks := map[string]bool{} // by folder
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := fs.Stat(root, name+"/go.mod")
			if name != "." && (err == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir // another module, or no package
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		dir := filepath.Dir(name)
		looks[dir] = looks[dir] || bytes.Contains(b, []byte("func TestMain(")) &&
			(bytes.Contains(b, []byte("\tleaktest.Main(m)")) || bytes.Contains(b, []byte("leaktest.Checked{")))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(looks) < 30 {
		t.Fatalf("%d packages with tests were found", len(looks))
	}
	for dir, ok := range looks {
		if !ok {
			t.Errorf("the tests of %s have no TestMain that calls leaktest.Main", dir)
		}
	}
}

// What is left behind is found: the test runs itself once more, in a process that leaves
// something.
func TestFinds(t *testing.T) {
	if os.Getenv("LEAKTEST_LEAVES") != "" {
		go func() { select {} }()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFinds$")
	cmd.Env = append(os.Environ(), "LEAKTEST_LEAVES=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "TestFinds") {
		t.Errorf("a goroutine that was left is not found: %v\n%s", err, out)
	}
}
