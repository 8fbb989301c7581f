// Package docs holds the documents, and the tests that keep them true.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that the threat model and the list of controls name is there.
func TestNamedTestsExist(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir("..", func(name string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, "_test.go") {
			b, rerr := os.ReadFile(name)
			code.Write(b)
			return rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for doc, least := range map[string]int{"SECURITY.md": 20, "COMPLIANCE.md": 5, "FILESYSTEMS.md": 5} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test[A-Za-z]+)(?:/([a-z_]+))?`").FindAllStringSubmatch(string(text), -1)
		for _, m := range named {
			if !strings.Contains(code.String(), "func "+m[1]+"(t *testing.T)") {
				t.Errorf("%s names %s, which is no test", doc, m[1])
			}
			if script := "../cmd/vaultpack/testdata/script/" + m[2] + ".txtar"; m[2] != "" {
				if _, err := os.Stat(script); err != nil {
					t.Error(err)
				}
			}
		}
		if len(named) < least {
			t.Errorf("%s names %d tests", doc, len(named))
		}
	}
}

// Every link from one document to another leads somewhere.
func TestLinks(t *testing.T) {
	files, _ := filepath.Glob("*.md")
	found := 0
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d links", found)
	}
}
