// Package storetest is the test suite that every [vault.Store] must pass before a vault
// can be kept in it, whether it belongs to this module or to another.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// Run tests the stores that open returns. Each call of open must return a new, empty
// store. The stores must implement [vault.Sweeper], without which half-written objects
// would stay forever; other capabilities are tested if a store has them. denied, if not
// nil, returns a store that holds "d/there" and denies every operation.
func Run(t *testing.T, open, denied func(*testing.T) vault.Store) {
	for name, test := range map[string]func(*testing.T, vault.Store){
		"Get": testGet, "Put": testPut, "FailingWriter": testFailingWriter, "Create": testCreate,
		"CreateRace": testCreateRace, "List": testList, "Folders": testFolders, "Delete": testDelete,
		"OddNames": testOddNames, "Large": testLarge, "Cancelled": testCancelled, "Concurrent": testConcurrent,
		"Sweep": testSweep, "Replace": testReplace, "OldVersions": testOldVersions, "Uploads": testUploads,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	if denied != nil {
		t.Run("Denied", func(t *testing.T) { testDenied(t, denied(t)) })
	}
}

func put(t *testing.T, s vault.Store, name, data string) {
	t.Helper()
	err := s.Put(t.Context(), name, func(w io.Writer) error {
		_, err := io.WriteString(w, data)
		return err
	})
	if err != nil {
		t.Fatalf("Put(%q): %v", name, err)
	}
}

func get(s vault.Store, ctx context.Context, name string, off, n int64) (string, error) {
	r, err := s.Get(ctx, name, off, n)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

// holds checks that the object has the data, or if want is nil that there is
// no such object.
func holds(t *testing.T, s vault.Store, name string, want *string) {
	t.Helper()
	got, err := get(s, t.Context(), name, 0, -1)
	o, serr := s.Stat(t.Context(), name)
	switch {
	case want == nil:
		if !errors.Is(err, fs.ErrNotExist) || !errors.Is(serr, fs.ErrNotExist) {
			t.Errorf("%s: Get gives %d bytes and %v, Stat gives %v and %v; want fs.ErrNotExist", name, len(got), err, o, serr)
		}
	case err != nil || got != *want:
		t.Errorf("%s: Get gives %d bytes and %v; want %d bytes", name, len(got), err, len(*want))
	case serr != nil || o.Name != name || o.Size != int64(len(*want)):
		t.Errorf("%s: Stat gives %v, %v; want %d bytes", name, o, serr, len(*want))
	case time.Since(o.Modified).Abs() > 5*time.Minute:
		t.Errorf("%s: Stat says that it was modified at %v", name, o.Modified)
	}
}

func testGet(t *testing.T, s vault.Store) {
	const data = "0123456789"
	put(t, s, "d/o", data)
	put(t, s, "d/empty", "")
	for _, c := range []struct {
		name   string
		off, n int64
		want   string
	}{
		{"d/o", 0, -1, data}, {"d/o", 0, 10, data}, {"d/o", 0, 1, "0"}, {"d/o", 9, 1, "9"}, {"d/o", 3, 4, "3456"},
		{"d/o", 3, -1, "3456789"}, {"d/o", 8, 100, "89"}, {"d/o", 10, -1, ""}, {"d/o", 10, 1, ""}, {"d/o", 11, 5, ""},
		{"d/o", 1 << 40, -1, ""}, {"d/o", 4, 0, ""}, {"d/o", 0, 1 << 40, data},
		{"d/empty", 0, -1, ""}, {"d/empty", 0, 5, ""}, {"d/empty", 5, -1, ""}, {"d/empty", 0, 0, ""},
	} {
		got, err := get(s, t.Context(), c.name, c.off, c.n)
		if err != nil || got != c.want {
			t.Errorf("Get(%s, %d, %d) = %q, %v; want %q", c.name, c.off, c.n, got, err, c.want)
		}
	}
	for _, n := range []int64{-1, 0, 1} {
		for _, off := range []int64{0, 3} {
			if _, err := get(s, t.Context(), "d/missing", off, n); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Get(missing, %d, %d): %v; want fs.ErrNotExist", off, n, err)
			}
		}
	}
}

func testPut(t *testing.T, s vault.Store) {
	for _, data := range []string{"one", "", "the third is longer than the others", "4"} {
		put(t, s, "a/b/c", data)
		holds(t, s, "a/b/c", &data)
	}
	// Empty writes, and many small writes.
	want := strings.Repeat("ab", 5000)
	err := s.Put(t.Context(), "a/small", func(w io.Writer) error {
		for range 5000 {
			if n, err := w.Write(nil); n != 0 || err != nil {
				return fmt.Errorf("an empty write: %d, %v", n, err)
			}
			if n, err := io.WriteString(w, "ab"); n != 2 || err != nil {
				return fmt.Errorf("a write of 2: %d, %v", n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, "a/small", &want)
}

func testCreate(t *testing.T, s vault.Store) {
	data := "first"
	if err := s.Create(t.Context(), "d/o", []byte(data)); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"second", data, ""} {
		if err := s.Create(t.Context(), "d/o", []byte(again)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create of what is there: %v; want fs.ErrExist", err)
		}
	}
	holds(t, s, "d/o", &data)
	data = ""
	if err := s.Create(t.Context(), "d/empty", nil); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "d/empty", &data)
	if err := s.Delete(t.Context(), "d/o"); err != nil {
		t.Fatal(err)
	}
	data = "third"
	if err := s.Create(t.Context(), "d/o", []byte(data)); err != nil {
		t.Errorf("Create after Delete: %v", err)
	}
	holds(t, s, "d/o", &data)
}

func list(t *testing.T, s vault.Store, prefix string) []string {
	t.Helper()
	var names []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		if o.Size != int64(len(o.Name)) || time.Since(o.Modified).Abs() > 5*time.Minute {
			t.Errorf("List gives %v", o)
		}
		names = append(names, o.Name)
	}
	return names
}

func testList(t *testing.T, s vault.Store) {
	if got := list(t, s, ""); got != nil {
		t.Fatalf("an empty store lists %q", got)
	}
	all := []string{"a-b/x", "a.b/x", "a/b", "a/c-d", "a/c.d", "a/c/d/e", "a/c0", "aa/x", "b", "b-", "b0/Z", "b0/z", "b0/é"}
	for _, name := range []int{5, 2, 12, 0, 8, 3, 11, 1, 10, 4, 7, 9, 6} {
		put(t, s, all[name], all[name])
	}
	below := func(prefix string) (names []string) {
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return names
	}
	for _, prefix := range []string{"", "a/", "a/c/", "a-b/", "b0/", "missing/"} {
		if got := list(t, s, prefix); !slices.Equal(got, below(prefix)) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, below(prefix))
		}
	}
	// A caller may stop, and may delete what it has seen.
	n := 0
	for o, err := range s.List(t.Context(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), o.Name); err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
	}
	if got := list(t, s, "a/"); !slices.Equal(got, below("a/")[2:]) {
		t.Errorf("after deleting two, List gives %q", got)
	}
}

func testFolders(t *testing.T, s vault.Store) {
	for _, name := range []string{"top", "a/b/c", "a/b/d", "a/e/f", "a/file", "a-b/x", "a.b/x", "B/x"} {
		put(t, s, name, name)
	}
	for prefix, want := range map[string][]string{
		"": {"B", "a", "a-b", "a.b"}, "a/": {"b", "e"}, "a/b/": nil, "missing/": nil,
	} {
		got, err := s.Folders(t.Context(), prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Folders(%q) = %q, %v; want %q", prefix, got, err, want)
		}
	}
}

func testDelete(t *testing.T, s vault.Store) {
	stays := "stays"
	put(t, s, "d/e/gone", "x")
	put(t, s, "d/stays", stays)
	for range 2 {
		if err := s.Delete(t.Context(), "d/e/gone"); err != nil {
			t.Error(err)
		}
		holds(t, s, "d/e/gone", nil)
	}
	if err := s.Delete(t.Context(), "never/was"); err != nil {
		t.Error(err)
	}
	holds(t, s, "d/stays", &stays)
	if got, err := s.Folders(t.Context(), "d/"); err != nil || len(got) > 0 {
		t.Errorf("an empty folder stayed: %q, %v", got, err)
	}
}
