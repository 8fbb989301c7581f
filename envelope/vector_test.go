package envelope

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// The published keyring opens with each of its keys, in this and every later
// release.
func TestKeyringVector(t *testing.T) {
	b, err := os.ReadFile("../testdata/vectors/keyring.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Context    EncryptionContext `json:"context"`
		DataKey    string            `json:"data_key"`
		LocalKey   string            `json:"local_key"`
		Passphrase string            `json:"passphrase"`
		Identity   string            `json:"identity"`
		Recipient  string            `json:"recipient"`
		Keyring    string            `json:"keyring"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	ring, err := ParseKeyring([]byte(v.Keyring))
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(v.DataKey)
	if err != nil {
		t.Fatal(err)
	}
	local, err := ParseLocalKey([]byte(v.LocalKey))
	if err != nil {
		t.Fatal(err)
	}
	id, err := ParseIdentity([]byte(v.Identity))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.TrimSpace(id.Recipient().Encode())); got != v.Recipient {
		t.Error("the identity has another recipient")
	}
	pass, err := NewPassphrase([]byte(v.Passphrase))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []KeyWrapper{local, id, pass} {
		if key, err := ring.Unwrap(context.Background(), v.Context, k); err != nil || !bytes.Equal(key.secret.bytes(), want) {
			t.Errorf("%v: %v", k, err)
		}
	}
}
