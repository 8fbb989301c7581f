package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// What CONTRIBUTING.md says of the size of product code: the packages of the layers of
// the map.
const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

// A productFile is a file of a package in a layer of the map.
type productFile struct {
	name string
	fset *token.FileSet
	*ast.File
}

func (f productFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// productFiles parses all files of product code.
func productFiles(t *testing.T) []productFile {
	files := filesOf(t, func(s section) bool { return s.layer != 0 })
	if len(files) < 200 {
		t.Fatalf("%d files were found", len(files))
	}
	return files
}

// helperFiles parses the files of the packages that only tests use, except their tests.
func helperFiles(t *testing.T) []productFile {
	files := filesOf(t, func(s section) bool { return s.title == "Test helpers" })
	if len(files) < 50 {
		t.Fatalf("%d files were found", len(files))
	}
	return files
}

// filesOf parses the files of the packages in the sections of the map that in selects.
func filesOf(t *testing.T, in func(section) bool) (files []productFile) {
	fset := token.NewFileSet()
	for pkg, s := range readMap(t) {
		if !in(s) {
			continue
		}
		dir := path.Join("..", pkg)
		if pkg == folder(module) {
			dir = ".."
		}
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatal(pkg, names, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, productFile{strings.TrimPrefix(name, "../"), fset, f})
		}
	}
	return files
}

// notYet are the functions that are still too long, or are called with a literal bool.
var notYet = map[string]bool{"trainer/local/local.go: Run": true, "trainer/local/namespace.go: enter": true}

// No file of product code, or of the packages that only tests use, and no function of
// product code is longer than CONTRIBUTING.md allows.
func TestFilesAndFunctionsAreShort(t *testing.T) {
	product := productFiles(t)
	for _, f := range append(helperFiles(t), product...) {
		if n := f.line(f.FileEnd); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", f.name, n, maxFileLines)
		}
	}
	for _, f := range product {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > maxFunctionLines && !notYet[f.name+": "+fn.Name.Name] {
				t.Errorf("%s: %s has %d lines, more than %d", f.name, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// A call with a literal true or false does not say what it asks for, so no function of
// product code has a bool parameter that is filled with one, and no exported function of
// a public package has one at all.
func TestBoolParameters(t *testing.T) {
	files := productFiles(t)
	takes := map[string]map[int]bool{} // by the function's name, which parameters are bools
	calls := 0
	for _, f := range files {
		public := !strings.Contains(f.name, "internal/") && f.Name.Name != "main"
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				bools := boolParameters(n.Type)
				if len(bools) > 0 {
					merge(takes, n.Name.Name, bools)
				}
				if public && n.Name.IsExported() && len(bools) > 0 {
					t.Errorf("%s:%d: %s has a bool parameter: make it two functions, or give it a type", f.name, f.line(n.Pos()), n.Name.Name)
				}
			case *ast.Field:
				if typ, ok := n.Type.(*ast.FuncType); ok {
					for _, name := range n.Names {
						merge(takes, name.Name, boolParameters(typ))
					}
				}
			}
			return true
		})
	}
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for i, arg := range call.Args {
				if !takes[calledName(call)][i] {
					continue
				}
				calls++
				if id, ok := arg.(*ast.Ident); ok && (id.Name == "true" || id.Name == "false") && !notYet[f.name+": "+calledName(call)] {
					t.Errorf("%s:%d: %s is called with %s, which does not say what for", f.name, f.line(call.Pos()), calledName(call), id.Name)
				}
			}
			return true
		})
	}
	if calls < 20 {
		t.Errorf("%d arguments for bool parameters were looked at", calls)
	}
}

func merge(takes map[string]map[int]bool, name string, bools map[int]bool) {
	for i := range bools {
		if takes[name] == nil {
			takes[name] = map[int]bool{}
		}
		takes[name][i] = true
	}
}

// boolParameters are the positions of a function's parameters that are bools.
func boolParameters(typ *ast.FuncType) map[int]bool {
	at, bools := 0, map[int]bool{}
	for _, p := range typ.Params.List {
		id, ok := p.Type.(*ast.Ident)
		for range max(len(p.Names), 1) {
			if ok && id.Name == "bool" {
				bools[at] = true
			}
			at++
		}
	}
	return bools
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
