package objects_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"iter"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

var ctx = context.Background()

// A forger makes roots of a dataset whose chain has three links: the owner's, one that
// adds a writer, and one that removes him and begins an epoch. He holds all keys.
type forger struct {
	t                                *testing.T
	set                              *objects.Set
	owner, writer, stranger, short   *signing.PrivateKey
	first, second, third             *chain.Chain
	key, other                       *envelope.DataKey
	byOwner, byWriter, byOwnerBefore chain.Grant
}

func (f *forger) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func newForger(t *testing.T) *forger {
	f := &forger{t: t, owner: signing.GenerateKey(), writer: signing.GenerateKey(), stranger: signing.GenerateKey(), short: signing.GenerateKey()}
	local := envelope.GenerateLocalKey()
	keys := []envelope.KeyWrapper{local}
	f.set = objects.NewSet(&vault.Vault{Store: &memstore.Store{}, Keys: &vault.Keys{Open: keys, Wrap: keys}}, "d")
	var err error
	f.first, err = chain.New(ctx, "d", f.owner)
	f.must(err)
	f.second, err = f.first.Extend(ctx, f.owner, 1, func(l *chain.Link) error { l.Writers = append(l.Writers, f.writer.Public()); return nil })
	f.must(err)
	f.third, err = f.second.Extend(ctx, f.owner, 3, func(l *chain.Link) error { l.Writers, l.Epoch = nil, 1; return nil })
	f.must(err)
	f.key, err = f.set.NewKey(ctx)
	f.must(err)
	f.other, err = f.set.NewKey(ctx)
	f.must(err)
	f.byOwner = f.grant(f.third, f.owner, f.key)
	f.byOwnerBefore = f.grant(f.first, f.owner, f.other)
	f.byWriter = f.grant(f.second, f.writer, f.other)
	return f
}

func (f *forger) grant(c *chain.Chain, s signing.Signer, key *envelope.DataKey) chain.Grant {
	f.t.Helper()
	commitment, err := key.Commitment()
	f.must(err)
	g, err := c.Grant(ctx, s, key.ID(), commitment)
	f.must(err)
	return g
}

func (f *forger) root() *codec.Root {
	return &codec.Root{Number: 5, Created: time.Date(2026, 11, 24, 22, 7, 31, 768035658, time.UTC), Signers: f.third.Raw(),
		Keys:  []string{f.byOwner.Raw(), f.byOwnerBefore.Raw()},
		Parts: []tree.Part{{Object: tree.Object{KeyID: f.key.ID(), Pin: envelope.Pin{Size: 200}}, First: "a", Entries: 1}}}
}

// sign is the plaintext of the root, signed by s.
func (f *forger) sign(r *codec.Root, c *chain.Chain, s signing.Signer) []byte {
	f.t.Helper()
	b, err := objects.SignRoot(ctx, "d", r, c, s)
	f.must(err)
	return b
}

// plans are roots of a plan's shards; those that begin with "ok" are sound.
func (f *forger) plans() map[string][]byte {
	const id = "k3jxabcdefgh2345"
	of := func(plan string) []byte {
		r := f.root()
		r.Plan = id
		contents, err := codec.EncodeRoot("d", r)
		f.must(err)
		whole := `"plan":{"id":"` + id + `"}`
		if !bytes.Contains(contents, []byte(whole)) {
			f.t.Fatalf("no plan in %s", contents)
		}
		return f.signContents(r, bytes.Replace(contents, []byte(whole), []byte(`"plan":`+plan), 1))
	}
	named := func(id string) []byte { return of(`{"id":"` + id + `"}`) }
	return map[string][]byte{
		"ok, of a plan":                         named(id),
		"ok, of some shards of a plan":          of(`{"id":"` + id + `","partial":true}`),
		"a plan that is called another way":     named("K3JXABCDEFGH2345"),
		"the ID of a plan is too short":         named(id[1:]),
		"the ID of a plan is too long":          named(id + "a"),
		"the ID of a plan ends in a new line":   named(id[1:] + `\n`),
		"the ID of a plan has a digit 1":        named("1" + id[1:]),
		"a plan without an ID":                  of(`{"partial":true}`),
		"ok, of a plan with a field to come":    of(`{"id":"` + id + `","shards":3}`),
		"a plan that is partial by a number":    of(`{"id":"` + id + `","partial":1}`),
		"a plan that is text":                   of(`"` + id + `"`),
		"a plan that was changed after signing": bytes.Replace(named(id), []byte(id), []byte("a"+id[1:]), 1),
	}
}

// changed is a root whose contents were changed as JSON, and then signed.
func (f *forger) changed(change func(j map[string]any)) []byte {
	f.t.Helper()
	r := f.root()
	contents, err := codec.EncodeRoot("d", r)
	f.must(err)
	var j map[string]any
	f.must(json.Unmarshal(contents, &j))
	change(j)
	contents, err = json.Marshal(j)
	f.must(err)
	return f.signContents(r, contents)
}

// signContents is the plaintext of a root with these contents.
func (f *forger) signContents(r *codec.Root, contents []byte) []byte {
	f.t.Helper()
	r.Sum = sha256.Sum256(contents)
	st, err := objects.StatementOf("d", r, f.third)
	f.must(err)
	signed, err := signing.SignStatement(ctx, f.owner, st)
	f.must(err)
	return fmt.Appendf(nil, "%s\n%s\n", contents, signed)
}

// resigned is an envelope whose payload was changed and signed again.
func (f *forger) resigned(raw, kind string, s signing.Signer, replace ...string) string {
	f.t.Helper()
	var env struct{ Payload []byte }
	f.must(json.Unmarshal([]byte(raw), &env))
	payload := strings.NewReplacer(replace...).Replace(string(env.Payload))
	if len(replace) > 0 && payload == string(env.Payload) {
		f.t.Fatalf("nothing to replace in %s", payload)
	}
	b, err := signing.Sign(ctx, s, kind, []byte(payload))
	f.must(err)
	return string(b)
}

const (
	linkKind       = "application/vnd.vaultpack.signers+json"
	grantKind      = "application/vnd.vaultpack.data-key+json"
	delegationKind = "application/vnd.vaultpack.delegation+json"
)

// cases are plaintexts of roots by what is wrong with them; those that begin with "ok"
// are sound.
func (f *forger) cases() map[string][]byte {
	all := map[string][]byte{}
	with := func(name string, s signing.Signer, change func(*codec.Root)) {
		r := f.root()
		change(r)
		all[name] = f.sign(r, f.third, s)
	}
	with("ok", f.owner, func(*codec.Root) {})
	with("ok, with a message, tags and a tree", f.owner, func(r *codec.Root) {
		r.Message, r.HasTree = "ü <&>\u2028 \"quoted\" \\ \x01", true
		r.Tags = []codec.Tag{{Name: "a", Number: 1}, {Name: "b.1-_", Number: 4}}
	})
	with("ok, without parts", f.owner, func(r *codec.Root) { r.Parts = nil })
	with("ok, with a writer's grant of before", f.owner, func(r *codec.Root) { r.Keys[1] = f.byWriter.Raw() })
	with("signed by a stranger", f.stranger, func(*codec.Root) {})
	with("signed by who was removed", f.writer, func(*codec.Root) {})
	with("no grant of the part's key", f.owner, func(r *codec.Root) { r.Keys = r.Keys[1:] })
	with("a data key granted twice", f.owner, func(r *codec.Root) { r.Keys = append(r.Keys, r.Keys[0]) })
	with("no signers", f.owner, func(r *codec.Root) { r.Signers = nil })
	with("a link left out", f.owner, func(r *codec.Root) { r.Signers = []string{r.Signers[0], r.Signers[2]} })
	with("links exchanged", f.owner, func(r *codec.Root) { r.Signers = []string{r.Signers[0], r.Signers[2], r.Signers[1]} })
	with("a link twice", f.owner, func(r *codec.Root) { r.Signers = append([]string{r.Signers[0]}, r.Signers...) })
	with("tags out of order", f.owner, func(r *codec.Root) { r.Tags = []codec.Tag{{Name: "b", Number: 1}, {Name: "a", Number: 1}} })
	with("a tag twice", f.owner, func(r *codec.Root) { r.Tags = []codec.Tag{{Name: "a", Number: 1}, {Name: "a", Number: 2}} })
	with("a tag of itself", f.owner, func(r *codec.Root) { r.Tags = []codec.Tag{{Name: "a", Number: 5}} })
	with("a tag that is a number", f.owner, func(r *codec.Root) { r.Tags = []codec.Tag{{Name: "1", Number: 1}} })
	with("a message that is too long", f.owner, func(r *codec.Root) { r.Message = strings.Repeat("m", codec.MaxMessage+1) })
	with("a stranger's grant", f.owner, func(r *codec.Root) { r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.stranger) })
	with("a grant by who was no signer then", f.owner, func(r *codec.Root) { r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.writer) })
	with("a grant of another epoch", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"epoch":1`, `"epoch":0`)
	})
	with("a grant of another dataset", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"dataset":"d"`, `"dataset":"e"`)
	})
	with("a grant of a later link", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"sequence":3`, `"sequence":4`)
	})
	with("a grant with more fields", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"sequence":3`, `"sequence":3,"x":1`)
	})
	with("a grant with a field twice", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"sequence":3`, `"sequence":3,"sequence":3`)
	})
	with("a grant with white space", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"sequence":3`, `"sequence": 3`)
	})
	with("a grant that says false", f.owner, func(r *codec.Root) {
		r.Keys[0] = f.resigned(r.Keys[0], grantKind, f.owner, `"sequence":3`, `"sequence":3,"read_only":false`)
	})
	with("a grant in the type of a link", f.owner, func(r *codec.Root) { r.Keys[0] = f.resigned(r.Keys[0], linkKind, f.owner) })
	for i, name := range []string{"the first link", "the second link", "the third link"} {
		for what, replace := range map[string][2]string{
			"of another dataset": {`"dataset":"d"`, `"dataset":"e"`},
			"of another ID":      {`"id":"`, `"id":"0`},
			"with another epoch": {`"epoch":`, `"epoch":7`},
			"with no owners":     {`"owners":["`, `"owners":[],"x":["`},
			"of a later number":  {`"sequence":`, `"sequence":1`},
			"after another":      {`"previous":"`, `"previous":"0`},
		} {
			with(name+" "+what, f.owner, func(r *codec.Root) {
				r.Signers[i] = f.resigned(r.Signers[i], linkKind, f.owner, replace[0], replace[1])
			})
		}
		with(name+" by a stranger", f.owner, func(r *codec.Root) { r.Signers[i] = f.resigned(r.Signers[i], linkKind, f.stranger) })
		with(name+" by a writer", f.owner, func(r *codec.Root) { r.Signers[i] = f.resigned(r.Signers[i], linkKind, f.writer) })
	}
	f.delegations(all)
	f.statements(all)
	return all
}

func (f *forger) delegations(all map[string][]byte) {
	for name, c := range map[string]struct {
		by  signing.Signer
		in  *chain.Chain
		d   chain.Delegation
		key signing.Signer
	}{
		"ok, delegated":                       {f.owner, f.third, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2026, 11, 24, 22, 7, 32, 0, time.UTC), UpTo: 5}, f.short},
		"ok, delegated of an earlier set":     {f.owner, f.first, chain.Delegation{Purpose: chain.ForPlan, Name: "p", NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), UpTo: 9}, f.short},
		"delegated, and expired":              {f.owner, f.third, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2026, 11, 24, 22, 7, 31, 0, time.UTC), UpTo: 5}, f.short},
		"delegated up to another":             {f.owner, f.third, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), UpTo: 4}, f.short},
		"delegated by who was removed":        {f.writer, f.second, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), UpTo: 5}, f.short},
		"delegated to another":                {f.owner, f.third, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), UpTo: 5}, f.stranger},
		"delegated, and signed by the signer": {f.owner, f.third, chain.Delegation{Purpose: chain.ForJob, NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), UpTo: 5}, f.owner},
	} {
		c.d.Key = f.short.Public()
		d, err := c.in.Delegate(ctx, c.by, c.d)
		f.must(err)
		r := f.root()
		r.Delegation = d.Raw()
		all[name] = f.sign(r, f.third, c.key)
		if name == "ok, delegated" {
			r.Delegation = f.resigned(d.Raw(), delegationKind, f.owner, `"job"`, `"fun"`)
			all["delegated for another purpose"] = f.sign(r, f.third, c.key)
		}
	}
}

func (f *forger) statements(all map[string][]byte) {
	good := f.sign(f.root(), f.third, f.owner)
	contents, statement, _ := bytes.Cut(good, []byte("\n"))
	lines := func(a, b []byte, end string) []byte {
		return append(append(append(bytes.Clone(a), '\n'), b...), end...)
	}
	all["no statement"] = append(bytes.Clone(contents), '\n')
	all["no second line"] = bytes.Clone(contents)
	all["a statement without its end"] = bytes.TrimSuffix(bytes.Clone(good), []byte("\n"))
	all["a third line"] = append(bytes.Clone(good), '\n')
	all["other contents"] = lines(bytes.Replace(contents, []byte(`"number":5`), []byte(`"number": 5`), 1), statement, "")
	for name, replace := range map[string][2]string{
		"a statement about another version": {`"name":"d@5"`, `"name":"d@4"`},
		"a statement of another type":       {`version/v1`, `version/v2`},
		"a statement with another number":   {`"number":5`, `"number":6`},
		"a statement of other signers":      {`"signers":3`, `"signers":2`},
		"a statement with another hash":     {`"sha256":"`, `"sha512":"`},
		"a statement with more":             {`"signers":3`, `"signers":3,"message":"m"`},
	} {
		all[name] = lines(contents, []byte(f.resigned(string(statement[:len(statement)-1]), signing.StatementPayload, f.owner, replace[0], replace[1])), "\n")
	}
	two := bytes.Replace(statement, []byte(`"signatures":[`), []byte(`"signatures":[{"keyid":"","sig":""},`), 1)
	all["two signatures"] = lines(contents, two, "")
	all["a space in the envelope"] = lines(contents, bytes.Replace(statement, []byte(`,"payload"`), []byte(`, "payload"`), 1), "")
	at := bytes.LastIndex(good, []byte(`"sig":"`)) + 12
	bad := bytes.Clone(good)
	bad[at] = map[bool]byte{true: 'B', false: 'A'}[bad[at] == 'A']
	all["a changed signature"] = bad
	all["another dataset"] = f.changed(func(j map[string]any) { j["dataset"] = "e" })
	all["another number"] = f.changed(func(j map[string]any) { j["number"] = 6 })
	all["another format"] = f.changed(func(j map[string]any) { j["format"] = "vaultpack-version/2" })
}

// The second verifier, written in another language from the document alone, says of each
// root what vaultpack says.
func TestSecondVerifier(t *testing.T) {
	f := newForger(t)
	all := f.cases()
	f.onP256(all)
	said := secondVerifier(t, "d", 5, maps.All(all))
	for name, b := range all {
		_, err := f.set.OpenRoot(5, b, f.key.ID())
		if sound := strings.HasPrefix(name, "ok"); (err == nil) != sound {
			t.Errorf("%s: %v", name, err)
		}
		if (said[name] == "ok") != (err == nil) && (name != "ok, on P-256" || hasCryptography(t)) {
			t.Errorf("%s: vaultpack says %v, the second verifier %q", name, err, said[name])
		}
	}
	t.Logf("%d roots", len(all))
}

// python is the interpreter. Tests of the second verifier are left out where there is none.
func python(t *testing.T) string {
	t.Helper()
	found, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	return found
}

// secondVerifier has it judge the plaintexts of roots, by their names.
func secondVerifier(t *testing.T, dataset string, number int64, roots iter.Seq2[string, []byte]) (said map[string]string) {
	t.Helper()
	type forPython struct {
		Name    string `json:"name"`
		Dataset string `json:"dataset"`
		Number  int64  `json:"number"`
		Root    []byte `json:"root"`
	}
	var in []forPython
	for name, b := range roots {
		in = append(in, forPython{name, dataset, number, b})
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), "../testkit/verify.py")
	cmd.Stdin = bytes.NewReader(text)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	said = map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, verdict, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		said[name] = verdict
	}
	return said
}

func hasCryptography(t *testing.T) bool {
	return exec.Command(python(t), "-c", "import cryptography").Run() == nil
}

// onP256 adds a root that is signed by an OpenSSH key of the other kind.
func (f *forger) onP256(all map[string][]byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.must(err)
	der, err := x509.MarshalECPrivateKey(key)
	f.must(err)
	s, err := signing.ParseOpenSSH(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	f.must(err)
	c, err := chain.New(ctx, "d", s)
	f.must(err)
	r := f.root()
	r.Signers, r.Keys = c.Raw(), []string{f.grant(c, s, f.key).Raw()}
	all["ok, on P-256"] = f.sign(r, c, s)
	r.Signers = []string{f.resigned(c.Raw()[0], linkKind, f.owner)}
	all["on P-256, the link by another"] = f.sign(r, c, s)
}
