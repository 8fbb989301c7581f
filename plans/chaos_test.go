package plans_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

var errKilled = errors.New("the process was killed")

// A mortal is a store as a process sees it that is killed after some writes: nothing of
// it reaches the vault any more, at its last write perhaps, and perhaps not.
type mortal struct {
	vault.Store
	mu   sync.Mutex
	left int // writes
}

// write reports whether a write begins, and whether the process learns of its end.
func (m *mortal) write() (begins, returns bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left--
	return m.left > 0 || m.left == 0 && rand.IntN(2) == 0, m.left > 0
}

func (m *mortal) around(do func() error) error {
	begins, returns := m.write()
	var err error
	if begins {
		err = do()
	}
	if !returns {
		return errKilled
	}
	return err
}

func (m *mortal) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return m.around(func() error { return m.Store.Put(ctx, name, write) })
}

func (m *mortal) Create(ctx context.Context, name string, data []byte) error {
	return m.around(func() error { return m.Store.Create(ctx, name, data) })
}

func (m *mortal) Delete(ctx context.Context, name string) error {
	return m.around(func() error { return m.Store.Delete(ctx, name) })
}

// Workers, their twins, commits and collections that are killed at any write, some by
// clocks that differ by an hour, and uploads in between: what is committed is the source,
// it is committed once, and a collection leaves nothing else.
func TestPlanInAnyOrder(t *testing.T) {
	dir := source(t)
	alone, err := uploader.Upload(t.Context(), newPlace().open(t), dir, options(true))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { inAnyOrder(t, dir, alone.Version) })
	}
}

func inAnyOrder(t *testing.T, dir string, want *dataset.Version) {
	p := newPlace()
	skew := time.Duration(rand.IntN(3)-1) * time.Hour
	p.Now = func() time.Time { return time.Now().Add(skew) }
	const shards = 5
	plan, err := plans.Make(t.Context(), p.open(t), dir, plans.MakeOptions{Shards: shards, Upload: options(true)})
	if err != nil {
		t.Fatal(err)
	}
	dying := func(writes int) *dataset.Dataset { return p.over(t, &mortal{Store: p.Store, left: writes}) }
	expected := func(what string, err error) {
		var missing *plans.MissingError
		if err != nil && !errors.Is(err, errKilled) && !errors.As(err, &missing) && !errors.Is(err, dataset.ErrBusy) && !errors.Is(err, dataset.ErrConflict) &&
			!errors.Is(err, dataset.ErrCollected) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 12 {
				switch n := rand.IntN(shards); rand.IntN(6) {
				case 0, 1, 2:
					_, err := plans.Work(t.Context(), dying(1+rand.IntN(30)), plan.Reference, n, plans.WorkOptions{})
					expected("work", err)
				case 3:
					_, err := plans.Commit(t.Context(), dying(1+rand.IntN(6)), plan.Reference, plans.CommitOptions{})
					expected("commit", err)
				case 4:
					_, err := dying(1+rand.IntN(6)).Collect(t.Context(), dataset.CollectOptions{})
					expected("gc", err)
				case 5:
					_, err := uploader.UploadStream(t.Context(), dying(1+rand.IntN(12)), strings.NewReader("another"), "a", options(false))
					expected("push", err)
				}
			}
		})
	}
	wg.Wait()
	var made *dataset.Version
	for n := range shards { // the engine runs again what has failed
		if _, err := plans.Work(t.Context(), p.open(t), plan.Reference, n, plans.WorkOptions{}); err != nil {
			t.Fatalf("shard %d: %v", n, err)
		}
	}
	var mu sync.Mutex
	for range 3 {
		wg.Go(func() {
			res, err := plans.Commit(t.Context(), p.open(t), plan.Reference, plans.CommitOptions{})
			if err != nil {
				t.Errorf("commit: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if made != nil && made.Number != res.Version.Number {
				t.Errorf("the plan was made into version %d and into version %d", made.Number, res.Version.Number)
			}
			made = res.Version
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	same(t, made, want)
	p.Age(72 * time.Hour)
	onlyNeeded(t, p, p.open(t))
	same(t, made, want)
}

// A worker opens one data key, lists nothing and deletes nothing, and does not need to be told what does not exist.
func TestWorkersListNothing(t *testing.T) {
	p := newPlace()
	dir := source(t)
	for range 2 { // of a dataset without a version, and of one with
		plan, err := plans.Make(t.Context(), p.open(t), dir, plans.MakeOptions{Shards: 3, Upload: options(false)})
		if err != nil {
			t.Fatal(err)
		}
		for n := range plan.Shards {
			for range 2 {
				calls := &counting{KeyWrapper: p.key, t: t}
				d, err := dataset.Open(&vault.Vault{Store: &noLists{Store: p.Store, t: t}, Keys: &vault.Keys{Open: []envelope.KeyWrapper{calls}},
					OpenSigner: p.over(t, p.Store).Vault().SigningKey}, "d")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := plans.Work(t.Context(), d, plan.Reference, n, plans.WorkOptions{}); err != nil {
					t.Fatal(err)
				}
				d.Close()
				if calls.n != 1 {
					t.Errorf("a worker opens %d data keys", calls.n)
				}
			}
		}
		if _, err := plans.Commit(t.Context(), p.open(t), plan.Reference, plans.CommitOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// counting counts what a key service would be called for.
type counting struct {
	envelope.KeyWrapper
	t *testing.T
	n int
}

func (c *counting) Unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	c.n++
	return c.KeyWrapper.Unwrap(ctx, slot, ec)
}

func (c *counting) Wrap(context.Context, []byte, envelope.EncryptionContext) (envelope.Slot, error) {
	c.t.Error("a worker makes a data key")
	return envelope.Slot{}, errors.New("no")
}

type noLists struct {
	vault.Store
	t *testing.T
}

func (s *noLists) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	s.t.Errorf("a worker lists %s", prefix)
	return s.Store.List(ctx, prefix)
}

func (s *noLists) Folders(ctx context.Context, prefix string) ([]string, error) {
	s.t.Errorf("a worker lists %s", prefix)
	return s.Store.Folders(ctx, prefix)
}

func (s *noLists) Delete(ctx context.Context, name string) error {
	s.t.Errorf("a worker deletes %s", name)
	return s.Store.Delete(ctx, name)
}

// forbidden is what S3 says of an object that does not exist to somebody who may not list.
func forbidden(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrPermission
	}
	return err
}

func (s *noLists) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, name, off, n)
	return r, forbidden(err)
}

func (s *noLists) Stat(ctx context.Context, name string) (vault.Object, error) {
	o, err := s.Store.Stat(ctx, name)
	return o, forbidden(err)
}
