package kmstest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

const region = "eu-west-1"

var (
	ctx = context.Background()
	ec  = map[string]string{"Department": "IT", "Purpose": "Test"}
)

func once(o *kms.Options) { o.Retryer = aws.NopRetryer{} }

// A fixture is a server with a fixed clock and one key.
type fixture struct {
	*testing.T
	srv    *kmstest.Server
	now    time.Time
	client *kms.Client
	key    string // its ARN
}

func setup(t *testing.T, in ...*kms.CreateKeyInput) *fixture {
	f := &fixture{T: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.srv = kmstest.NewServer(kmstest.Clock(func() time.Time { return f.now }))
	f.client = f.srv.Client(region, "admin", once)
	f.key = f.create(append(in, &kms.CreateKeyInput{})[0])
	return f
}

func (f *fixture) create(in *kms.CreateKeyInput) string {
	f.Helper()
	out, err := f.client.CreateKey(ctx, in)
	if err != nil {
		f.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// code is the type of an error, "" for none.
func code(err error) string {
	var ae smithy.APIError
	if err != nil && !errors.As(err, &ae) {
		return err.Error()
	}
	if err == nil {
		return ""
	}
	return ae.ErrorCode()
}

// want checks an error's type, or several that will do: "A|B".
func (f *fixture) want(what, codes string, err error) {
	f.Helper()
	if !strings.Contains("|"+codes+"|", "|"+code(err)+"|") {
		f.Errorf("%s: got %q, want %q (%v)", what, code(err), codes, err)
	}
}

// must ends the test with an error.
func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) encrypt(c *kms.Client, key string) []byte {
	f.Helper()
	out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("secret"), EncryptionContext: ec})
	f.must(err)
	return out.CiphertextBlob
}

func (f *fixture) decrypt(c *kms.Client, key string, blob []byte, ec map[string]string) error {
	in := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec}
	if key != "" {
		in.KeyId = &key
	}
	out, err := c.Decrypt(ctx, in)
	if err == nil && string(out.Plaintext) != "secret" {
		f.Errorf("the plaintext is %q", out.Plaintext)
	}
	return err
}

func id(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }
