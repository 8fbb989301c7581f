package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vaultpack/vaultpack"

// A section of the map holds the packages of one table.
type section struct {
	title string
	layer int // from 1, the top; 0 where the section is none of the layers
}

var (
	sectionTitle = regexp.MustCompile(`^### (?:([1-9]) )?(.+)$`)
	sectionRow   = regexp.MustCompile(`^\| \[([^\]]+)\]\(([^)]+)\) \| (.*) \|$`)
)

// readMap reads the map of ARCHITECTURE.md: each package, by its folder in the module,
// and the section that it stands in.
func readMap(t *testing.T) map[string]section {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n## Map\n")
	table, _, ended := strings.Cut(after, "\n## ")
	if !found || !ended {
		t.Fatal("ARCHITECTURE.md has no map")
	}
	of := map[string]section{}
	var now section
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		if m := sectionTitle.FindStringSubmatch(line); m != nil {
			now = section{title: m[2]}
			if m[1] != "" {
				now.layer = int(m[1][0] - '0')
			}
			continue
		}
		m := sectionRow.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "| [") {
				t.Errorf("a row of the map cannot be read: %s", line)
			}
			continue
		}
		pkg := m[1]
		want := path.Join("..", pkg)
		if pkg == folder(module) {
			want = ".."
		}
		if path.Clean(m[2]) != want && pkg != "docs" {
			t.Errorf("the row of %s links to %s, not to %s", pkg, m[2], want)
		}
		if before, twice := of[pkg]; twice {
			t.Errorf("%s stands in the map twice, in %s and in %s", pkg, before.title, now.title)
		}
		if m[3] == "" {
			t.Errorf("the map does not say what %s holds", pkg)
		}
		of[pkg] = now
	}
	return of
}

// folder is a package's folder in the module, and "vaultpack" for the module's root.
func folder(importPath string) string {
	if importPath == module {
		return "vaultpack"
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// The map of ARCHITECTURE.md has every package and module of this repository, and none
// that is gone; and no package imports one of a layer above its own, a test helper or a
// tool.
func TestMap(t *testing.T) {
	of := readMap(t)
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	checked := 0
	for line := range strings.Lines(string(out)) {
		names := strings.Fields(line)
		pkg := folder(names[0])
		there[pkg] = true
		own, found := of[pkg]
		if !found {
			t.Errorf("package %s has no row in the map of docs/ARCHITECTURE.md", pkg)
			continue
		}
		if own.title == "Modules of their own" {
			t.Errorf("package %s stands among the modules, and is none", pkg)
		}
		if own.layer == 0 {
			continue
		}
		for _, imported := range names[1:] {
			if imported != module && !strings.HasPrefix(imported, module+"/") {
				continue
			}
			checked++
			below, found := of[folder(imported)]
			if found && (below.layer == 0 || below.layer < own.layer) {
				t.Errorf("%s (%d %s) imports %s (%s): the map does not let it", pkg, own.layer, own.title, folder(imported), below.title)
			}
		}
	}
	for _, name := range modules(t) {
		there[name] = true
		if of[name].title != "Modules of their own" {
			t.Errorf("module %s is not in the table of modules", name)
		}
	}
	for name := range of {
		if !there[name] {
			t.Errorf("the map has %s, which is not there", name)
		}
	}
	if checked < 50 {
		t.Errorf("%d imports were looked at", checked)
	}
}

// modules are the folders of the modules below the root.
func modules(t *testing.T) (names []string) {
	err := filepath.WalkDir("..", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == "testdata" || e.Name() == ".git" || e.Name() == "bin") {
			return filepath.SkipDir
		}
		if err == nil && e.Name() == "go.mod" && filepath.Dir(name) != ".." {
			names = append(names, filepath.ToSlash(filepath.Dir(name)[len("../"):]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}
