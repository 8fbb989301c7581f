// Command golden seals a set of files with package envelope of the current source
// tree, for all later ones to open. It writes to a new directory and never changes
// an old one: files sealed by a release must open forever.
//
//	go run ./internal/golden testdata/golden/NAME
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/envelope"
)

// A Set is the contents of golden.json.
type Set struct {
	LocalKey   string                     `json:"local_key"`
	Passphrase string                     `json:"passphrase"`
	Identity   string                     `json:"identity"`
	Context    envelope.EncryptionContext `json:"context"`
	Keyring    string                     `json:"keyring"` // the file that opens those of kinds other than "file"
	Files      []File                     `json:"files"`
}

// A File is one sealed file.
type File struct {
	Name string        `json:"name"`
	Kind envelope.Kind `json:"kind"`
	// Keys are the keys that its own keyring has slots for; none if the set's
	// keyring opens it.
	Keys   []string `json:"keys,omitempty"`
	Size   int      `json:"size"`
	SHA256 string   `json:"sha256"` // of the plaintext
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: golden NEW-DIRECTORY")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	ctx := context.Background()
	local := envelope.GenerateLocalKey()
	identity, err := envelope.GenerateIdentity()
	if err != nil {
		return err
	}
	set := Set{
		LocalKey: string(local.EncodeSecret()), Identity: string(identity.EncodeSecret()),
		Passphrase: "an old file opens for good", Keyring: "keyring.json",
		Context: envelope.EncryptionContext{"project": "golden", envelope.ContextDataset: "digits"},
	}
	passphrase, err := envelope.NewPassphrase([]byte(set.Passphrase))
	if err != nil {
		return err
	}
	keys := map[string]envelope.KeyWrapper{"local": local, "passphrase": passphrase, "identity": identity.Recipient()}
	ring, dataKey, err := envelope.NewKeyring(ctx, set.Context, local, passphrase, identity.Recipient())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, set.Keyring), ring.Bytes(), 0o644); err != nil {
		return err
	}
	for _, f := range []File{
		{Name: "local.vpk", Kind: envelope.KindFile, Keys: []string{"local"}, Size: 100},
		{Name: "empty.vpk", Kind: envelope.KindFile, Keys: []string{"local"}},
		{Name: "passphrase.vpk", Kind: envelope.KindFile, Keys: []string{"passphrase"}, Size: 1},
		{Name: "recipient.vpk", Kind: envelope.KindFile, Keys: []string{"identity"}, Size: 16384},
		{Name: "all.vpk", Kind: envelope.KindFile, Keys: []string{"local", "passphrase", "identity"}, Size: 16385},
		{Name: "file.vpk", Kind: envelope.KindFile, Size: 5},
		{Name: "pack.vpk", Kind: envelope.KindPack, Size: 40000},
		{Name: "index.vpk", Kind: envelope.KindIndex, Size: 1000},
		{Name: "version.vpk", Kind: envelope.KindVersion, Size: 300},
	} {
		plain := bytes.Repeat([]byte(f.Name+" "), f.Size)[:f.Size]
		sum := sha256.Sum256(plain)
		f.SHA256 = hex.EncodeToString(sum[:])
		var out bytes.Buffer
		var w *envelope.Writer
		if f.Keys == nil {
			w, err = envelope.NewWriter(&out, f.Kind, dataKey)
		} else {
			var with []envelope.KeyWrapper
			for _, k := range f.Keys {
				with = append(with, keys[k])
			}
			w, err = envelope.Seal(ctx, &out, set.Context, with...)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(plain); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name), out.Bytes(), 0o644); err != nil {
			return err
		}
		set.Files = append(set.Files, f)
	}
	b, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "golden.json"), append(b, '\n'), 0o644)
}
