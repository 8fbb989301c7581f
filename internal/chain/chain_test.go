package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// A cast is a chain of two links, and keys: a was the first owner, b is one since the second
// link, w a writer since then, and nobody knows x.
type cast struct {
	t          testing.TB
	a, b, w, x *signing.PrivateKey
	chain      *Chain
}

func newCast(t testing.TB) *cast {
	t.Helper()
	c := &cast{t: t, a: signing.GenerateKey(), b: signing.GenerateKey(), w: signing.GenerateKey(), x: signing.GenerateKey()}
	first, err := New(context.Background(), "d", c.a)
	if err == nil {
		c.chain, err = first.Extend(context.Background(), c.a, 3, func(l *Link) error {
			l.Owners, l.Writers, l.Epoch = append(l.Owners, c.b.Public()), []signing.PublicKey{c.w.Public()}, 1
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sign is a payload signed by a key.
func (c *cast) sign(payloadType string, payload []byte, by signing.Signer) string {
	c.t.Helper()
	raw, err := signing.Sign(context.Background(), by, payloadType, payload)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// third is the link that comes after those of the chain.
func (c *cast) third() linkJSON {
	l := c.chain.Last()
	return linkJSON{linkFormat, "d", l.ID, 3, l.Digest, time.Now().UTC().Truncate(time.Second), 5, 1, l.Owners, l.Writers}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A link with any one fault is refused, and without one taken.
func TestLinks(t *testing.T) {
	c := newCast(t)
	reversed := func(keys []signing.PublicKey) []signing.PublicKey {
		keys = slices.Clone(keys)
		slices.Reverse(keys)
		return keys
	}
	two := sorted([]signing.PublicKey{c.w.Public(), c.x.Public()}, func(a, b signing.PublicKey) int { return strings.Compare(a.ID().String(), b.ID().String()) })
	many := make([]signing.PublicKey, 0, MaxMembers)
	for range MaxMembers {
		many = append(many, signing.GenerateKey().Public())
	}
	many = sorted(many, func(a, b signing.PublicKey) int { return strings.Compare(a.ID().String(), b.ID().String()) })
	for name, test := range map[string]struct {
		by     signing.Signer
		change func(*linkJSON)
		ok     bool
	}{
		"as it is":                  {c.a, func(*linkJSON) {}, true},
		"by the other owner":        {c.b, func(*linkJSON) {}, true},
		"two writers":               {c.a, func(l *linkJSON) { l.Writers = two }, true},
		"no writers":                {c.a, func(l *linkJSON) { l.Writers = []signing.PublicKey{} }, true},
		"another epoch":             {c.a, func(l *linkJSON) { l.Epoch = 7 }, true},
		"by a writer":               {c.w, func(*linkJSON) {}, false},
		"by a stranger":             {c.x, func(*linkJSON) {}, false},
		"by a stranger who is one":  {c.x, func(l *linkJSON) { l.Owners = []signing.PublicKey{c.x.Public()} }, false},
		"another format":            {c.a, func(l *linkJSON) { l.Format = grantFormat }, false},
		"another dataset":           {c.a, func(l *linkJSON) { l.Dataset = "e" }, false},
		"another chain":             {c.a, func(l *linkJSON) { l.ID = strings.Repeat("0", 32) }, false},
		"no ID":                     {c.a, func(l *linkJSON) { l.ID = "" }, false},
		"the number of the second":  {c.a, func(l *linkJSON) { l.Sequence = 2 }, false},
		"a number left out":         {c.a, func(l *linkJSON) { l.Sequence = 4 }, false},
		"after the first":           {c.a, func(l *linkJSON) { l.Previous = c.chain.At(1).Digest }, false},
		"after none":                {c.a, func(l *linkJSON) { l.Previous = "" }, false},
		"before the second's":       {c.a, func(l *linkJSON) { l.After = 2 }, false},
		"before any version":        {c.a, func(l *linkJSON) { l.After = -1 }, false},
		"the epoch before":          {c.a, func(l *linkJSON) { l.Epoch = 0 }, false},
		"no owner":                  {c.a, func(l *linkJSON) { l.Owners = []signing.PublicKey{} }, false},
		"no owner, and no list":     {c.a, func(l *linkJSON) { l.Owners = nil }, false},
		"no list of writers":        {c.a, func(l *linkJSON) { l.Writers = nil }, false},
		"an owner twice":            {c.a, func(l *linkJSON) { l.Owners = []signing.PublicKey{c.a.Public(), c.a.Public()} }, false},
		"an owner that is a writer": {c.a, func(l *linkJSON) { l.Writers = []signing.PublicKey{c.a.Public()} }, false},
		"owners in another order":   {c.a, func(l *linkJSON) { l.Owners = reversed(l.Owners) }, false},
		"writers in another order":  {c.a, func(l *linkJSON) { l.Writers = reversed(two) }, false},
		"too many":                  {c.a, func(l *linkJSON) { l.Writers = many }, false},
		"of another time zone":      {c.a, func(l *linkJSON) { l.Created = l.Created.In(time.FixedZone("", 3600)) }, false},
	} {
		l := c.third()
		test.change(&l)
		raw := append(c.chain.Raw(), c.sign(linkPayload, marshal(t, l), test.by))
		for what, known := range map[string]*Chain{"nothing": nil, "the chain": c.chain} {
			got, err := Parse("d", raw, known)
			if (err == nil) != test.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
				t.Errorf("%s, knowing %s: %v", name, what, err)
			}
			if err == nil && (len(got.Links()) != 3 || got.Last().After != 5) {
				t.Errorf("%s: %+v", name, got.Last())
			}
		}
	}
	// The first link vouches for itself, and for little else.
	for name, test := range map[string]struct {
		by     signing.Signer
		change func(*linkJSON)
		ok     bool
	}{
		"as it is":             {c.x, func(*linkJSON) {}, true},
		"by another":           {c.a, func(*linkJSON) {}, false},
		"with writers":         {c.x, func(l *linkJSON) { l.Writers = []signing.PublicKey{c.w.Public()} }, false},
		"after a version":      {c.x, func(l *linkJSON) { l.After = 1 }, false},
		"of a later epoch":     {c.x, func(l *linkJSON) { l.Epoch = 1 }, false},
		"after another":        {c.x, func(l *linkJSON) { l.Previous = c.chain.Last().Digest }, false},
		"of a later number":    {c.x, func(l *linkJSON) { l.Sequence = 2 }, false},
		"of another dataset":   {c.x, func(l *linkJSON) { l.Dataset = "e" }, false},
		"with an owner beside": {c.x, func(l *linkJSON) { l.Owners = append(l.Owners, c.w.Public()) }, false},
	} {
		l := linkJSON{linkFormat, "d", strings.Repeat("1", 32), 1, "", time.Now().UTC().Truncate(time.Second), 0, 0, []signing.PublicKey{c.x.Public()}, []signing.PublicKey{}}
		if test.change(&l); name == "with an owner beside" && l.check() == nil {
			continue // it happens to be in order, and is one that two own from the beginning
		}
		if _, err := Parse("d", []string{c.sign(linkPayload, marshal(t, l), test.by)}, nil); (err == nil) != test.ok {
			t.Errorf("the first link, %s: %v", name, err)
		}
	}
	for name, raw := range map[string][]string{"no link": nil, "the second alone": c.chain.Raw()[1:], "the second twice": append(c.chain.Raw(), c.chain.Raw()[1]),
		"too many": slices.Repeat([]string{c.chain.Raw()[0]}, MaxLinks+1)} {
		if _, err := Parse("d", raw, nil); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// There is one encoding of what is signed: another that says the same is refused, also
// where the right key has signed it.
func TestOneEncoding(t *testing.T) {
	c := newCast(t)
	link := marshal(t, c.third())
	g, err := c.chain.Grant(t.Context(), c.a, envelope.KeyID{1}, [32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	_, grant, err := signing.Unverified([]byte(g.Raw()))
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.chain.Delegate(t.Context(), c.a, Delegation{Purpose: ForJob, Name: "j", Key: c.x.Public(), NotAfter: time.Now(), UpTo: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, delegation, err := signing.Unverified([]byte(d.Raw()))
	if err != nil {
		t.Fatal(err)
	}
	parse := map[string]func(payload []byte, payloadType string) error{
		linkPayload: func(b []byte, typ string) error {
			_, err := Parse("d", append(c.chain.Raw(), c.sign(typ, b, c.a)), nil)
			return err
		},
		grantPayload:      func(b []byte, typ string) error { _, err := c.chain.ParseGrant(c.sign(typ, b, c.a)); return err },
		delegationPayload: func(b []byte, typ string) error { _, err := c.chain.ParseDelegation(c.sign(typ, b, c.a)); return err },
	}
	for typ, payload := range map[string][]byte{linkPayload: link, grantPayload: grant, delegationPayload: delegation} {
		if err := parse[typ](payload, typ); err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, payload, "", " "); err != nil {
			t.Fatal(err)
		}
		end := payload[:len(payload)-1]
		for name, other := range map[string][]byte{
			"white space": indented.Bytes(), "a newline": append(slices.Clone(payload), '\n'), "another field": append(slices.Clone(end), `,"x":1}`...),
			"a field twice": append(slices.Clone(end), `,"dataset":"d"}`...), "more behind it": append(slices.Clone(payload), payload...),
			"a field in capitals": bytes.Replace(payload, []byte(`"dataset"`), []byte(`"Dataset"`), 1), "escaped": bytes.Replace(payload, []byte(`"d"`), []byte(`"\u0064"`), 1),
			"cut": end, "empty": {}, "an array": []byte("[]"), "null": []byte("null"),
		} {
			if err := parse[typ](other, typ); !errors.Is(err, envelope.ErrAuthentication) {
				t.Errorf("%s, %s: %v", typ, name, err)
			}
		}
		for other := range parse {
			if other != typ && parse[typ](payload, other) == nil {
				t.Errorf("a %s is taken for a %s", other, typ)
			}
		}
	}
}

// A grant counts if somebody has made it who was a signer then, in this chain; and who may
// seal under it depends on whose it is, and on the epoch.
func TestGrants(t *testing.T) {
	c := newCast(t)
	l := c.chain.Last()
	sound := grantJSON{grantFormat, "d", l.ID, envelope.KeyID{1}.String(), make([]byte, 32), 1, 2, false}
	for name, test := range map[string]struct {
		by     signing.Signer
		change func(*grantJSON)
		ok     bool
	}{
		"by an owner":            {c.a, func(*grantJSON) {}, true},
		"by a writer":            {c.w, func(*grantJSON) {}, true},
		"to read with":           {c.w, func(g *grantJSON) { g.ReadOnly = true }, true},
		"of the first link":      {c.a, func(g *grantJSON) { g.Sequence, g.Epoch = 1, 0 }, true},
		"by a stranger":          {c.x, func(*grantJSON) {}, false},
		"before it was a signer": {c.w, func(g *grantJSON) { g.Sequence, g.Epoch = 1, 0 }, false},
		"of a later link":        {c.a, func(g *grantJSON) { g.Sequence = 3 }, false},
		"of no link":             {c.a, func(g *grantJSON) { g.Sequence = 0 }, false},
		"of another epoch":       {c.a, func(g *grantJSON) { g.Epoch = 0 }, false},
		"of a later epoch":       {c.a, func(g *grantJSON) { g.Epoch = 2 }, false},
		"of another dataset":     {c.a, func(g *grantJSON) { g.Dataset = "e" }, false},
		"of another chain":       {c.a, func(g *grantJSON) { g.ID = strings.Repeat("0", 32) }, false},
		"of another format":      {c.a, func(g *grantJSON) { g.Format = linkFormat }, false},
		"of no key":              {c.a, func(g *grantJSON) { g.KeyID = "1" }, false},
		"of a short commitment":  {c.a, func(g *grantJSON) { g.Commit = g.Commit[1:] }, false},
	} {
		g := sound
		test.change(&g)
		if _, err := c.chain.ParseGrant(c.sign(grantPayload, marshal(t, g), test.by)); (err == nil) != test.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
	grant := func(by signing.Signer, change func(*grantJSON)) Grant {
		g := sound
		change(&g)
		got, err := c.chain.ParseGrant(c.sign(grantPayload, marshal(t, g), by))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(*grantJSON) {}
	for name, test := range map[string]struct {
		grant  Grant
		signer signing.PublicKey
		may    bool
	}{
		"an owner's, by another owner":   {grant(c.a, same), c.b.Public(), true},
		"an owner's, by a writer":        {grant(c.a, same), c.w.Public(), true},
		"a writer's own":                 {grant(c.w, same), c.w.Public(), true},
		"a writer's, by an owner":        {grant(c.w, same), c.a.Public(), false},
		"an owner's, to read with":       {grant(c.a, func(g *grantJSON) { g.ReadOnly = true }), c.a.Public(), false},
		"an owner's, of an epoch before": {grant(c.a, func(g *grantJSON) { g.Sequence, g.Epoch = 1, 0 }), c.a.Public(), false},
	} {
		if got := c.chain.MaySeal(test.grant, test.signer); got != test.may {
			t.Errorf("%s: %v", name, got)
		}
	}
	removed, err := c.chain.Extend(t.Context(), c.b, 4, func(l *Link) error { l.Owners = []signing.PublicKey{c.b.Public()}; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if removed.MaySeal(grant(c.a, same), c.b.Public()) {
		t.Error("under the key of an owner who was removed")
	}
	// Who signs may not, or has nothing to give.
	if _, err := c.chain.Grant(t.Context(), c.x, envelope.KeyID{1}, [32]byte{}); err == nil {
		t.Error("a stranger grants")
	}
	if _, err := c.chain.TakeOver(t.Context(), c.a, grant(c.w, same)); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("another's grant is taken over: %v", err)
	}
	if _, err := c.chain.Extend(t.Context(), c.w, 5, func(*Link) error { return nil }); !errors.Is(err, ErrNotOwner) {
		t.Error(err)
	}
}

// A delegation counts if a signer of now has made it, who was one then, and covers what it
// says.
func TestDelegations(t *testing.T) {
	c := newCast(t)
	l, now := c.chain.Last(), time.Now().UTC().Truncate(time.Second)
	sound := delegationJSON{delegationFormat, "d", l.ID, ForJob, "j", c.x.Public(), now, 7, 2}
	for name, test := range map[string]struct {
		by     signing.Signer
		change func(*delegationJSON)
		ok     bool
	}{
		"by an owner":            {c.a, func(*delegationJSON) {}, true},
		"by a writer":            {c.w, func(*delegationJSON) {}, true},
		"for a plan":             {c.w, func(d *delegationJSON) { d.Purpose = ForPlan }, true},
		"by a stranger":          {c.x, func(*delegationJSON) {}, false},
		"before it was a signer": {c.w, func(d *delegationJSON) { d.Sequence = 1 }, false},
		"of a later link":        {c.a, func(d *delegationJSON) { d.Sequence = 3 }, false},
		"for anything":           {c.a, func(d *delegationJSON) { d.Purpose = "all" }, false},
		"of another dataset":     {c.a, func(d *delegationJSON) { d.Dataset = "e" }, false},
		"of another chain":       {c.a, func(d *delegationJSON) { d.ID = strings.Repeat("0", 32) }, false},
		"of another format":      {c.a, func(d *delegationJSON) { d.Format = grantFormat }, false},
		"of another time zone":   {c.a, func(d *delegationJSON) { d.NotAfter = now.In(time.FixedZone("", 3600)) }, false},
	} {
		d := sound
		test.change(&d)
		raw := c.sign(delegationPayload, marshal(t, d), test.by)
		if _, err := c.chain.ParseDelegation(raw); (err == nil) != test.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := c.sign(delegationPayload, marshal(t, sound), c.w)
	d, err := c.chain.ParseDelegation(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		number int64
		at     time.Time
		ok     bool
	}{"the last moment": {7, now, true}, "later": {7, now.Add(time.Second), false}, "a later version": {8, now, false}} {
		if err := d.Covers(test.number, test.at); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	removed, err := c.chain.Extend(t.Context(), c.a, 4, func(l *Link) error { l.Writers = nil; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := removed.ParseDelegation(raw); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("by a signer who was removed: %v", err)
	}
	if d, err := removed.ReadDelegation(raw); err != nil || !d.Former {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := c.chain.Delegate(t.Context(), c.a, Delegation{Purpose: ForJob, Key: c.w.Public()}); err == nil {
		t.Error("a signer's key is delegated to")
	}
}

// Whatever lies in the place of signed envelopes is read without a panic, and is never
// more than what the keys here have signed.
func FuzzChain(f *testing.F) {
	c := newCast(f)
	g, err := c.chain.Grant(context.Background(), c.a, envelope.KeyID{1}, [32]byte{2})
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range append(c.chain.Raw(), g.Raw(), "", "{}", `{"payloadType":"`+linkPayload+`","payload":"","signatures":[]}`) {
		f.Add(raw)
	}
	ours := append(c.chain.Raw(), g.Raw())
	f.Fuzz(func(t *testing.T, raw string) {
		own := slices.Contains(ours, raw)
		if _, err := c.chain.ParseGrant(raw); err == nil && !own {
			t.Error("a grant that nobody has made")
		}
		if _, err := c.chain.ReadDelegation(raw); err == nil && !own {
			t.Error("a delegation that nobody has made")
		}
		if _, err := Parse("d", append(c.chain.Raw(), raw), c.chain); err == nil {
			t.Error("a link that nobody has made")
		}
		if _, err := DelegationOf(raw); err == nil && raw == "" {
			t.Error("a delegation of nothing")
		}
	})
}
