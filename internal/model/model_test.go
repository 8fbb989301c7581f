package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// A process sees the vault through this: between any two operations it may be asleep,
// for days, and it may be killed, after which nothing of it reaches the vault.
type process struct {
	vault.Store
	name string
	w    *world

	mu    sync.Mutex
	wakes time.Time
	dies  time.Time
	dead  bool
}

func (p *process) Unwrap() vault.Store { return p.Store }

var errKilled = errors.New("the process was killed")

// pause lets the process sleep, or not.
func (p *process) pause(op, name string) error {
	if !strings.HasPrefix(op, "Get") || !strings.Contains(name, "/keys/") { // Key holds a mutex meanwhile
		p.mu.Lock()
		d := p.w.sleep()
		if op == "Create" || op == "Put" && strings.Contains(name, "/pending/") {
			d = max(d, p.w.sleep(), p.w.sleep(), p.w.sleep()) // where sleep does most harm
		}
		if d > 0 {
			p.wakes = time.Now().Add(d)
		}
		p.mu.Unlock()
		for {
			p.mu.Lock()
			d := time.Until(p.wakes)
			p.mu.Unlock()
			if d <= 0 {
				break
			}
			time.Sleep(d) // all of the process sleeps, also what renews its lease
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = p.dead || !p.dies.IsZero() && !time.Now().Before(p.dies)
	if p.dead {
		return errKilled
	}
	return nil
}

// around does an operation between two pauses.
func (p *process) around(op, name string, do func() error) error {
	if err := p.pause(op, name); err != nil {
		return err
	}
	err := do()
	p.w.log("%s: %s %s: %v", p.name, op, name, err)
	if perr := p.pause(op, name); perr != nil {
		return perr
	}
	return err
}

func (p *process) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	var b bytes.Buffer // what is written is written before the object appears
	if err := write(&b); err != nil {
		return err
	}
	return p.around("Put", name, func() error {
		return p.Store.Put(ctx, name, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
	})
}

func (p *process) Create(ctx context.Context, name string, data []byte) error {
	return p.around("Create", name, func() error { return p.Store.Create(ctx, name, data) })
}

func (p *process) Get(ctx context.Context, name string, off, n int64) (r io.ReadCloser, err error) {
	err = p.around("Get", name, func() (err error) { r, err = p.Store.Get(ctx, name, off, n); return err })
	return r, err
}

func (p *process) Stat(ctx context.Context, name string) (o vault.Object, err error) {
	err = p.around("Stat", name, func() (err error) { o, err = p.Store.Stat(ctx, name); return err })
	return o, err
}

func (p *process) Delete(ctx context.Context, name string) error {
	return p.around("Delete", name, func() error { return p.Store.Delete(ctx, name) })
}

// List may sleep between two pages of one object.
func (p *process) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		if err := p.pause("List", prefix); err != nil {
			yield(vault.Object{}, err)
			return
		}
		p.w.log("%s: List %s", p.name, prefix)
		for o, err := range p.Store.List(ctx, prefix) {
			if perr := p.pause("List", prefix); perr != nil {
				yield(vault.Object{}, perr)
				return
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// A world is one vault, and all that happens to it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	store *memstore.Store
	keys  *vault.Keys
	dirs  []string

	mu     sync.Mutex
	clock  time.Duration // how far the store's clock is from that of the processes
	calm   bool          // nobody sleeps any more
	events []string
	totals totals
}

func (w *world) log(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, time.Now().Format("02 15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *world) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.totals == nil {
		w.totals = totals{}
	}
	w.totals[what] += n
}

func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// sleep is how long a process sleeps now: mostly not, and at times for days.
func (w *world) sleep() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm {
		return 0
	}
	switch n := w.rng.IntN(100); {
	case n < 70:
		return 0
	case n < 90:
		return time.Duration(w.rng.IntN(120)) * time.Second
	default: // from a minute to four days, each scale as often as the other
		return time.Duration(float64(time.Minute) * math.Pow(6000, w.rng.Float64()))
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.clock)
}

// open is the dataset as a new process sees it.
func (w *world) open(name string) (*dataset.Dataset, *process) {
	p := &process{Store: w.store, name: name, w: w}
	d, err := dataset.Open(&vault.Vault{Store: p, Keys: w.keys}, "d")
	if err != nil {
		panic(err)
	}
	return d, p
}

// allowed are the errors that end a process without harm.
func allowed(err error) bool {
	for _, ok := range []error{nil, errKilled, context.Canceled, dataset.ErrConflict, dataset.ErrCollected, dataset.ErrBusy, dataset.ErrUnknownDataset} {
		if errors.Is(err, ok) {
			return true
		}
	}
	return false
}

// run lets one process do something, and looks at how it ends.
func (w *world) run(name string, do func(ctx context.Context, d *dataset.Dataset) error) {
	d, p := w.open(name)
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch w.intn(6) {
	case 0:
		p.dies = time.Now().Add(w.soon())
	case 1:
		defer time.AfterFunc(w.soon(), cancel).Stop()
	}
	err := do(ctx, d)
	w.log("%s ends: %v", name, err)
	for what, is := range map[string]error{"was killed": errKilled, "was cancelled": context.Canceled, "met a conflict": dataset.ErrConflict,
		"was collected": dataset.ErrCollected, "found it busy": dataset.ErrBusy} {
		if errors.Is(err, is) {
			w.count(what, 1)
		}
	}
	if !allowed(err) {
		w.t.Errorf("%s: %v", name, err)
	}
}

// soon is a time to end a process in its midst.
func (w *world) soon() time.Duration {
	return time.Duration(w.intn(1+w.intn(300))) * time.Minute
}

func (w *world) upload(dir string) func(ctx context.Context, d *dataset.Dataset) error {
	return func(ctx context.Context, d *dataset.Dataset) error {
		res, err := uploader.Upload(ctx, d, dir, uploader.Options{PackSize: uploader.MinPackSize, Concurrency: 1,
			Warn: func(err error) { w.log("warning: %v", err) }})
		if err == nil && res.Committed {
			w.count("committed", 1)
			w.count("resumed", int(res.Stats.ResumedFiles))
		}
		if partial := new(dataset.PartialError); errors.As(err, &partial) && !w.calm {
			return nil // a file changed while it was read, as it may
		}
		return err
	}
}

// stream uploads bytes that come with pauses.
func (w *world) stream(n int) func(ctx context.Context, d *dataset.Dataset) error {
	return func(ctx context.Context, d *dataset.Dataset) error {
		_, err := uploader.UploadStream(ctx, d, &slowReader{w: w, left: n}, "stream",
			uploader.Options{PackSize: uploader.MinPackSize, Warn: func(err error) { w.log("warning: %v", err) }})
		return err
	}
}

// write makes a version of files that it writes with pauses, and continues from what an
// earlier run has recorded.
func (w *world) write(ctx context.Context, d *dataset.Dataset) error {
	wr, err := ingest.New(ctx, d, ingest.Options{ID: "etl", Mode: ingest.Update, AllowIncomplete: true, PackSize: ingest.MinPackSize, Concurrency: 2,
		Warn: func(err error) { w.log("warning: %v", err) }})
	if err != nil {
		return err
	}
	defer wr.Close()
	w.count("written on", int(wr.Stats().Resumed))
	for i := range 8 {
		path := fmt.Sprintf("etl/%d", i)
		if has, err := wr.Has(path, ingest.Meta{}); err != nil {
			return err
		} else if has && w.intn(3) > 0 {
			continue
		}
		f, err := wr.Create(path, ingest.Meta{})
		if err != nil {
			return err
		}
		for range 1 + w.intn(3) {
			time.Sleep(w.sleep())
			if _, err := f.Write(make([]byte, w.intn(4000))); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
		if w.intn(2) == 0 {
			if err := wr.Checkpoint(ctx); err != nil {
				return err
			}
		}
	}
	if _, err = wr.Commit(ctx); err == nil {
		w.count("written", 1)
	}
	return err
}

type slowReader struct {
	w    *world
	left int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(r.w.sleep())
	n := min(len(p), r.left, 5000)
	r.left -= n
	return n, nil
}

// collect runs a collection, and many at once now and then.
func (w *world) collect(ctx context.Context, d *dataset.Dataset) error {
	grace := []time.Duration{0, 0, time.Hour, 24 * time.Hour}[w.intn(4)]
	g, err := d.Collect(ctx, dataset.CollectOptions{Grace: grace, EndUploads: w.intn(4) == 0, DryRun: w.intn(20) == 0})
	w.count("closed a number", int(min(g.Closed, 1)))
	return err
}

// removeOldest removes a version that is not the newest.
func (w *world) removeOldest(ctx context.Context, d *dataset.Dataset) error {
	numbers, err := d.Versions(ctx)
	if err != nil || len(numbers) < 2 {
		return err
	}
	err = d.RemoveVersion(ctx, numbers[w.intn(len(numbers)-1)])
	if errors.Is(err, dataset.ErrUnknownVersion) {
		return nil // another was faster
	}
	return err
}

// change makes the next upload of the folder send something.
func (w *world) change(dir string) {
	name := filepath.Join(dir, strconv.Itoa(w.intn(6)))
	b := make([]byte, 100+w.intn(3000))
	for i := range b {
		b[i] = byte(w.intn(256))
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		panic(err)
	}
	if err := os.Chtimes(name, time.Time{}, time.Unix(int64(w.intn(1<<30)), 0)); err != nil {
		panic(err)
	}
}

// whole reads every version whole.
func (w *world) whole() (newest int64) {
	d, _ := w.open("verify")
	defer d.Close()
	ctx := context.Background()
	numbers, err := d.Versions(ctx)
	if err != nil {
		w.t.Error(err)
	}
	for _, n := range numbers {
		v, err := d.Version(ctx, n)
		if err != nil {
			w.t.Errorf("version %d: %v", n, err)
			continue
		}
		failed := func(err error) { w.t.Errorf("version %d: %v", n, err) }
		if _, err := verify.Run(ctx, v, verify.Options{Sample: 1, Failed: failed}); err != nil {
			w.t.Errorf("version %d: %v", n, err)
		}
		newest = n
	}
	return newest
}

// total counts what has come to pass, so that a model in which nothing happens any more
// is noticed.
var total = totals{"committed": 0, "was killed": 0, "was cancelled": 0, "met a conflict": 0, "was collected": 0, "found it busy": 0, "closed a number": 0, "resumed": 0, "written": 0, "written on": 0}

type totals map[string]int

func (t totals) add(w *world) {
	for what, n := range w.totals {
		t[what] += n
	}
}

// live lets everything happen at once for some weeks.
func (w *world) live() {
	var wg sync.WaitGroup
	repeat := func(name string, times int, do func(ctx context.Context, d *dataset.Dataset) error, between func()) {
		wg.Go(func() {
			for i := range times {
				time.Sleep(w.sleep())
				if between != nil {
					between()
				}
				w.run(fmt.Sprintf("%s %d", name, i), do)
			}
		})
	}
	for i, dir := range w.dirs {
		repeat(fmt.Sprint("upload ", i), 4, w.upload(dir), func() {
			if w.intn(2) == 0 {
				w.change(dir)
			}
		})
	}
	repeat("resume", 2, w.upload(w.dirs[0]), nil) // the same folder from another machine
	repeat("stream", 2, w.stream(20_000), nil)
	repeat("write", 4, w.write, nil)
	repeat("gc", 8, w.collect, nil)
	repeat("gc too", 6, w.collect, nil)
	repeat("rotate", 1, func(ctx context.Context, d *dataset.Dataset) error { _, err := rekey.Rotate(ctx, d); return err }, nil)
	repeat("rm", 2, w.removeOldest, nil)
	repeat("clock", 3, func(context.Context, *dataset.Dataset) error {
		if w.intn(2) == 0 {
			w.store.Age(time.Duration(w.intn(100)) * time.Hour)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.clock = time.Duration(w.rng.IntN(200)-100) * time.Hour
		return nil
	}, nil)
	wg.Wait()
}

// model lets one world live, and looks at what is left of it.
func model(t *testing.T, seed uint64, dirs []string, keys *vault.Keys) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), keys: keys, dirs: dirs}
	w.store = &memstore.Store{Now: w.now}
	for _, dir := range dirs {
		for range 6 {
			w.change(dir)
		}
	}
	w.live()
	w.calm = true
	w.whole()
	// The same commands succeed.
	for i, do := range []func(context.Context, *dataset.Dataset) error{w.upload(dirs[0]), w.upload(dirs[1]), w.stream(10_000), w.write} {
		d, _ := w.open(fmt.Sprint("again ", i))
		if err := do(context.Background(), d); err != nil {
			t.Errorf("again: %v", err)
		}
		d.Close()
	}
	d, _ := w.open("last gc")
	if _, err := d.Collect(context.Background(), dataset.CollectOptions{EndUploads: true}); err != nil {
		t.Error(err)
	}
	d.Close()
	if w.whole() == 0 {
		t.Error("there is no version in the end")
	}
	if t.Failed() {
		t.Fatalf("with MODEL_SEED=%d:\n%s", seed, strings.Join(w.events, "\n"))
	}
	total.add(w)
}

// Whatever uploads, streams, collections, and sleeps of any of them come in whatever
// order: a version that was committed is whole, or the commit fails and the same
// command again succeeds. MODEL_RUNS is how many orders are tried, MODEL_SEED the
// first.
func TestUploadsAndCollections(t *testing.T) {
	runs, seed := race.Rounds(100, 30), uint64(time.Now().UnixNano())
	if testing.Short() {
		runs = 20
	}
	if n, err := strconv.Atoi(os.Getenv("MODEL_RUNS")); err == nil {
		runs = n
	}
	if runs > 2000 {
		t.Fatal("MODEL_RUNS may be 2000 at most: the clock of the one bubble that they are in ends in 2262")
	}
	if n, err := strconv.ParseUint(os.Getenv("MODEL_SEED"), 10, 64); err == nil {
		seed = n
	}
	local := envelope.GenerateLocalKey()
	keys := &vault.Keys{Open: []envelope.KeyWrapper{local}, Wrap: []envelope.KeyWrapper{local}}
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		for i := range runs {
			model(t, seed+uint64(i), dirs, keys)
		}
	})
	t.Logf("%d orders: %v", runs, total)
	for what, n := range total {
		if n == 0 && runs >= 100 {
			t.Errorf("none of them %s", what)
		}
	}
}
