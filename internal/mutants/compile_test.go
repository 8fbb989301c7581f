package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// A mutant that does not compile proves nothing. Each is type-checked, which takes
// far less than building it.
func TestEachMutantCompiles(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	if testing.Short() {
		t.Skip("has packages compiled; not with -short")
	}
	t.Chdir("../..")
	folders := map[string]bool{}
	for _, c := range choose("") {
		for _, e := range c.mutant.edits {
			folders["./"+filepath.Dir(e.file)] = true
		}
	}
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles"}
	for dir := range folders {
		args = append(args, dir)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	type listed struct {
		ImportPath, Export, Dir string
		GoFiles                 []string
	}
	export, byDir := map[string]string{}, map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		export[p.ImportPath], byDir[p.Dir] = p.Export, p
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(export[path]) })
	for _, c := range choose("") {
		source, err := c.mutant.source()
		if err != nil {
			t.Error(err)
			continue
		}
		changed := map[string]string{}
		for name, text := range source {
			abs, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			changed[abs] = text
		}
		for name := range changed {
			p := byDir[filepath.Dir(name)]
			var files []*ast.File
			for _, base := range p.GoFiles {
				file := filepath.Join(p.Dir, base)
				var text any
				if s, ok := changed[file]; ok {
					text = s
				}
				f, err := parser.ParseFile(fset, file, text, 0)
				if err != nil {
					t.Errorf("%s: %v", c, err)
					continue
				}
				files = append(files, f)
			}
			conf := types.Config{Importer: imports, Sizes: types.SizesFor("gc", "amd64")}
			if _, err := conf.Check(p.ImportPath, fset, files, nil); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		}
	}
}
