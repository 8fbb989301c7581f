// Command generate writes the test vectors of vaultpack's format 1 into a
// directory, and removes files there that are no longer vectors:
//
//	go run ./internal/testkit/generate testdata/testkit
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/internal/testkit"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate DIR")
	}
	dir := os.Args[1]
	keep := map[string]bool{"README.md": true}
	for v := range testkit.All() {
		if keep[v.Name] {
			log.Fatalf("two vectors are named %s", v.Name)
		}
		keep[v.Name] = true
		if err := os.WriteFile(filepath.Join(dir, v.Name), v.Encode(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		if !keep[f.Name()] {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				log.Fatal(err)
			}
		}
	}
	log.Printf("%d vectors", len(keep)-1)
}
