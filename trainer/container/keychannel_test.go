package container_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// throughKeyChannel makes the job open with a key of its own, from a key channel that
// also holds something else. It gives the channel and a second name of the key's file.
func throughKeyChannel(t *testing.T, s *sealed, j *job) (channel, second string) {
	t.Helper()
	key := envelope.GenerateLocalKey()
	contents, err := s.ver.Contents(t.Context())
	check(t, err)
	channel = j.dir("key")
	for _, id := range contents.Keys {
		ring, name, err := s.set.KeyringFor(t.Context(), id, key)
		check(t, err)
		write(t, filepath.Join(channel, name), ring.Bytes())
	}
	file := filepath.Join(channel, container.LocalKeyName)
	write(t, file, key.EncodeSecret())
	write(t, filepath.Join(channel, "more", container.LocalKeyName), key.EncodeSecret())
	write(t, filepath.Join(channel, "manifest"), []byte("x"))
	second = filepath.Join(j.base, "second")
	check(t, os.Link(file, second))
	check(t, os.Link(filepath.Join(channel, "more", container.LocalKeyName), second+"-more"))
	j.cfg.Keys, j.cfg.KeyChannel = nil, "key"
	return channel, second
}

// Once everything is open, nothing of the job's key is left on the disk: the file is
// overwritten where it lies, and then all of the channel is removed.
func TestKeyChannelIsEmptied(t *testing.T) {
	s := seal(t, "d", func(dir string) { write(t, filepath.Join(dir, "f"), []byte("f")) })
	j := newJob(t, s)
	channel, second := throughKeyChannel(t, s, j)
	size := map[string]int64{}
	for _, name := range []string{second, second + "-more"} {
		info, err := os.Stat(name)
		check(t, err)
		size[name] = info.Size()
	}
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	for name, n := range size {
		b, err := os.ReadFile(name)
		check(t, err)
		if !bytes.Equal(b, make([]byte, n)) {
			t.Errorf("%s was not overwritten: it holds %d bytes", filepath.Base(name), len(b))
		}
	}
	left, err := os.ReadDir(channel)
	check(t, err)
	if len(left) > 0 {
		t.Errorf("in the key channel there is still %v", left)
	}
}

// Where opening fails, the key stays for the next try.
func TestKeyOfAFailedRunStays(t *testing.T) {
	s := seal(t, "d", func(dir string) { write(t, filepath.Join(dir, "f"), []byte("f")) })
	j := newJob(t, s)
	channel, _ := throughKeyChannel(t, s, j)
	pack := j.packs("training")[0]
	check(t, os.Rename(pack, pack+"-away"))
	if err := j.open(); err == nil {
		t.Fatal("it opens without its pack")
	}
	if _, err := os.Stat(filepath.Join(channel, container.LocalKeyName)); err != nil {
		t.Errorf("a run that failed has removed the key: %v", err)
	}
}

// What an earlier run has recorded is believed for the version that it opened, and
// for no other.
func TestRecordsOfAnotherVersion(t *testing.T) {
	s := seal(t, "d", func(dir string) {
		for _, name := range []string{"a", "b", "c"} {
			write(t, filepath.Join(dir, name), []byte("first "+name))
		}
	})
	j := newJob(t, s)
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
	// The pack of the first version is one of the second too, of which one file less
	// is in it.
	check(t, os.Remove(filepath.Join(s.src, "c")))
	write(t, filepath.Join(s.src, "d"), []byte("second d"))
	s.upload(t)
	j.cfg.Channels = nil
	j.add(s, "training")
	check(t, j.open())
	treetest.Equal(t, s.src, j.dir("training"))
}
