package chain

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// An upload signs the records of its progress with a key that it makes for them and that
// a signer certifies: so a key in a key service or an agent signs only once, however
// many records there are. The key never leaves the process, and its certificate is for
// one upload.
const (
	uploadPayload = "application/vnd.vaultpack.upload+json"
	recordPayload = "application/vnd.vaultpack.record+json"

	uploadFormat = "vaultpack-upload/1"
	recordFormat = "vaultpack-record/1"
)

type uploadJSON struct {
	Format   string            `json:"format"`
	Dataset  string            `json:"dataset"`
	ID       string            `json:"id"`
	Upload   string            `json:"upload"`
	Key      signing.PublicKey `json:"key"`
	Sequence int               `json:"sequence"`
}

type recordJSON struct {
	Format string `json:"format"`
	Upload string `json:"upload"`
	Number int64  `json:"number"`
	SHA256 string `json:"sha256"`
}

// CertifyUpload certifies the key that signs the records of an upload, which is named as
// in the vault.
func (c *Chain) CertifyUpload(ctx context.Context, s signing.Signer, upload string, key signing.PublicKey) (raw string, err error) {
	l := c.Last()
	if l.Role(s.Public()) == None {
		return "", fmt.Errorf("%s is not a signer of dataset %q", s.Public().ID().Short(), l.Dataset)
	}
	payload, err := json.Marshal(uploadJSON{uploadFormat, l.Dataset, l.ID, upload, key, l.Sequence})
	if err != nil {
		return "", err
	}
	b, err := signing.Sign(ctx, s, uploadPayload, payload)
	return string(b), err
}

// SignRecord signs a record, given its number and the SHA-256 of its list, with the key
// of the upload.
func SignRecord(ctx context.Context, s signing.Signer, upload string, number int64, sum [32]byte) (raw string, err error) {
	payload, err := json.Marshal(recordJSON{recordFormat, upload, number, hex.EncodeToString(sum[:])})
	if err != nil {
		return "", err
	}
	b, err := signing.Sign(ctx, s, recordPayload, payload)
	return string(b), err
}

// CheckRecord returns an error unless the record with that upload, number and sum was
// signed by a key that was certified for it by a signer, who is still one now.
func (c *Chain) CheckRecord(certificate, signed, upload string, number int64, sum [32]byte) error {
	bad := func(why string) error {
		return fmt.Errorf("a record of an upload to dataset %q: %s: %w", c.Last().Dataset, why, envelope.ErrAuthentication)
	}
	var j uploadJSON
	by, why, err := c.open(certificate, uploadPayload, &j)
	switch {
	case err != nil:
		return err
	case why != "":
		return bad(why)
	case c.Last().Role(by) == None:
		return bad("its upload was begun by " + by.ID().Short() + ", which is no longer a signer")
	}
	l := c.At(j.Sequence)
	if l == nil || j.Format != uploadFormat || j.Dataset != l.Dataset || j.ID != l.ID || l.Role(by) == None || j.Upload != upload {
		return bad("its certificate is not of this upload")
	}
	payload, err := signing.Open([]byte(signed), recordPayload, j.Key)
	if err != nil {
		return bad(err.Error())
	}
	var r recordJSON
	if err := decode(payload, &r); err != nil {
		return err
	}
	if r.Format != recordFormat || r.Upload != upload || r.Number != number || r.SHA256 != hex.EncodeToString(sum[:]) {
		return bad("what was signed is another record")
	}
	return nil
}
