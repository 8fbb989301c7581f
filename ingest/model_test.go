package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A model is what the tests know of a dataset and of what Writers of one ID do to it.
type model struct {
	*world
	rng       *rand.Rand
	committed map[string]string
	// known are the contents that each path may have that an earlier Writer of the ID
	// has closed, and must those whose closing a Checkpoint has followed.
	known map[string][]string
	must  map[string]bool
	seen  map[string]int
}

// Whatever Writers write, in whatever order, and whenever the process is killed: a version
// has just what was closed before Commit, and a later Writer of the ID has what was
// recorded.
func TestWritersAgainstAModel(t *testing.T) {
	race.Skip(t, "it is one goroutine but for the packs")
	seen := map[string]int{}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 1)), seen: seen,
				committed: map[string]string{}, known: map[string][]string{}, must: map[string]bool{}}
			for range 12 {
				m.run()
			}
		})
	}
	for _, what := range []string{"killed", "committed", "resumed", "removed", "replaced", "sample", "checkpoint", "aborted", "killed in commit", "in pieces", "taken", "beaten"} {
		if seen[what] == 0 {
			t.Errorf("nothing was %s", what)
		}
	}
	t.Log(seen)
}

func (m *model) data() string {
	n := m.rng.IntN(300)
	switch m.rng.IntN(8) {
	case 0:
		n = 0
	case 1:
		n = m.rng.IntN(40 << 10)
	}
	return string(treetest.Bytes(int64(n), byte(m.rng.Uint32())))
}

func (m *model) path() string {
	return fmt.Sprintf("%c/%d.%s", 'a'+rune(m.rng.IntN(3)), m.rng.IntN(12), []string{"json", "bin"}[m.rng.IntN(2)])
}

// A draft is an open file.
type draft struct {
	*File
	path string
	rest string
	all  string
}

// run is the life of one Writer. What it does until it is killed or ends well.
func (m *model) run() {
	t, rng := m.t, m.rng
	store := &mortal{Store: m.store, left: -1, half: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		store.left = 1 + rng.IntN(80)
	}
	mode := Mode(rng.IntN(3))
	before, _ := m.latest()
	d := m.open(store)
	w, err := New(context.Background(), d, Options{ID: "x", Mode: mode, AllowEmpty: true, PackSize: 8 << 10, buffers: 48 << 10, Concurrency: 1 + rng.IntN(3)})
	if err != nil {
		m.mustBeKilled(err)
		return
	}
	defer w.Close()

	// What an earlier Writer has recorded is there.
	have := map[string]string{}
	unsure := map[string][]string{}
	for path, r := range w.files {
		if !r.resumed || !slices.ContainsFunc(m.known[path], func(s string) bool { return int64(len(s)) == r.size }) {
			t.Fatalf("%q is taken up, and was never closed", path)
		}
		unsure[path] = m.known[path]
		m.seen["resumed"]++
	}
	for path := range m.must {
		if _, ok := unsure[path]; !ok {
			t.Fatalf("%q was recorded, and is not taken up", path)
		}
	}
	base := maps.Clone(m.committed)
	if mode == Anew {
		base = map[string]string{}
	}
	var open []*draft
	lost := false // another has made the version
	closed := func(path, data string) {
		have[path] = data
		delete(unsure, path)
		m.known[path] = append(m.known[path], data)
	}
	for range rng.IntN(120) {
		var err error
		switch k := rng.IntN(20); {
		case k < 6 && len(open) < 8:
			path := m.path()
			f, cerr := w.Create(path, Meta{})
			_, isOpen := w.open[path]
			_, written := have[path]
			_, based := base[path]
			taken := f == nil && isOpen || written || based && mode == Add
			if taken != errors.Is(cerr, fs.ErrExist) && !errors.Is(cerr, errKilled) {
				t.Fatalf("mode %d: creating %q: %v", mode, path, cerr)
			}
			if taken {
				m.seen["taken"]++
				continue
			}
			if err = cerr; err == nil {
				data := m.data()
				open = append(open, &draft{f, path, data, data})
				if based {
					m.seen["replaced"]++
				}
			}
		case k < 13 && len(open) > 0:
			i := rng.IntN(len(open))
			f := open[i]
			n := min(len(f.rest), 1+rng.IntN(12<<10))
			if n > 0 {
				_, err = f.Write([]byte(f.rest[:n]))
				f.rest = f.rest[n:]
				break
			}
			open = slices.Delete(open, i, i+1)
			if rng.IntN(6) == 0 {
				f.Abort()
				m.seen["aborted"]++
				break
			}
			if err = f.Close(); err == nil || errors.Is(err, errKilled) {
				m.known[f.path] = append(m.known[f.path], f.all) // it may have been recorded
			}
			if err == nil {
				closed(f.path, f.all)
				if f.cuts > 0 {
					m.seen["in pieces"]++
				}
			}
		case k == 13:
			path := m.path()
			_, isOpen := w.open[path]
			if isOpen {
				break
			}
			_, a := have[path]
			_, b := base[path]
			_, c := unsure[path]
			err = w.Remove(path)
			if told := err == nil || errors.Is(err, dataset.ErrNoEntry); told && (a || b || c) == (err != nil) {
				t.Fatalf("removing %q: %v", path, err)
			} else if err == nil {
				delete(have, path)
				delete(base, path)
				delete(unsure, path)
				delete(m.must, path) // a removal is not recorded, and neither has it to be there
				m.seen["removed"]++
			} else if errors.Is(err, dataset.ErrNoEntry) {
				err = nil
			}
		case k == 14:
			err = m.sample(w, mode, base, have, closed)
		case k == 15:
			if err = w.Checkpoint(context.Background()); err == nil {
				for path, data := range have {
					m.must[path] = true
					m.known[path] = []string{data}
				}
				m.seen["checkpoint"]++
			}
		case k == 16 && rng.IntN(8) == 0:
			other := m.writer(Options{Mode: Update, PackSize: 8 << 10})
			path := m.path()
			put(t, other, path, "other's")
			_, cerr := other.Commit(context.Background())
			check(t, cerr)
			m.committed[path] = "other's"
			m.want(m.committed)
			lost = true
		}
		if err != nil {
			m.mustBeKilled(err)
			return
		}
	}
	if rng.IntN(4) == 0 {
		return // ended without a commit
	}
	for _, f := range open {
		if _, err := w.Commit(context.Background()); !errors.Is(err, ErrOpen) && !errors.Is(err, errKilled) {
			t.Fatalf("a commit with open files: %v", err)
		}
		f.Abort()
	}
	_, err = w.Commit(context.Background())
	if errors.Is(err, dataset.ErrConflict) {
		if !lost {
			t.Fatal(err)
		}
		m.want(m.committed)
		for path, data := range have {
			m.must[path], m.known[path] = true, []string{data}
		}
		m.seen["beaten"]++
		return
	}
	after, got := m.latest()
	if err == nil && lost {
		// Nothing had changed, and there was nothing to commit.
		m.known, m.must = map[string][]string{}, map[string]bool{}
		m.want(m.committed)
		return
	}
	made := !lost && after != nil && (before == nil || after.Number > before.Number)
	if err != nil && mode == Add && errors.Is(err, fs.ErrExist) {
		// What was recorded is in the version that has come in between.
		if !slices.ContainsFunc(slices.Collect(maps.Keys(unsure)), func(p string) bool { _, ok := base[p]; return ok }) {
			t.Fatal(err)
		}
		m.forget(w)
		return
	}
	if err != nil {
		m.mustBeKilled(err)
		m.seen["killed in commit"]++
	}
	if err != nil && !made {
		return
	}
	want := base
	maps.Copy(want, have)
	for path, any := range unsure {
		if !slices.Contains(any, got[path]) {
			t.Fatalf("%q has %d bytes, which nobody has closed", path, len(got[path]))
		}
		want[path] = got[path]
	}
	if len(want) == 0 && after == nil {
		return
	}
	m.want(want)
	// The records may be there still, if the process was killed: nothing is taken up.
	m.committed, m.known, m.must = want, map[string][]string{}, map[string]bool{}
	if err == nil {
		m.seen["committed"]++
	}
}

// forget ends a Writer whose records are of no use any more.
func (m *model) forget(w *Writer) {
	w.Close()
	w = m.writer(Options{ID: "x", AllowEmpty: true, Mode: Update})
	for path := range w.files {
		check(m.t, w.Remove(path))
		w.mu.Lock()
		delete(w.removed, path)
		w.mu.Unlock()
	}
	if _, err := w.Commit(context.Background()); err != nil {
		m.t.Fatal(err)
	}
	if _, got := m.latest(); got != nil {
		m.committed = got
	}
	m.known, m.must = map[string][]string{}, map[string]bool{}
}

func (m *model) sample(w *Writer, mode Mode, base, have map[string]string, closed func(path, data string)) error {
	s, err := w.Sample()
	if err != nil {
		return err
	}
	defer s.Abort()
	files := map[string]string{}
	for range 1 + m.rng.IntN(3) {
		path, data := m.path(), m.data()
		if len(data) > 1000 {
			data = data[:1000]
		}
		f, err := s.Create(path, Meta{})
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte(data)); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		files[path] = data
	}
	if m.rng.IntN(4) == 0 {
		return nil
	}
	if err := s.Close(); err != nil {
		return err
	}
	for path, data := range files {
		closed(path, data)
	}
	m.seen["sample"]++
	return nil
}

func (m *model) mustBeKilled(err error) {
	m.t.Helper()
	if !errors.Is(err, errKilled) && !strings.Contains(err.Error(), errKilled.Error()) {
		m.t.Fatal(err)
	}
	m.seen["killed"]++
}
