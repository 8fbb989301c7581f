package chain

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// What an upload has signed is believed of that upload, of that record of it, and of its
// dataset alone. Which signers may certify one, package commit tests.
func TestRecordsOfAnotherUpload(t *testing.T) {
	ctx := context.Background()
	owner, key := signing.GenerateKey(), signing.GenerateKey()
	newChain := func(dataset string) *Chain {
		c, err := New(ctx, dataset, owner)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c, again, other := newChain("d"), newChain("d"), newChain("e")
	type record struct{ certificate, signed string }
	make := func(c *Chain, upload, named string, number int64, sum [32]byte) record {
		certificate, err := c.CertifyUpload(ctx, owner, upload, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := SignRecord(ctx, key, named, number, sum)
		if err != nil {
			t.Fatal(err)
		}
		return record{certificate, signed}
	}
	sum := [32]byte{1}
	good := make(c, "u", "u", 1, sum)
	for name, x := range map[string]struct {
		record
		ok bool
	}{
		"as it was made":                         {good, true},
		"a certificate of another upload":        {record{make(c, "v", "u", 1, sum).certificate, good.signed}, false},
		"signed as of another upload":            {make(c, "u", "v", 1, sum), false},
		"signed as another number":               {make(c, "u", "u", 2, sum), false},
		"another list":                           {make(c, "u", "u", 1, [32]byte{2}), false},
		"of a dataset that was made anew":        {make(again, "u", "u", 1, sum), false},
		"of another dataset":                     {make(other, "u", "u", 1, sum), false},
		"the certificate as the record":          {record{good.certificate, good.certificate}, false},
		"the record as the certificate":          {record{good.signed, good.signed}, false},
		"a certificate that is no JSON":          {record{"x", good.signed}, false},
		"a record that is no JSON":               {record{good.certificate, ""}, false},
		"a link as the certificate":              {record{c.Raw()[0], good.signed}, false},
		"a certificate with white space":         {record{strings.Replace(good.certificate, ",", ", ", 1), good.signed}, false},
		"a record whose signature is that of it": {record{good.certificate, strings.Replace(good.signed, `"sig":"`, `"sig":"A`, 1)}, false},
	} {
		if err := c.CheckRecord(x.certificate, x.signed, "u", 1, sum); (err == nil) != x.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who is no signer certifies nothing, and an upload's key makes no versions.
	if _, err := c.CertifyUpload(ctx, key, "u", key.Public()); err == nil {
		t.Error("a stranger has certified an upload")
	}
	if _, err := c.ParseDelegation(good.certificate); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("the certificate of an upload is a delegation: %v", err)
	}
	if _, err := c.ParseGrant(good.certificate); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("the certificate of an upload is a grant: %v", err)
	}
}
