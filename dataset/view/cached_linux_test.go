package view_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// Where the disk is full, contents come from the vault, and somebody is told, once.
func TestCacheOnFullDisk(t *testing.T) {
	s := newCachedSet(t, 10, 8<<20)
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", 0, "size=3m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting a small file system is not allowed here")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(s.dir, unix.MNT_DETACH) })
	var told atomic.Int64
	disk := must2(cache.Open(s.dir, cache.MinSize, func(err error) {
		told.Add(1)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}))
	defer disk.Close()
	f := open(t, s.version, view.Options{Memory: 1, Cache: disk})
	for range 2 {
		for name, want := range s.data {
			if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	must(t, f.Close())
	if told.Load() != 1 {
		t.Errorf("told %d times", told.Load())
	}
}
