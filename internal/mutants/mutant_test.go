package main

import (
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// Whoever changes what a mutant changes has to say what the mutant is now.
func TestNoMutantIsStale(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	t.Chdir("../..")
	if err := stale(all); err != nil {
		t.Error(err)
	}
	if n := len(choose("")); n < 52+60 {
		t.Errorf("there are %d mutants", n)
	}
	seen := map[string]bool{}
	for _, c := range choose("") {
		for _, e := range c.mutant.edits {
			if e.old == e.new {
				t.Errorf("%s changes nothing", c)
			}
		}
		seen[c.target.name] = true
	}
	for _, name := range []string{"envelope", "dataset", "restore", "vault", "uploader", "trainer/container"} {
		if !seen[name] {
			t.Errorf("there are no mutants of %s", name)
		}
	}
}

func TestStale(t *testing.T) {
	t.Chdir("../..")
	err := stale([]*target{{name: "p", mutants: []mutant{
		one("fine", "go.mod", "module github.com/vaultpack/vaultpack\n", "x"),
		one("gone", "go.mod", "no such text", "x"),
		one("twice", "go.mod", "require", "x"),
		one("no file", "no/such/file.go", "a", "b"),
		one("fine", "go.mod", "module github.com/vaultpack/vaultpack\n", "x"),
	}}})
	for _, want := range []string{"p: gone: STALE", "p: twice: STALE", "p: no file: STALE", "p: fine: two mutants have this name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "fine: STALE") {
		t.Error(err)
	}
}

// What is said to have been killed is in the table.
func TestSeenAreInTheTable(t *testing.T) {
	names := map[string]bool{}
	for _, c := range choose("") {
		names[c.mutant.name] = true
	}
	for name := range seen {
		if !names[name] {
			t.Errorf("there is no mutant %q", name)
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d are known to be killed", len(seen))
	}
}
