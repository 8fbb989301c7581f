package dataset_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/signers"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
	"github.com/vaultpack/vaultpack/vault"
)

// A stage is a dataset with two versions, of which a reader remembers what it has seen.
type stage struct {
	*testing.T
	d      *dataset.Dataset
	v1, v2 *dataset.Version
	owner  *signing.PrivateKey
	memory *trust.Dir
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, d: datasettest.New(t), owner: signing.GenerateKey(), memory: &trust.Dir{Path: filepath.Join(t.TempDir(), "known"), Vault: "v"}}
	s.d.Vault().Signer = s.owner
	s.v1 = datasettest.Packed(t, s.d, []string{"a"}, map[string]string{"a": "1"})
	s.v2 = datasettest.Packed(t, s.d, []string{"a"}, map[string]string{"a": "2"})
	return s
}

// reader opens the dataset as somebody with a memory does.
func (s *stage) reader(memory trust.Memory) *dataset.Dataset {
	s.Helper()
	v := *s.d.Vault()
	v.Trust = memory
	d, err := dataset.Open(&v, s.d.Name)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(d.Close)
	return d
}

// put stores a root in the place of a version, signed by a key under a chain.
func (s *stage) put(number int64, r *codec.Root, c *chain.Chain, by signing.Signer) envelope.Pin {
	s.Helper()
	set := objects.Of(s.v2)
	r.Number = number
	r.Signers = c.Raw()
	b, err := objects.SignRoot(s.Context(), set.Name, r, c, by)
	if err != nil {
		s.Fatal(err)
	}
	key, err := set.Key(s.Context(), s.v2.KeyID)
	if err != nil {
		s.Fatal(err)
	}
	var pin envelope.Pin
	err = set.Vault.Put(s.Context(), set.VersionName(number), func(to io.Writer) error {
		w, err := envelope.NewWriter(to, envelope.KindVersion, key)
		if err != nil {
			return err
		}
		defer w.Abort()
		if _, err := w.Write(b); err != nil {
			return err
		}
		err = w.Close()
		pin = w.Pin()
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return pin
}

// like is a root with the contents of another.
func like(v *dataset.Version) *codec.Root {
	r := *objects.RootOf(v).Root
	r.Created = time.Now().UTC()
	return &r
}

func (s *stage) refused(d *dataset.Dataset, number int64, what string) {
	s.Helper()
	if _, err := d.Version(s.Context(), number); !errors.Is(err, envelope.ErrAuthentication) {
		s.Errorf("%s: %v", what, err)
	}
}

// Who was removed, or is a stranger, signs no version, whatever the chain in it.
func TestFormerSignersSignNothing(t *testing.T) {
	s := newStage(t)
	second := signing.GenerateKey()
	if _, err := signers.AddOwner(t.Context(), s.d, second.Public()); err != nil {
		t.Fatal(err)
	}
	s.d.Vault().Signer = second
	last, err := signers.Remove(t.Context(), s.d, s.owner.Public().ID().String())
	if err != nil {
		t.Fatal(err)
	}
	c := objects.RootOf(last).Chain
	for what, by := range map[string]signing.Signer{"the first owner, who was removed": s.owner, "a stranger": signing.GenerateKey()} {
		s.put(last.Number+1, like(last), c, by)
		s.refused(s.reader(nil), last.Number+1, what)
	}
	s.put(last.Number+1, like(last), c, second)
	if _, err := s.reader(nil).Version(t.Context(), last.Number+1); err != nil {
		t.Errorf("an owner: %v", err)
	}
}

// A version that was seen is the only one of its number, also where a signer has made the
// other.
func TestOneVersionOfANumber(t *testing.T) {
	s := newStage(t)
	if _, err := s.reader(s.memory).Version(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	r := like(s.v2)
	r.Message = "another"
	s.put(2, r, objects.RootOf(s.v2).Chain, s.owner)
	s.refused(s.reader(s.memory), 2, "another version 2")
	if _, err := s.reader(nil).Version(t.Context(), 2); err != nil {
		t.Errorf("a reader who has not seen the first: %v", err)
	}
	d := s.reader(nil)
	if _, err := d.Choose(t.Context(), dataset.Choice{Number: 2, Digest: s.v2.Digest()}); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("by its digest: %v", err)
	}
}

// Where keys are named to believe, one of them has signed the version or its signers.
func TestNamedSigners(t *testing.T) {
	s := newStage(t)
	writer := signing.GenerateKey()
	if _, err := signers.AddWriter(t.Context(), s.d, writer.Public()); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		keys []signing.PublicKey
		ok   bool
	}{
		"the owner":                  {[]signing.PublicKey{s.owner.Public()}, true},
		"the owner and a stranger":   {[]signing.PublicKey{signing.GenerateKey().Public(), s.owner.Public()}, true},
		"a stranger":                 {[]signing.PublicKey{signing.GenerateKey().Public()}, false},
		"a writer who signed it not": {[]signing.PublicKey{writer.Public()}, false},
	} {
		d := s.reader(&trust.Pinned{Signers: c.keys})
		if _, err := d.Latest(t.Context()); (err == nil) != c.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// After new signers were begun, the versions of before are believed because the newest leads
// to them: not those that another in its place leads to.
func TestWhatLeadsToAVersion(t *testing.T) {
	s := newStage(t)
	attacker := signing.GenerateKey()
	forged, err := chain.New(t.Context(), "d", attacker)
	if err != nil {
		t.Fatal(err)
	}
	s.d.Vault().Signer = signing.GenerateKey()
	v3, err := signers.Init(t.Context(), s.d)
	if err != nil {
		t.Fatal(err)
	}
	seen := func(memory trust.Memory) {
		t.Helper()
		if _, err := s.reader(memory).Choose(t.Context(), dataset.Choice{Number: 3, Digest: v3.Digest()}); err != nil {
			t.Fatal(err)
		}
	}
	seen(s.memory)
	if _, err := s.reader(s.memory).Version(t.Context(), 2); err != nil {
		t.Errorf("the version that the newest leads to: %v", err)
	}
	grants := func(r *codec.Root) *codec.Root {
		r.Keys = nil
		for _, g := range objects.RootOf(v3).Grants {
			g, err := forged.ReadWith(t.Context(), attacker, g)
			if err != nil {
				t.Fatal(err)
			}
			r.Keys = append(r.Keys, g.Raw())
		}
		return r
	}
	fresh := &trust.Dir{Path: filepath.Join(t.TempDir(), "known"), Vault: "v"}
	seen(fresh)
	pin := s.put(2, grants(like(s.v2)), forged, attacker)
	r := grants(like(v3))
	r.Parent, r.ParentPin = 2, pin
	s.put(3, r, forged, attacker)
	s.refused(s.reader(fresh), 3, "another version 3")
	s.refused(s.reader(fresh), 2, "what another version 3 leads to")
}

// All that a version names is under data keys that it grants, and a data key is the one that
// was granted.
func TestGrantedKeys(t *testing.T) {
	s := newStage(t)
	r := like(s.v2)
	r.Parts = append([]tree.Part{}, r.Parts...)
	r.Parts[0].KeyID = envelope.KeyID{1}
	s.put(3, r, objects.RootOf(s.v2).Chain, s.owner)
	s.refused(s.reader(nil), 3, "a part under another data key")
	set := objects.Of(s.reader(nil))
	other := sha256.Sum256(nil)
	if err := set.Vouch([]chain.Grant{{KeyID: s.v2.KeyID, Commitment: other}}); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Key(t.Context(), s.v2.KeyID); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("another data key of the ID: %v", err)
	}
	set = objects.Of(s.reader(nil))
	if _, err := set.Key(t.Context(), s.v2.KeyID); err != nil {
		t.Fatal(err)
	}
	if err := set.Vouch([]chain.Grant{{KeyID: s.v2.KeyID, Commitment: other}}); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a grant of another data key than is open: %v", err)
	}
}

// A reader who has not seen that a signer was removed sees it in the version before.
func TestReaderWhoMissedARemoval(t *testing.T) {
	s := newStage(t)
	second := signing.GenerateKey()
	v3, err := signers.AddOwner(t.Context(), s.d, second.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.reader(s.memory).Choose(t.Context(), dataset.Choice{Number: 3, Digest: v3.Digest()}); err != nil {
		t.Fatal(err)
	}
	s.d.Vault().Signer = second
	v4, err := signers.Remove(t.Context(), s.d, s.owner.Public().ID().String())
	if err != nil {
		t.Fatal(err)
	}
	cut, err := chain.Parse(s.d.Name, objects.RootOf(v4).Chain.Raw()[:2], nil)
	if err != nil {
		t.Fatal(err)
	}
	r := like(v4)
	r.Parent, r.ParentPin = 4, v4.Pin
	s.put(5, r, cut, s.owner)
	s.refused(s.reader(s.memory), 5, "by its number")
	if _, err := s.reader(s.memory).Latest(t.Context()); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("as the newest: %v", err)
	}
	if err := s.d.Vault().Delete(t.Context(), objects.Of(s.v2).VersionName(5)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.reader(s.memory).Latest(t.Context()); err != nil || got.Digest() != v4.Digest() {
		t.Errorf("the newest that is right: %v", err)
	}
}

// A listing is a store that does something once after it has listed versions.
type listing struct {
	vault.Store
	then func()
}

func (l *listing) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		var all []vault.Object
		for o, err := range l.Store.List(ctx, prefix) {
			if err != nil {
				yield(o, err)
				return
			}
			all = append(all, o)
		}
		if then := l.then; then != nil {
			l.then = nil
			then()
		}
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// A version that another process of this user makes, and remembers, while this one has just
// listed the versions, is no rollback.
func TestVersionMadeMeanwhile(t *testing.T) {
	s := newStage(t)
	if _, err := s.reader(s.memory).Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := false
	v := *s.d.Vault()
	v.Trust = s.memory
	v.Store = &listing{v.Store, func() {
		other := s.reader(s.memory)
		datasettest.Packed(t, s.d, []string{"a"}, map[string]string{"a": "3"})
		if got, err := other.Latest(t.Context()); err != nil || got.Number != 3 {
			t.Fatal(err)
		}
		made = true
	}}
	d, err := dataset.Open(&v, s.d.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.Latest(t.Context()); err != nil || !made || got.Number < 2 {
		t.Errorf("%v, %v", made, err)
	}
}
