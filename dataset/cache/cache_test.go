package cache_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/envelope"
)

const pageBytes = 4 * (envelope.ChunkSize + envelope.TagSize)

func open(t testing.TB, dir string, size int64) *cache.Cache {
	t.Helper()
	c, err := cache.Open(dir, size, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func key(i int) cache.Key {
	k := cache.Key{Segment: int64(i % 100)}
	rng := rand.New(rand.NewPCG(uint64(i/100), 1))
	for at := range k.Pack {
		k.Pack[at] = byte(rng.Uint32())
	}
	return k
}

// contents are what a page is taken for in these tests.
func contents(i, page int) (head, body []byte) {
	return bytes.Repeat([]byte{byte(i), 1}, envelope.SegmentHead/2), bytes.Repeat([]byte{byte(i), byte(page), byte(i >> 8)}, pageBytes/3)
}

func has(t *testing.T, c *cache.Cache, i, page int) bool {
	t.Helper()
	wantHead, want := contents(i, page)
	head, body := make([]byte, len(wantHead)), make([]byte, len(want))
	got := c.Get(key(i), page, head, body)
	if got && (!bytes.Equal(head, wantHead) || !bytes.Equal(body, want)) {
		t.Fatalf("page %d of segment %d is another", page, i)
	}
	if marked := c.Has(key(i))&(1<<page) != 0; marked != got {
		t.Fatalf("page %d of segment %d: it is there %v, and can be read %v", page, i, marked, got)
	}
	return got
}

func put(c *cache.Cache, i, page int) {
	head, body := contents(i, page)
	c.Put(key(i), page, head, body)
}

// Pages are kept until others need the room, also when the cache is opened again, in a file
// of bounded size.
func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	c := open(t, dir, cache.MinSize)
	if has(t, c, 1, 0) {
		t.Error("an empty cache has a page")
	}
	for _, page := range []int{0, 15, 7} {
		put(c, 1, page)
	}
	second := open(t, dir, 2*cache.MinSize) // it has the size that it has while others use it
	if second.Size() != c.Size() || !has(t, second, 1, 15) || has(t, second, 1, 1) || !has(t, second, 1, 7) {
		t.Error("another process has another cache")
	}
	second.Drop(key(1))
	if has(t, c, 1, 0) || has(t, c, 1, 15) {
		t.Error("it was not forgotten")
	}
	const segments = 200
	for i := range segments {
		put(c, i, i%16)
	}
	kept := 0
	for i := range segments {
		if has(t, c, i, i%16) {
			kept++
		}
	}
	if slots := int(c.Size() >> 20); kept > slots || kept < slots*3/4 {
		t.Errorf("%d of %d segments are kept in %d bytes", kept, segments, c.Size())
	}
	name := filepath.Join(dir, "vaultpack-sealed.cache")
	if info, err := os.Stat(name); err != nil || info.Size() > cache.MinSize || info.Size() != c.Size() || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
	c.Close()
	second.Close()
	c = open(t, dir, cache.MinSize)
	for i := range segments {
		if has(t, c, i, i%16) {
			kept--
		}
	}
	if kept != 0 {
		t.Errorf("%d are gone when it is opened again", kept)
	}
	c.Close()
	c = open(t, dir, 3*cache.MinSize)
	if c.Size() < 2*cache.MinSize || has(t, c, segments-1, (segments-1)%16) {
		t.Error("it was not made anew for another size")
	}
	c.Close()
	// What is no cache becomes one.
	for _, b := range [][]byte{nil, []byte("vaultpack sealed cache 1\n\xff\xff\xff\xff\xff\xff\xff\xff"), bytes.Repeat([]byte{0xff}, 1<<20)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c = open(t, dir, cache.MinSize)
		put(c, 5, 5)
		if !has(t, c, 5, 5) {
			t.Error("it keeps nothing")
		}
		c.Close()
	}
}

// Nothing outside of a slot is read or written, whatever is asked for.
func TestBounds(t *testing.T) {
	c := open(t, t.TempDir(), cache.MinSize)
	head, body := make([]byte, envelope.SegmentHead), make([]byte, pageBytes)
	for i, f := range []func(){
		func() { c.Put(cache.Key{Segment: -1}, 0, head, body) },
		func() { c.Put(key(1), -1, head, body) },
		func() { c.Put(key(1), 16, head, body) },
		func() { c.Put(key(1), 15, head, make([]byte, pageBytes+envelope.TagSize+1)) },
		func() { c.Put(key(1), 0, head[1:], body) },
		func() { c.Put(key(1), 0, head, nil) },
		func() { c.Put(key(1), 0, head, make([]byte, 2<<20)) },
	} {
		f()
		if c.Has(key(1)) != 0 || c.Has(cache.Key{Segment: -1}) != 0 {
			t.Errorf("%d was kept", i)
		}
	}
	c.Put(key(1), 15, head, make([]byte, pageBytes+envelope.TagSize)) // as the last one of a whole segment
	if c.Has(key(1)) != 1<<15 || c.Get(key(1), 15, head, make([]byte, 2<<20)) || c.Get(key(1), 15, head[1:], body) {
		t.Error("the last page")
	}
	for _, size := range []int64{-1, 0, cache.MinSize - 1} {
		if _, err := cache.Open(t.TempDir(), size, nil); err == nil {
			t.Errorf("a size of %d was taken", size)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "vaultpack-sealed.cache")); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Open(dir, cache.MinSize, nil); err == nil {
		t.Error("a link was followed")
	}
}

// Several that open one folder at the same moment have one cache.
func TestOpenedTogether(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			c, err := cache.Open(dir, cache.MinSize*int64(1+g%3), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for i := range 50 {
				put(c, 1000*g+i, 3)
			}
		})
	}
	all.Wait()
}

// A disk that fails is told of once.
func TestFails(t *testing.T) {
	dir := t.TempDir()
	var told []error
	c, err := cache.Open(dir, cache.MinSize, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	put(c, 1, 1)
	if err := os.Truncate(filepath.Join(dir, "vaultpack-sealed.cache"), 100); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		head, body := contents(1, 1)
		if c.Get(key(i), 1, head, body) {
			t.Error("a page of a file that was cut off")
		}
		put(c, i, 2)
	}
	if len(told) != 1 || fmt.Sprint(told[0]) == "" {
		t.Errorf("told: %v", told)
	}
}
