package envelope_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
)

// Files sealed by earlier releases open, with each of their keys.
func TestGolden(t *testing.T) {
	race.Skip(t, "it opens one file after the other")
	sets, err := filepath.Glob("../testdata/golden/*/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, path := range sets {
		opened += testGoldenSet(t, path)
	}
	// Each file by each of its keys.
	if len(sets) != 1 || opened != 7+4*3 {
		t.Errorf("%d sets, opened %d times", len(sets), opened)
	}
}

func testGoldenSet(t *testing.T, path string) (opened int) {
	ctx, dir := context.Background(), filepath.Dir(path)
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var set struct {
		LocalKey   string                     `json:"local_key"`
		Passphrase string                     `json:"passphrase"`
		Identity   string                     `json:"identity"`
		Context    envelope.EncryptionContext `json:"context"`
		Keyring    string                     `json:"keyring"`
		Files      []struct {
			Name   string        `json:"name"`
			Kind   envelope.Kind `json:"kind"`
			Keys   []string      `json:"keys"`
			Size   int           `json:"size"`
			SHA256 string        `json:"sha256"`
		} `json:"files"`
	}
	if err := json.Unmarshal(read("golden.json"), &set); err != nil {
		t.Fatal(err)
	}
	local, err := envelope.ParseLocalKey([]byte(set.LocalKey))
	if err != nil {
		t.Fatal(err)
	}
	passphrase, err := envelope.NewPassphrase([]byte(set.Passphrase))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := envelope.ParseIdentity([]byte(set.Identity))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]envelope.KeyWrapper{"local": local, "passphrase": passphrase, "identity": identity}
	ring, err := envelope.ParseKeyring(read(set.Keyring))
	if err != nil {
		t.Fatal(err)
	}
	dataKeys := map[string]*envelope.DataKey{}
	for name, k := range keys {
		if dataKeys[name], err = ring.Unwrap(ctx, set.Context, k); err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
	}
	for _, f := range set.Files {
		sealed := read(f.Name)
		check := func(by string, r io.Reader, at *envelope.ReaderAt, err, atErr error) {
			t.Helper()
			if err != nil || atErr != nil {
				t.Errorf("%s by %s: %v, %v", f.Name, by, err, atErr)
				return
			}
			got, err := io.ReadAll(r)
			ranged := make([]byte, at.Size())
			if _, err := at.ReadAt(ranged, 0); err != nil && err != io.EOF {
				t.Errorf("%s by %s: ReadAt: %v", f.Name, by, err)
			}
			sum := sha256.Sum256(got)
			if err != nil || len(got) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 || !bytes.Equal(got, ranged) {
				t.Errorf("%s by %s: %d bytes, %v", f.Name, by, len(got), err)
			}
			opened++
		}
		for _, k := range f.Keys {
			r, err := envelope.Open(ctx, bytes.NewReader(sealed), set.Context, keys[k])
			at, atErr := envelope.OpenAt(ctx, bytes.NewReader(sealed), int64(len(sealed)), set.Context, keys[k])
			check(k, r, at, err, atErr)
		}
		if f.Keys == nil {
			for k, dataKey := range dataKeys {
				r, err := envelope.NewReader(bytes.NewReader(sealed), f.Kind, dataKey)
				at, atErr := envelope.NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), f.Kind, dataKey)
				check(k, r, at, err, atErr)
			}
		}
	}
	return opened
}
