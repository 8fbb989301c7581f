package vaultpack_test

import (
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// readmeCode is the Go code of README.md, block by block.
func readmeCode(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	check(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// A module of its own, as those who use this one have, needs no more than the public
// packages: the program that README.md shows is built there, without a network, and run.
// What it shows of package envelope, where all is not there, is built with that.
func TestProgramOutsideTheModule(t *testing.T) {
	race.Skip(t, "it builds and runs another program")
	blocks := readmeCode(t)
	if len(blocks) != 2 || !strings.HasPrefix(blocks[0], "package main\n") {
		t.Fatalf("README.md has %d blocks of Go, want a program and a fragment", len(blocks))
	}
	if pretty, err := format.Source([]byte(blocks[0])); err != nil || string(pretty) != blocks[0] {
		t.Errorf("the program is not formatted: %v", err)
	}
	root, err := os.Getwd()
	check(t, err)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	mod, err := os.ReadFile("go.mod")
	check(t, err)
	sum, err := os.ReadFile("go.sum")
	check(t, err)
	_, requires, _ := strings.Cut(string(mod), "\n")
	write("go.mod", fmt.Sprintf("module example.com/outside\n%s\nrequire github.com/vaultpack/vaultpack v0.0.0\n\nreplace github.com/vaultpack/vaultpack => %q\n", requires, root))
	write("go.sum", string(sum))
	write("main.go", blocks[0])
	write("fragment/fragment.go", `package fragment

import (
	"context"
	"io"

	"github.com/vaultpack/vaultpack/envelope"
)

func F(ctx context.Context, dst io.Writer, src io.Reader, key *envelope.LocalKey, row []byte) (any, error) {
`+blocks[1]+`
	return []any{n, r}, err
}
`)
	write("scans/0001.json", `{"label": "cat"}`)
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("go", "vet", "./fragment")
	run("go", "build", "-o", "program", ".")
	if got, want := run("./program"), "scans: version 1, 1 files sent\n{\"event\": 1}"; got != want {
		t.Errorf("the program prints %q, want %q", got, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "restored/0001.json")); err != nil || string(b) != `{"label": "cat"}` {
		t.Errorf("restored: %q, %v", b, err)
	}
	if deps := run("go", "list", "-deps", "."); strings.Contains(deps, "/service/sagemaker") || !strings.Contains(deps, "/service/s3") {
		t.Error("the program links SageMaker, or not what it needs")
	}
}
