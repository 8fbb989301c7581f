package signers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/signers"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// A stage is a vault in which two signers upload a folder, and are broken off, and an
// attacker who can read everything and write into the vault puts back whatever was in it
// once, and records of the attacker's own.
type stage struct {
	t        *testing.T
	rng      *rand.Rand
	store    *memstore.Store
	local    *envelope.LocalKey
	dir      string
	owner    *member
	writer   *member
	attacker *signing.PrivateKey
	writes   bool // the writer is a signer
	grave    map[string][]byte
	// left are the data keys of former epochs and former datasets.
	left map[envelope.KeyID]bool
	seen map[string]int
}

type member struct {
	signer *signing.PrivateKey
	memory *trust.Dir
}

// A cut breaks an upload off before its n-th object.
type cut struct {
	vault.Store
	n      atomic.Int64
	cancel context.CancelFunc
}

func (c *cut) Unwrap() vault.Store { return c.Store }

func (c *cut) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if c.n.Add(-1) == 0 {
		c.cancel()
	}
	return c.Store.Put(ctx, name, write)
}

func (s *stage) open(m *member, over vault.Store) *dataset.Dataset {
	s.t.Helper()
	keys := []envelope.KeyWrapper{s.local}
	v := &vault.Vault{Store: over, Location: "mem://", Keys: &vault.Keys{Open: keys, Wrap: keys}, Signer: m.signer, Trust: m.memory}
	d, err := dataset.Open(v, "d")
	s.must(err)
	s.t.Cleanup(d.Close)
	return d
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// change makes the next upload of the folder send something.
func (s *stage) change() {
	name := filepath.Join(s.dir, fmt.Sprint("f", s.rng.IntN(6)))
	b := make([]byte, 3000+s.rng.IntN(6000))
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	s.must(os.WriteFile(name, b, 0o644))
	s.must(os.Chtimes(name, time.Time{}, time.Unix(int64(s.rng.IntN(1<<30)), 0)))
}

func (s *stage) bury() {
	for o, err := range s.store.List(s.t.Context(), "d/") {
		s.must(err)
		if strings.HasPrefix(o.Name, "d/pending/") && !strings.HasSuffix(o.Name, codec.LeaseSuffix) || strings.HasPrefix(o.Name, "d/keys/") {
			r, err := s.store.Get(s.t.Context(), o.Name, 0, -1)
			s.must(err)
			b, err := io.ReadAll(r)
			s.must(errors.Join(err, r.Close()))
			s.grave[o.Name] = b
		}
	}
}

func (s *stage) put(name string, b []byte) {
	s.must(s.store.Put(s.t.Context(), name, func(w io.Writer) error { _, err := w.Write(b); return err }))
}

// upload uploads the folder, to the end or not.
func (s *stage) upload(m *member, whole bool) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var over vault.Store = s.store
	if !whole {
		c := &cut{Store: s.store, cancel: cancel}
		c.n.Store(int64(2 + s.rng.IntN(12)))
		over = c
	}
	d := s.open(m, over)
	res, err := uploader.Upload(ctx, d, s.dir, uploader.Options{PackSize: uploader.MinPackSize, Concurrency: 1})
	switch {
	case !whole && err != nil:
		s.seen["broken off"]++
		if !errors.Is(err, context.Canceled) {
			s.t.Fatalf("an upload that was broken off: %v", err)
		}
		return
	case err != nil:
		s.t.Fatalf("an upload: %v", err)
	}
	s.seen["uploaded"]++
	s.seen["went on"] += min(int(res.Stats.ResumedFiles), 1)
	s.compare(m)
}

// packs are those of the newest version.
func (s *stage) packs(m *member) map[envelope.ObjectID]bool {
	all := map[envelope.ObjectID]bool{}
	v, err := s.open(m, s.store).Latest(s.t.Context())
	if errors.Is(err, dataset.ErrUnknownDataset) {
		return all
	}
	s.must(err)
	for e, err := range v.Entries(s.t.Context()) {
		s.must(err)
		for _, x := range e.Extents {
			all[x.Pack.ID] = true
		}
	}
	return all
}

// compare wants the newest version to have what is in the folder, and nothing else.
func (s *stage) compare(m *member) {
	ctx := s.t.Context()
	v, err := s.open(m, s.store).Latest(ctx)
	s.must(err)
	files, err := os.ReadDir(s.dir)
	s.must(err)
	want := map[string]bool{}
	for _, f := range files {
		want[f.Name()] = true
	}
	for e, err := range v.Entries(ctx) {
		s.must(err)
		if !e.IsFile() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.dir, e.Path))
		if err != nil || !want[e.Path] {
			s.t.Fatalf("the version has %s, which is not in the folder", e.Path)
		}
		delete(want, e.Path)
		var b bytes.Buffer
		s.must(v.WriteFile(ctx, &b, e))
		if !bytes.Equal(b.Bytes(), text) {
			s.t.Fatalf("the version has other contents of %s than the folder", e.Path)
		}
	}
	if len(want) > 0 {
		s.t.Fatalf("the version lacks %v", slices.Collect(maps.Keys(want)))
	}
	if s.left[v.KeyID] {
		s.t.Fatalf("the version lies under the data key %s, which was left", v.KeyID)
	}
}

// leave notes the data keys that nothing more is to be sealed under.
func (s *stage) leave() {
	for o, err := range s.store.List(s.t.Context(), "d/keys/") {
		s.must(err)
		id, err := envelope.ParseKeyID(strings.TrimSuffix(filepath.Base(o.Name), filepath.Ext(o.Name)))
		s.must(err)
		s.left[id] = true
	}
}

// forge makes a record of the attacker's, under a data key of the vault: it says that all
// files of the folder are in a pack with other contents.
func (s *stage) forge() {
	ctx := s.t.Context()
	d := s.open(s.owner, s.store)
	v, err := d.Latest(ctx)
	if errors.Is(err, dataset.ErrUnknownDataset) {
		return
	}
	s.must(err)
	set := objects.Of(d)
	key, err := set.Key(ctx, v.KeyID)
	s.must(err)
	pack, err := set.WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(make([]byte, 16<<10)); return err })
	s.must(err)
	var entries []*tree.Entry
	files, err := os.ReadDir(s.dir)
	s.must(err)
	for _, f := range files {
		info, err := f.Info()
		s.must(err)
		entries = append(entries, &tree.Entry{Path: f.Name(), Size: info.Size(), Mode: 0o644, ModTime: info.ModTime(),
			Extents: []tree.Extent{{Pack: &pack, Length: info.Size()}}})
	}
	source := "x"
	r := &codec.Record{}
	upload := fmt.Sprintf("%010d-%026d", v.Number+1, s.rng.Uint32())
	if old := s.genuine(set); old != nil && s.rng.IntN(2) == 0 { // with the certificate of an honest upload
		h, _, err := set.Listed(old)
		s.must(err)
		source, *r = h.Source, *old
	}
	if r.List, err = codec.EncodeList(codec.PendingFormat, "d", source, entries); err != nil {
		s.t.Fatal(err)
	}
	if r.Upload == "" || s.rng.IntN(2) == 0 {
		c, err := chain.New(ctx, "d", s.attacker)
		s.must(err)
		if s.rng.IntN(2) == 0 {
			r.Signers = c.Raw()
		}
		r.Upload, err = c.CertifyUpload(ctx, s.attacker, upload, s.attacker.Public())
		s.must(err)
	}
	r.Signed, err = chain.SignRecord(ctx, s.attacker, upload, 1, r.Sum())
	s.must(err)
	b, err := codec.EncodeRecord(r)
	s.must(err)
	s.must(set.SealData(ctx, key, "d/pending/"+upload+"/00000001.vpk", b))
	s.seen["a record was forged"]++
}

// genuine is a record that an upload has left.
func (s *stage) genuine(set *objects.Set) *codec.Record {
	for o, err := range s.store.List(s.t.Context(), "d/pending/") {
		s.must(err)
		if n, ok := codec.ParsePending(o.Name); ok && !n.Lease {
			if r, _, err := set.ReadRecord(s.t.Context(), o.Name); err == nil {
				return r
			}
		}
	}
	return nil
}

// replay puts back what was in the vault once, some of it under other names.
func (s *stage) replay() {
	for _, name := range slices.Sorted(maps.Keys(s.grave)) {
		if s.rng.IntN(3) > 0 {
			continue
		}
		to := name
		if n, ok := codec.ParsePending(name); ok && s.rng.IntN(4) == 0 {
			to = strings.Replace(name, n.Upload, fmt.Sprintf("%010d-%026d", n.Number+int64(s.rng.IntN(3)), s.rng.Uint32()), 1)
		}
		s.put(to, s.grave[name])
		s.seen["replayed"]++
	}
}

// anew has the owner remove the dataset and everybody forget it.
func (s *stage) anew() {
	ctx := s.t.Context()
	s.leave()
	for o, err := range s.store.List(ctx, "d/") {
		s.must(err)
		s.must(s.store.Delete(ctx, o.Name))
	}
	for _, m := range []*member{s.owner, s.writer} {
		s.must(m.memory.Forget(ctx, "d"))
	}
	s.writes = false
	s.seen["made anew"]++
}

func (s *stage) step() {
	ctx := s.t.Context()
	exists := len(s.packs(s.owner)) > 0
	m := s.owner
	if s.writes && exists && s.rng.IntN(2) == 0 {
		m = s.writer
	}
	switch n := s.rng.IntN(12); {
	case n < 3:
		s.change()
		s.upload(m, true)
	case n < 7:
		s.change()
		s.upload(m, false)
	case n == 7 && exists:
		v, err := rekey.Rotate(ctx, s.open(s.owner, s.store))
		s.must(err)
		s.leave()
		delete(s.left, v.KeyID)
		s.seen["rotated"]++
	case n == 8 && exists && !s.writes:
		_, err := signers.AddWriter(ctx, s.open(s.owner, s.store), s.writer.signer.Public())
		s.must(err)
		s.writes = true
	case n == 9 && exists && s.writes:
		_, err := signers.Remove(ctx, s.open(s.owner, s.store), s.writer.signer.Public().ID().String())
		s.must(err)
		s.writes = false
	case n == 10 && s.rng.IntN(3) == 0:
		s.anew()
	}
	s.bury()
}

// In whatever order uploads are made, broken off and gone on with, data keys rotated,
// signers changed and datasets made anew, and whatever records an attacker puts back, moves
// and forges: a version has what is in the folder that its signer has uploaded, and lies
// under no data key that was left.
func TestRecordsAgainstAnAttacker(t *testing.T) {
	race.Skip(t, "it does one step after the other")
	seen := map[string]int{}
	for seed := range uint64(12) {
		s := &stage{t: t, rng: rand.New(rand.NewPCG(seed, 12)), store: &memstore.Store{}, local: envelope.GenerateLocalKey(), dir: t.TempDir(),
			attacker: signing.GenerateKey(), grave: map[string][]byte{}, left: map[envelope.KeyID]bool{}, seen: seen}
		for i, m := range []**member{&s.owner, &s.writer} {
			*m = &member{signing.GenerateKey(), &trust.Dir{Path: filepath.Join(t.TempDir(), fmt.Sprint(i)), Vault: "mem"}}
		}
		for range 5 {
			s.change()
		}
		for range 40 {
			s.step()
			switch s.rng.IntN(3) {
			case 0:
				s.replay()
			case 1:
				s.forge()
			}
		}
		s.upload(s.owner, true)
	}
	t.Log(seen)
	for _, what := range []string{"broken off", "uploaded", "went on", "rotated", "made anew", "replayed", "a record was forged"} {
		if seen[what] < 5 {
			t.Errorf("%s: %d times only", what, seen[what])
		}
	}
}
