package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
)

// A Record is a record of an unfinished upload as stored in the vault: a compressed list
// of entries in the PendingFormat, and the evidence that vouches for it. Anyone who
// holds a data key can seal a list, so an upload signs the lists that it makes.
type Record struct {
	// Signers is the chain of signers if there is no version yet, and Keys are signed
	// grants of data keys that no version names yet.
	Signers, Keys []string
	// Upload is the certificate of the key that the upload signs its records with, and
	// Signed is that key's signature of this record: see chain.OpenRecord.
	Upload, Signed string
	List           []byte
}

// Sum is the SHA-256 of the list, which is signed.
func (r *Record) Sum() [32]byte { return sha256.Sum256(r.List) }

type recordJSON struct {
	Format  string            `json:"format"`
	Signers []json.RawMessage `json:"signers,omitempty"`
	Keys    []json.RawMessage `json:"keys,omitempty"`
	Upload  json.RawMessage   `json:"upload"`
	Signed  json.RawMessage   `json:"signed"`
}

const (
	recordFormat = "vaultpack-record/1"
	maxProof     = MaxRoot / 2 // the first line of a record, in bytes
)

// EncodeRecord returns the plaintext of a record: a line of JSON, then the list.
func EncodeRecord(r *Record) ([]byte, error) {
	first, err := json.Marshal(recordJSON{recordFormat, rawMessages(r.Signers), rawMessages(r.Keys), json.RawMessage(r.Upload), json.RawMessage(r.Signed)})
	if err != nil {
		return nil, err
	}
	if len(first) > maxProof || len(first)+1+len(r.List) > MaxList {
		return nil, fmt.Errorf("a record of an upload has %d bytes, and the limit is %d: use a smaller pack size", len(first)+1+len(r.List), MaxList)
	}
	return append(append(first, '\n'), r.List...), nil
}

// DecodeRecord reads the output of EncodeRecord. It verifies nothing.
func DecodeRecord(b []byte) (*Record, error) {
	end := bytes.IndexByte(b[:min(len(b), maxProof+1)], '\n')
	if end < 0 {
		return nil, fmt.Errorf("it is no record of an upload: %w", envelope.ErrAuthentication)
	}
	first, list := b[:end], b[end+1:]
	if err := checkLine(first); err != nil {
		return nil, err
	}
	var j recordJSON
	field := func(v any) func(*json.Decoder) error { return func(d *json.Decoder) error { return d.Decode(v) } }
	err := readObject(first, map[string]func(*json.Decoder) error{
		"format": field(&j.Format), "upload": field(&j.Upload), "signed": field(&j.Signed),
		"signers": rawArray(&j.Signers, chain.MaxLinks), "keys": rawArray(&j.Keys, chain.MaxGrants),
	})
	if err != nil || j.Format != recordFormat {
		return nil, fmt.Errorf("it is no record of an upload: %w", envelope.ErrAuthentication)
	}
	return &Record{texts(j.Signers), texts(j.Keys), string(j.Upload), string(j.Signed), list}, nil
}
