package dataset_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
)

// authentication reports whether a job has said that something did not authenticate:
// by its error or by what it told of single files.
func authentication(err error, told []error) bool {
	return errors.Is(errors.Join(append(told, err)...), envelope.ErrAuthentication)
}

// overwrite stores an object whether or not there is one.
func overwrite(t *testing.T, d *dataset.Dataset, name string, b []byte) {
	t.Helper()
	err := objects.Of(d).Vault.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// packedFiles makes a version of small files that lie in one pack, a tar.
func packedFiles(t *testing.T, d *dataset.Dataset, contents map[string]string, forge func(*tree.Object)) *dataset.Version {
	t.Helper()
	return datasettest.CommitWith(t, d, func(key *envelope.DataKey) []*tree.Entry { return packFiles(t, d, key, contents, forge) })
}

func packFiles(t *testing.T, d *dataset.Dataset, key *envelope.DataKey, contents map[string]string, forge func(*tree.Object)) []*tree.Entry {
	t.Helper()
	entries := []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"a", "b", "c"} {
		text, ok := contents[name]
		if !ok {
			continue
		}
		e := &tree.Entry{Path: name, Size: int64(len(text)), Mode: 0o644, ModTime: time.Unix(2, 0)}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: e.Size, Mode: 0o644, ModTime: e.ModTime}); err != nil {
			t.Fatal(err)
		}
		e.Extents = []tree.Extent{{Offset: int64(b.Len()), Length: e.Size}}
		io.WriteString(w, text)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
	if err != nil {
		t.Fatal(err)
	}
	forge(&pack)
	for _, e := range entries[1:] {
		e.Extents[0].Pack = &pack
	}
	return entries
}

// unpackJob opens a version in place, in a folder with its packs.
func unpackJob(t *testing.T, d *dataset.Dataset, v *dataset.Version, dir string, tars bool) error {
	t.Helper()
	c, err := v.Contents(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Packs {
		b, err := objects.Of(d).Get(ctx, objects.Of(d).PackName(p.ID), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.ID.String()+".vpk"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return openInPlace(ctx, v, dir, tars)
}

// A pack that opens under its data key and has the right name is not believed for
// that: its exact bytes are those that the index pins.
func TestPacksOfOtherBytesAreRefused(t *testing.T) {
	readers := map[string]func(t *testing.T, d *dataset.Dataset, v *dataset.Version, dir string) ([]error, error){
		"restore": func(t *testing.T, _ *dataset.Dataset, v *dataset.Version, dir string) ([]error, error) {
			var told []error
			err := restoreJob(ctx, v, dir, func(_ string, err error) { told = append(told, err) })
			return told, err
		},
		"verify": func(t *testing.T, _ *dataset.Dataset, v *dataset.Version, dir string) ([]error, error) {
			var told []error
			err := verifyJob(ctx, v, func(err error) { told = append(told, err) })
			return told, err
		},
		"unpack": func(t *testing.T, d *dataset.Dataset, v *dataset.Version, dir string) ([]error, error) {
			return nil, unpackJob(t, d, v, dir, false)
		},
		"unpack as tars": func(t *testing.T, d *dataset.Dataset, v *dataset.Version, dir string) ([]error, error) {
			return nil, unpackJob(t, d, v, dir, true)
		},
	}
	for name, read := range readers {
		for what, c := range map[string]struct {
			forge func(*tree.Object)
			bad   bool
		}{
			"as pinned":    {func(*tree.Object) {}, false},
			"other digest": {func(o *tree.Object) { o.Pin.Digest[31] ^= 1 }, true},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				d := datasettest.New(t)
				v := packedFiles(t, d, map[string]string{"a": "first", "b": "second"}, c.forge)
				dir := t.TempDir()
				told, err := read(t, d, v, dir)
				switch {
				case !c.bad && (err != nil || len(told) > 0):
					t.Errorf("%v, %v", err, told)
				case c.bad && !authentication(err, told):
					t.Errorf("it was believed: %v, %v", err, told)
				}
				for _, name := range []string{"a", "b", "d-000000.tar"} {
					if b, err := os.ReadFile(filepath.Join(dir, name)); c.bad && err == nil {
						t.Errorf("%s was written: %q", name, b)
					}
				}
			})
		}
	}
}

// A part of the index is the one that the root pins, to the byte, and holds what the
// root says of it.
func TestIndexPartsOfOtherBytesAreRefused(t *testing.T) {
	d := datasettest.New(t)
	v := packedFiles(t, d, map[string]string{"a": "first", "b": "second"}, func(*tree.Object) {})
	for name, change := range map[string]func(v *dataset.Version, p *tree.Part){
		"digest":     func(_ *dataset.Version, p *tree.Part) { p.Pin.Digest[0] ^= 1 },
		"shorter":    func(_ *dataset.Version, p *tree.Part) { p.Pin.Size-- },
		"longer":     func(_ *dataset.Version, p *tree.Part) { p.Pin.Size++ },
		"key":        func(_ *dataset.Version, p *tree.Part) { p.KeyID[0] ^= 1 },
		"object ID":  func(_ *dataset.Version, p *tree.Part) { p.ID[0] ^= 1 },
		"first path": func(_ *dataset.Version, p *tree.Part) { p.First = "\x01" },
		"entries":    func(_ *dataset.Version, p *tree.Part) { p.Entries-- },
		"more parts": func(v *dataset.Version, p *tree.Part) {
			v.Parts = append(v.Parts, tree.Part{Object: p.Object, First: "b", Entries: p.Entries})
		},
	} {
		changed := *v
		changed.Parts = append([]tree.Part(nil), v.Parts...)
		change(&changed, &changed.Parts[0])
		var err error
		n := 0
		for _, err = range changed.Entries(ctx) {
			if err != nil {
				break
			}
			n++
		}
		if err == nil {
			t.Errorf("%s: all of %d entries were believed", name, n)
		}
		failures := 0
		if err := verifyJob(ctx, &changed, func(error) { failures++ }); err == nil && failures == 0 {
			t.Errorf("%s: verify believes it", name)
		}
	}
}

// A root is taken only for the version that its name says it is. Who holds the data
// key can seal any.
func TestRootsOfOthersAreRefused(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}})
	key, err := objects.Of(d).Key(ctx, v.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	const number = 5
	type object = map[string]any
	name := objects.Of(d).VersionName(number)
	for what, c := range map[string]struct {
		change func(j object)
		kind   envelope.Kind
		ok     bool
	}{
		"sound":                {func(object) {}, envelope.KindVersion, true},
		"other dataset":        {func(j object) { j["dataset"] = "e" }, envelope.KindVersion, false},
		"other number":         {func(j object) { j["number"] = 4 }, envelope.KindVersion, false},
		"its own parent":       {func(j object) { j["parent"].(object)["number"] = number }, envelope.KindVersion, false},
		"a later parent":       {func(j object) { j["parent"].(object)["number"] = number + 1 }, envelope.KindVersion, false},
		"parent 0":             {func(j object) { j["parent"].(object)["number"] = 0 }, envelope.KindVersion, false},
		"parent of no digest":  {func(j object) { j["parent"].(object)["digest"] = "00" }, envelope.KindVersion, false},
		"fewer than no files":  {func(j object) { j["totals"].(object)["files"] = -1 }, envelope.KindVersion, false},
		"fewer than no bytes":  {func(j object) { j["totals"].(object)["sealed_bytes"] = -1 }, envelope.KindVersion, false},
		"newer format":         {func(j object) { j["format"] = "vaultpack-version/2" }, envelope.KindVersion, false},
		"a pack":               {func(object) {}, envelope.KindPack, false},
		"a part of the index":  {func(object) {}, envelope.KindIndex, false},
		"a file on its own":    {func(object) {}, envelope.KindFile, false},
		"a part of no entries": {func(j object) { j["parts"] = []object{{}} }, envelope.KindVersion, false},
	} {
		created := time.Unix(3, 0).UTC()
		d := reopened(t, d) // which remembers nothing
		root := objects.RootOf(v)
		j := object{"signers": raw(root.Signers), "keys": raw(root.Keys), "format": "vaultpack-version/1", "dataset": d.Name, "number": number, "created": created, "totals": object{}, "parts": []object{},
			"parent": object{"number": 1, "size": v.Pin.Size, "digest": v.Digest()}}
		c.change(j)
		b, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		sealed := sealedAs(t, c.kind, key, signedAs(t, v, number, created, b))
		overwrite(t, d, name, sealed)
		got, err := d.Version(ctx, number)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
		if c.ok && (got.Parent != 1 || got.ParentPin != v.Pin || got.Number != number || !got.Created.Equal(created)) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func raw(envelopes []string) (out []json.RawMessage) {
	for _, e := range envelopes {
		out = append(out, json.RawMessage(e))
	}
	return out
}

// reopened is the dataset for a reader who remembers nothing.
func reopened(t *testing.T, d *dataset.Dataset) *dataset.Dataset {
	t.Helper()
	again, err := dataset.Open(objects.Of(d).Vault, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// signedAs signs the contents of a root as the version like was signed.
func signedAs(t *testing.T, like *dataset.Version, number int64, created time.Time, contents []byte) []byte {
	t.Helper()
	set := objects.Of(like)
	st, err := objects.StatementOf(set.Name, &codec.Root{Number: number, Created: created, Sum: sha256.Sum256(contents)}, objects.RootOf(like).Chain)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := set.Vault.SigningKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signing.SignStatement(ctx, signer, st)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%s\n%s\n", contents, signed)
}

func sealedAs(t *testing.T, kind envelope.Kind, key *envelope.DataKey, b []byte) []byte {
	t.Helper()
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, kind, key)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return sealed.Bytes()
}

// No writer puts a keyring into the header of a root or a record, and no reader takes
// one from there: it would open, and be no longer the bytes that were written.
func TestKeyringsInHeadersAreRefused(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}})
	key, err := objects.Of(d).Key(ctx, v.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	l, err := commit.Begin(ctx, d, "s")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(ctx, key, []*tree.Entry{{Path: "f", Mode: 0o644, ModTime: time.Unix(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	if err := l.End(ctx); err != nil {
		t.Fatal(err)
	}
	var record string
	for o, err := range objects.Of(d).Vault.List(ctx, d.Name+"/pending/") {
		if err != nil {
			t.Fatal(err)
		}
		record = o.Name
	}
	ring, err := objects.Of(d).Get(ctx, objects.Of(d).KeyName(key.ID()), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	reads := map[string]func() error{
		objects.Of(d).VersionName(1): func() error { _, err := d.Version(ctx, 1); return err },
		record: func() error {
			l, err := commit.Begin(ctx, d, "reader")
			if err != nil {
				return err
			}
			return errors.Join(append(l.Pending().Unreadable, l.End(ctx))...)
		},
	}
	for _, name := range []string{record, objects.Of(d).VersionName(1)} {
		read := reads[name]
		if err := read(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := objects.Of(d).Get(ctx, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		const length = envelope.HeaderSize - 4
		with := binary.BigEndian.AppendUint32(bytes.Clone(b[:length]), uint32(len(ring)))
		with = append(append(with, ring...), b[envelope.HeaderSize:]...)
		if h, err := envelope.ReadHeader(bytes.NewReader(with)); err != nil || h.Keyring == nil {
			t.Fatalf("the header holds no keyring: %v", err)
		}
		overwrite(t, d, name, with)
		if err := read(); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s with a keyring in its header: %v", name, err)
		}
	}
}

// Verify looks at the versions before the one that it verifies: each is the one that
// the next was made after, or was removed.
func TestVerifyLooksAtAncestors(t *testing.T) {
	d := datasettest.New(t)
	like := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}})
	root := func(v *dataset.Version, number int64, created int64) *dataset.Version {
		t.Helper()
		r := &codec.Root{Number: number, Created: time.Unix(created, 0)}
		if v != nil {
			r.Parent, r.ParentPin = v.Number, v.Pin
		}
		overwrite(t, d, objects.Of(d).VersionName(number), datasettest.SealRoot(t, like, r))
		got, err := reopened(t, d).Version(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	var last *dataset.Version
	for n := range int64(4) {
		last = root(last, n+1, n)
	}
	verify := func() ([]error, error) {
		var told []error
		err := verifyJob(ctx, last, func(err error) { told = append(told, err) })
		return told, err
	}
	if told, err := verify(); err != nil || len(told) > 0 {
		t.Fatalf("as they were made: %v, %v", err, told)
	}
	for _, n := range []int64{1, 2, 3} {
		name := objects.Of(d).VersionName(n)
		good, err := objects.Of(d).Get(ctx, name, codec.MaxRoot)
		if err != nil {
			t.Fatal(err)
		}
		var before *dataset.Version
		if n > 1 {
			if before, err = reopened(t, d).Version(ctx, n-1); err != nil {
				t.Fatal(err)
			}
		}
		root(before, n, 99) // sound, and another
		if told, err := verify(); !authentication(err, told) {
			t.Errorf("version %d is another: %v, %v", n, err, told)
		}
		bad := bytes.Clone(good)
		bad[len(bad)-1] ^= 1
		overwrite(t, d, name, bad)
		if told, err := verify(); !authentication(err, told) {
			t.Errorf("version %d is damaged: %v, %v", n, err, told)
		}
		overwrite(t, d, name, good)
	}
	if err := objects.Of(d).Vault.Delete(ctx, objects.Of(d).VersionName(2)); err != nil {
		t.Fatal(err)
	}
	if told, err := verify(); err != nil || len(told) > 0 {
		t.Errorf("a version was removed: %v, %v", err, told)
	}
}
