package signers_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/signers"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
	"github.com/vaultpack/vaultpack/vault"
)

// A person has a signing key, and a machine that remembers datasets. All of them can
// read: they have the local key.
type person struct {
	signer *signing.PrivateKey
	memory *trust.Dir
}

// A world is a vault with one dataset, and what is true of it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	store  *memstore.Store
	local  *envelope.LocalKey
	people []*person
	// owners and writers are those of the newest version.
	owners, writers []signing.PublicKey
	// honest are the digests of what was made by those who might, by number.
	honest map[int64]string
	newest int64
	// past is the root of each version, as it was written.
	past map[int64][]byte
	// rotated are the data keys of earlier epochs, and made who has made each.
	rotated map[envelope.KeyID]bool
	made    map[envelope.KeyID]signing.PublicKey
	seen    map[string]int
}

func (w *world) open(p *person, remembers bool) *dataset.Dataset {
	w.t.Helper()
	keys := []envelope.KeyWrapper{w.local}
	v := &vault.Vault{Store: w.store, Location: "mem://", Keys: &vault.Keys{Open: keys, Wrap: keys}, Signer: p.signer}
	if remembers {
		v.Trust = p.memory
	}
	d, err := dataset.Open(v, "d")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(d.Close)
	return d
}

// push makes a version with one file.
func (w *world) push(p *person) (*dataset.Version, error) { return w.pushWhile(p, func() {}) }

// race has others do something while a version is made: of two who have begun on the same
// version one wins, whoever is a signer by then.
func (w *world) race() {
	may := slices.Concat(w.owners, w.writers)
	key := may[w.rng.IntN(len(may))]
	p := w.people[slices.IndexFunc(w.people, func(p *person) bool { return p.signer.Public() == key })]
	before := w.newest
	v, err := w.pushWhile(p, w.step)
	if w.newest == before {
		w.took("push", p, v, err, true)
		return
	}
	w.seen["lost a race"]++
	if !errors.Is(err, dataset.ErrConflict) {
		w.t.Errorf("two signers have made version %d: %v", before+1, err)
	}
}

// pushWhile is push, with something else between its begin and its commit.
func (w *world) pushWhile(p *person, meanwhile func()) (*dataset.Version, error) {
	ctx := w.t.Context()
	d := w.open(p, true)
	l, err := commit.Begin(ctx, d, "push")
	if err != nil {
		return nil, err
	}
	defer l.End(ctx)
	key, err := l.SealingKey(ctx)
	if err != nil {
		return nil, err
	}
	switch by, ok := w.made[key.ID()]; {
	case w.rotated[key.ID()]:
		w.t.Errorf("an upload is sealed under %s, which was rotated away", key.ID())
	case !ok:
		w.made[key.ID()] = p.signer.Public()
	case by != p.signer.Public() && !slices.Contains(w.owners, by):
		w.t.Errorf("an upload by %v is sealed under a data key of the writer %v", p.signer, by.ID().Short())
	}
	pack, err := objects.Of(d).WritePack(ctx, key, func(to io.Writer) error { _, err := io.WriteString(to, "text"); return err })
	if err != nil {
		return nil, err
	}
	index := commit.NewIndex(d, key, nil)
	e := &tree.Entry{Path: fmt.Sprint(w.rng.Uint64()), Mode: 0o644, Size: 4, ModTime: time.Unix(1, 0), Extents: []tree.Extent{{Pack: &pack, Length: 4}}}
	if err := index.Add(ctx, e, commit.Step{}); err != nil {
		return nil, err
	}
	c, _, err := index.Finish(ctx)
	if err != nil {
		return nil, err
	}
	meanwhile()
	return l.Commit(ctx, key, c)
}

// took notes what a step has made. It fails if somebody did what he may not, or could
// not do what he may.
func (w *world) took(what string, p *person, v *dataset.Version, err error, may bool) bool {
	w.t.Helper()
	var not *dataset.NotSignerError
	switch {
	case may && err != nil:
		w.t.Fatalf("%s: %v", what, err)
	case !may && !errors.As(err, &not):
		w.t.Fatalf("%s, by somebody who may not: %v", what, err)
	case !may:
		w.seen["refused"]++
		return false
	}
	w.seen[what]++
	if _, ok := w.made[v.KeyID]; !ok {
		w.made[v.KeyID] = p.signer.Public()
	}
	w.newest = v.Number
	w.honest[v.Number] = v.Digest()
	b, err := objects.Of(w.open(w.people[0], false)).Get(w.t.Context(), objects.Of(w.open(w.people[0], false)).VersionName(v.Number), codec.MaxRoot)
	if err != nil {
		w.t.Fatal(err)
	}
	w.past[v.Number] = b
	return true
}

// step has somebody do something.
func (w *world) step() {
	ctx := w.t.Context()
	p := w.people[w.rng.IntN(len(w.people))]
	if may := slices.Concat(w.owners, w.writers); w.rng.IntN(2) == 0 {
		key := may[w.rng.IntN(len(may))]
		p = w.people[slices.IndexFunc(w.people, func(p *person) bool { return p.signer.Public() == key })]
	}
	other := w.people[w.rng.IntN(len(w.people))].signer.Public()
	owner := slices.Contains(w.owners, p.signer.Public())
	switch w.rng.IntN(8) {
	case 0, 1, 2:
		v, err := w.push(p)
		w.took("push", p, v, err, owner || slices.Contains(w.writers, p.signer.Public()))
	case 3:
		makeOwner := w.rng.IntN(3) == 0
		add := signers.AddWriter
		if makeOwner {
			add = signers.AddOwner
		}
		v, err := add(ctx, w.open(p, true), other)
		there := makeOwner && slices.Contains(w.owners, other) || !makeOwner && slices.Contains(w.writers, other)
		last := !makeOwner && len(w.owners) == 1 && w.owners[0] == other
		if owner && (there || last) {
			if err == nil {
				w.t.Fatal("a change that changes nothing, or leaves no owner, was made")
			}
			return
		}
		if w.took("add", p, v, err, owner) {
			w.drop(other)
			if makeOwner {
				w.owners = append(w.owners, other)
			} else {
				w.writers = append(w.writers, other)
			}
		}
	case 4, 7:
		v, err := signers.Remove(ctx, w.open(p, true), other.ID().String())
		if owner && (!slices.Contains(append(slices.Clone(w.owners), w.writers...), other) || other == p.signer.Public()) {
			if err == nil {
				w.t.Fatal("somebody was removed who is not there, or by himself")
			}
			return
		}
		if w.took("remove", p, v, err, owner) {
			w.drop(other)
		}
	case 5:
		v, err := rekey.Rotate(ctx, w.open(p, true))
		if w.took("rotate", p, v, err, owner) {
			for id := range w.made {
				w.rotated[id] = id != v.KeyID
			}
		}
	case 6:
		v, err := w.open(p, true).Latest(ctx)
		if err != nil || v.Digest() != w.honest[w.newest] {
			w.t.Fatalf("the newest version is not believed: %v", err)
		}
	}
}

func (w *world) drop(key signing.PublicKey) {
	is := func(k signing.PublicKey) bool { return k == key }
	w.owners, w.writers = slices.DeleteFunc(w.owners, is), slices.DeleteFunc(w.writers, is)
}

func (w *world) put(number int64, b []byte) {
	w.t.Helper()
	d := w.open(w.people[0], false)
	if err := w.store.Put(w.t.Context(), objects.Of(d).VersionName(number), func(to io.Writer) error { _, err := to.Write(b); return err }); err != nil {
		w.t.Fatal(err)
	}
}

// forge makes a root as somebody does who has all data keys and is no signer (any more):
// the chain is cut before the link, and the version after it is signed by the key. It is
// nil if no such thing can be made.
func (w *world) forge(number int64, s signing.Signer, cut int, anew bool) []byte {
	ctx := w.t.Context()
	d := w.open(w.people[0], false)
	v, err := d.Version(ctx, w.newest)
	if err != nil {
		w.t.Fatal(err)
	}
	r := objects.RootOf(v)
	raw, id := r.Chain.Raw()[:cut], v.KeyID
	keys := []string{}
	c, err := chain.Parse("d", raw, nil)
	if anew {
		c, err = chain.New(ctx, "d", s)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if c.Last().Role(s.Public()) == chain.None {
		return nil
	}
	key, err := objects.Of(d).Key(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	commitment, err := key.Commitment()
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := c.Grant(ctx, s, id, commitment)
	if err != nil {
		w.t.Fatal(err)
	}
	keys = append(keys, g.Raw())
	root := &codec.Root{Number: number, Created: time.Unix(w.rng.Int64N(1<<33), 0).UTC(), Signers: c.Raw(), Keys: keys,
		Parent: v.Number, ParentPin: v.Pin}
	if number <= v.Number {
		root.Parent, root.ParentPin = 0, envelope.Pin{}
	}
	b, err := objects.SignRoot(ctx, "d", root, c, s)
	if err != nil {
		w.t.Fatal(err)
	}
	var sealed bytes.Buffer
	to, err := envelope.NewWriter(&sealed, envelope.KindVersion, key)
	if err == nil {
		_, err = to.Write(b)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		w.t.Fatal(err)
	}
	return sealed.Bytes()
}

// attack does something to the vault, asks readers, and undoes it.
func (w *world) attack(stranger *person) {
	ctx := w.t.Context()
	d := objects.Of(w.open(w.people[0], false))
	v, err := w.open(w.people[0], false).Version(ctx, w.newest)
	if err != nil {
		w.t.Fatal(err)
	}
	links := len(objects.RootOf(v).Chain.Links())
	// Who has been a signer once and is none now, or never was one.
	attacker := stranger
	var gone []*person
	for _, p := range w.people {
		if !slices.Contains(append(slices.Clone(w.owners), w.writers...), p.signer.Public()) {
			gone = append(gone, p)
		}
	}
	if len(gone) > 0 && w.rng.IntN(4) > 0 {
		attacker = gone[w.rng.IntN(len(gone))]
	}
	number, fresh := w.newest+1, true // whether a reader without memory finds it too
	var b []byte
	what := ""
	switch w.rng.IntN(5) {
	case 0:
		what, b = "a chain of the attacker's", w.forge(number, attacker.signer, links, true)
	case 1, 2:
		what, b = "a chain cut before he was removed", w.forge(number, attacker.signer, 1+w.rng.IntN(links), false)
		fresh = w.newest > 1
	case 3:
		old := int64(1 + w.rng.IntN(int(w.newest)))
		what, b = "an old root under a new number", w.past[old]
		if old == number {
			return
		}
	case 4:
		what, number, fresh = "the newest removed", w.newest, false
	}
	if what != "the newest removed" && b == nil {
		return
	}
	w.seen[what]++
	if b != nil {
		w.put(number, b)
	} else if err := w.store.Delete(ctx, d.VersionName(number)); err != nil {
		w.t.Fatal(err)
	}
	knows := w.people[w.rng.IntN(len(w.people))] // as far as he has looked
	known, err := knows.memory.Recall(ctx, "d")
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := w.open(knows, true).Latest(ctx)
	switch {
	case err == nil && got.Digest() != w.honest[got.Number]:
		w.t.Errorf("%s by %v: a reader who remembers %d links and version %d believes it", what, attacker.signer, len(known.Links), known.Number)
	case err == nil && got.Number < known.Number:
		w.t.Errorf("%s: a reader who has seen version %d takes %d for the newest", what, known.Number, got.Number)
	case err != nil && !errors.Is(err, envelope.ErrAuthentication) && !errors.Is(err, dataset.ErrUnknownDataset):
		w.t.Errorf("%s: %v", what, err)
	}
	if fresh {
		if got, err := w.open(stranger, false).Latest(ctx); err == nil && got.Digest() != w.honest[got.Number] {
			w.t.Errorf("%s by %v: a reader who remembers nothing believes it, beside the versions of the owner", what, attacker.signer)
		}
	}
	if b != nil {
		if err := w.store.Delete(ctx, d.VersionName(number)); err != nil {
			w.t.Fatal(err)
		}
	} else {
		w.put(number, w.past[number])
	}
}

// Owners and writers come and go, rotate and push in any order, and attackers who hold all
// data keys and the signing keys of those who were removed do what they can: nobody makes
// a version who may not, nobody who remembers anything believes one, and nothing is sealed
// under a key that a rotation has left behind or another writer has made.
func TestSignersAgainstAModel(t *testing.T) {
	race.Skip(t, "it does one step after the other")
	seen := map[string]int{}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 14)), store: &memstore.Store{}, local: envelope.GenerateLocalKey(), seen: seen,
				honest: map[int64]string{}, past: map[int64][]byte{}, rotated: map[envelope.KeyID]bool{}, made: map[envelope.KeyID]signing.PublicKey{}}
			dir := t.TempDir()
			for i := range 5 {
				w.people = append(w.people, &person{signing.GenerateKey(), &trust.Dir{Path: fmt.Sprintf("%s/%d", dir, i), Vault: "mem"}})
			}
			stranger := &person{signer: signing.GenerateKey()}
			v, err := w.push(w.people[0])
			w.owners = []signing.PublicKey{w.people[0].signer.Public()}
			w.took("push", w.people[0], v, err, true)
			for range 40 {
				if w.rng.IntN(5) == 0 {
					w.race()
				} else {
					w.step()
				}
				w.attack(stranger)
				if t.Failed() {
					return
				}
			}
		})
	}
	t.Log(seen)
	for _, what := range []string{"push", "add", "remove", "rotate", "refused", "a chain of the attacker's", "a chain cut before he was removed",
		"an old root under a new number", "the newest removed", "lost a race"} {
		if seen[what] < 5 {
			t.Errorf("%s: %d times only", what, seen[what])
		}
	}
}
