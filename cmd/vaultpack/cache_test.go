package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A process that is killed while it fills a cache, and others that use it at the same
// moment, take nothing from anybody.
func TestCacheOfKilledProcesses(t *testing.T) {
	p := newPlace(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(p.home, "src"), 0o755))
	check(os.WriteFile(filepath.Join(p.home, "src", "large"), treetest.Bytes(24<<20, 1), 0o644))
	p.run(0, "push", "src", "-d", "d")
	want, _ := p.run(0, "stream", "d")
	for range 6 {
		killed := p.command("stream", "d", "--cache", "c", "--cache-size", "64MiB")
		check(killed.Start())
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		check(killed.Process.Kill())
		killed.Wait()
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if got, _ := p.run(0, "stream", "d", "--cache", "c", "--cache-size", "64MiB"); got != want {
				t.Error("the stream is another one")
			}
		})
	}
	all.Wait()
	// All of it is there now: the packs are not needed.
	check(os.RemoveAll(filepath.Join(p.home, "vault", "d", "packs")))
	if got, _ := p.run(0, "stream", "d", "--cache", "c", "--cache-size", "64MiB"); got != want {
		t.Error("what is in the cache is another stream")
	}
	p.run(4, "stream", "d")
}
