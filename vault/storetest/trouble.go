package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

func testFailingWriter(t *testing.T, s vault.Store) {
	old := "the older object"
	put(t, s, "d/old", old)
	broken := errors.New("the writer broke")
	block := make([]byte, 1<<20)
	for _, size := range []int{0, 1, 1 << 20, 21 << 20} { // the last is larger than a part
		for _, name := range []string{"d/new", "d/old"} {
			err := s.Put(t.Context(), name, func(w io.Writer) error {
				for left := size; left > 0; {
					n, err := w.Write(block[:min(left, len(block))])
					if err != nil {
						return err
					}
					left -= n
				}
				return broken
			})
			if err != broken {
				t.Errorf("a writer that fails after %d bytes: %v", size, err)
			}
		}
		holds(t, s, "d/new", nil)
		holds(t, s, "d/old", &old)
	}
	func() {
		defer func() {
			if recover() != "panic" {
				t.Error("the panic of a writer did not come through")
			}
		}()
		s.Put(t.Context(), "d/new", func(w io.Writer) error {
			w.Write(block)
			panic("panic")
		})
	}()
	holds(t, s, "d/new", nil)
	for o, err := range s.List(t.Context(), "") {
		if err != nil || o.Name != "d/old" {
			t.Errorf("the listing has %v, %v", o, err)
		}
	}
}

func testCreateRace(t *testing.T, s vault.Store) {
	const writers, rounds = 10, 5
	for round := range rounds {
		name := fmt.Sprintf("d/%d", round)
		var wg sync.WaitGroup
		start, errs := make(chan struct{}), make([]error, writers)
		for i := range writers {
			wg.Go(func() {
				<-start
				errs[i] = s.Create(t.Context(), name, fmt.Appendf(nil, "writer %d", i))
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("%s: both %d and %d won", name, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("%s: writer %d: %v; want fs.ErrExist", name, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody won", name)
		}
		want := fmt.Sprintf("writer %d", winner)
		holds(t, s, name, &want)
	}
}

func testOddNames(t *testing.T, s vault.Store) {
	names := []string{
		"a b", " lead", "trail ", "plus+plus", "percent%41%2F", "q?x=1&y=2", "hash#hash", "amp&amp;<tag>", `quote"'`,
		"tilde~!$()*,:;=@[]^_`{|}", "ünï/cödé", "日本語", "🔐", "...", "-", ".hidden", "e\u0301 decomposed", "é composed",
		strings.Repeat("n", 200),
	}
	for _, name := range names {
		put(t, s, "odd/"+name, name)
	}
	for _, name := range names {
		holds(t, s, "odd/"+name, &name)
	}
	var got, want []string
	for o, err := range s.List(t.Context(), "odd/") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Name)
	}
	for _, name := range names {
		want = append(want, "odd/"+name)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("List = %q\nwant   %q", got, want)
	}
	for _, name := range names {
		if err := s.Delete(t.Context(), "odd/"+name); err != nil {
			t.Error(err)
		}
		holds(t, s, "odd/"+name, nil)
	}
	for _, name := range []string{"../up", "a/../../up"} {
		err := s.Put(t.Context(), name, func(io.Writer) error { return nil })
		if _, gerr := s.Get(t.Context(), name, 0, -1); err == nil || gerr == nil {
			t.Errorf("the name %q leaves the store: Put gives %v, Get %v", name, err, gerr)
		}
	}
}

// testLarge stores an object of several parts whose size is not a multiple of any
// part or block, written in pieces of odd sizes.
func testLarge(t *testing.T, s vault.Store) {
	const size = 40<<20 + 12345
	r := rand.NewChaCha8([32]byte{1})
	data := make([]byte, size)
	r.Read(data)
	err := s.Put(t.Context(), "d/large", func(w io.Writer) error {
		for left := data; len(left) > 0; {
			n := min(len(left), 700001)
			if _, err := w.Write(left[:n]); err != nil {
				return err
			}
			left = left[n:]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if o, err := s.Stat(t.Context(), "d/large"); err != nil || o.Size != size {
		t.Errorf("Stat gives %v, %v", o, err)
	}
	rd, err := s.Get(t.Context(), "d/large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	h := sha256.New()
	if n, err := io.Copy(h, rd); err != nil || n != size {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if sum := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), sum[:]) {
		t.Error("the object does not hold what was written")
	}
	if n, err := rd.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a read after the end: %d, %v", n, err)
	}
	for _, c := range [][2]int64{{8<<20 - 1, 2}, {8 << 20, 8 << 20}, {size - 1, 10}, {123, 1 << 20}} {
		got, err := get(s, t.Context(), "d/large", c[0], c[1])
		if want := data[c[0]:min(c[0]+c[1], size)]; err != nil || got != string(want) {
			t.Errorf("the range %v: %d bytes, %v", c, len(got), err)
		}
	}
	// Exactly one and two parts of the usual sizes.
	for _, size := range []int{5 << 20, 8 << 20, 16 << 20} {
		want := string(data[:size])
		put(t, s, "d/exact", want)
		holds(t, s, "d/exact", &want)
	}
}

func testCancelled(t *testing.T, s vault.Store) {
	there := "there"
	put(t, s, "d/there", there)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, op := range map[string]func() error{
		"Put": func() error {
			return s.Put(done, "d/new", func(w io.Writer) error {
				_, err := w.Write(make([]byte, 100))
				return err
			})
		},
		"Create": func() error { return s.Create(done, "d/new", []byte("x")) },
		"Get":    func() error { _, err := get(s, done, "d/there", 0, -1); return err },
		"List": func() error {
			for _, err := range s.List(done, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		if err := op(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that is done: %v; want context.Canceled", name, err)
		}
	}
	// In the middle of a large object, while the writer is active.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	block := make([]byte, 1<<20)
	end := time.AfterFunc(30*time.Second, func() { panic("Put goes on after its context has ended") })
	defer end.Stop()
	err := s.Put(ctx, "d/new", func(w io.Writer) error {
		for i := 0; ; i++ {
			if i == 20 {
				cancel()
			}
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put, cancelled in its midst: %v", err)
	}
	holds(t, s, "d/new", nil)
	// At the very end, where nothing is written any more.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	err = s.Put(ctx, "d/new", func(w io.Writer) error {
		_, err := w.Write([]byte("whole"))
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put, cancelled at its end: %v", err)
	}
	holds(t, s, "d/new", nil)
	holds(t, s, "d/there", &there)
}

func testConcurrent(t *testing.T, s vault.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("d/%d", i)
			for size := range 5 {
				want := strings.Repeat(fmt.Sprint(i), size*300_000)
				err := s.Put(t.Context(), name, func(w io.Writer) error {
					_, err := io.WriteString(w, want)
					return err
				})
				if got, gerr := get(s, t.Context(), name, 0, -1); err != nil || gerr != nil || got != want {
					t.Errorf("%s: Put gives %v, Get %d bytes and %v", name, err, len(got), gerr)
				}
			}
		})
	}
	wg.Wait()
}

// testSweep checks that sweeping does not touch objects that are complete or being written.
func testSweep(t *testing.T, s vault.Store) {
	sweeper, ok := vault.As[vault.Sweeper](s)
	if !ok {
		t.Fatal("the store has no Sweep")
	}
	there, want := "there", strings.Repeat("x", 20<<20)
	put(t, s, "d/there", there)
	err := s.Put(t.Context(), "d/new", func(w io.Writer) error {
		if _, err := io.WriteString(w, want[:len(want)/2]); err != nil {
			return err
		}
		if err := sweeper.Sweep(t.Context(), "d/"); err != nil {
			t.Error(err)
		}
		_, err := io.WriteString(w, want[len(want)/2:])
		return err
	})
	if err != nil {
		t.Error(err)
	}
	holds(t, s, "d/new", &want)
	holds(t, s, "d/there", &there)
	if err := sweeper.Sweep(t.Context(), "missing/"); err != nil {
		t.Error(err)
	}
}

func testDenied(t *testing.T, s vault.Store) {
	nothing := func(w io.Writer) error { return nil }
	for name, op := range map[string]func() error{
		"Put":    func() error { return s.Put(t.Context(), "d/new", nothing) },
		"Create": func() error { return s.Create(t.Context(), "d/new", nil) },
		"Get":    func() error { _, err := get(s, t.Context(), "d/there", 0, -1); return err },
		"Stat":   func() error { _, err := s.Stat(t.Context(), "d/there"); return err },
		"List": func() error {
			for _, err := range s.List(t.Context(), "d/") {
				return err
			}
			return nil
		},
		"Folders": func() error { _, err := s.Folders(t.Context(), "d/"); return err },
		"Delete":  func() error { return s.Delete(t.Context(), "d/there") },
	} {
		if err := op(); !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want fs.ErrPermission", name, err)
		}
	}
}
