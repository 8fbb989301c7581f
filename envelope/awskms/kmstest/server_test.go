package kmstest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

func TestCiphertexts(t *testing.T) {
	f := setup(t)
	other := f.create(&kms.CreateKeyInput{})
	blob := f.encrypt(f.client, f.key)
	for what, bad := range map[string]map[string]string{"none": nil, "less": {"Department": "IT"},
		"more": {"Department": "IT", "Purpose": "Test", "x": "y"}, "another case": {"department": "IT", "Purpose": "Test"},
		"another value": {"Department": "it", "Purpose": "Test"}, "moved letters": {"Department": "ITPurpose", "": "Test"}} {
		f.want("the context: "+what, "InvalidCiphertextException", f.decrypt(f.client, f.key, blob, bad))
	}
	f.want("without a key ID", "", f.decrypt(f.client, "", blob, ec))
	f.want("by key ID", "", f.decrypt(f.client, id(f.key), blob, ec))
	f.want("another key", "IncorrectKeyException", f.decrypt(f.client, other, blob, ec))
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		f.want(fmt.Sprint("byte ", i), "InvalidCiphertextException|IncorrectKeyException", f.decrypt(f.client, f.key, bad, ec))
		f.want(fmt.Sprint("cut at ", i), "InvalidCiphertextException|IncorrectKeyException|ValidationException", f.decrypt(f.client, f.key, blob[:i], ec))
	}
	f.want("6145 bytes", "ValidationException", f.decrypt(f.client, f.key, make([]byte, 6145), ec))
	for size, want := range map[int]string{0: "ValidationException", 1: "", 4096: "", 4097: "ValidationException"} {
		_, err := f.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &f.key, Plaintext: make([]byte, size)})
		f.want(fmt.Sprint("Encrypt of ", size, " bytes"), want, err)
	}
	hmac := f.create(&kms.CreateKeyInput{KeySpec: "HMAC_256", KeyUsage: "GENERATE_VERIFY_MAC"})
	_, err := f.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &hmac, Plaintext: []byte("x")})
	f.want("Encrypt with an HMAC key", "InvalidKeyUsageException", err)
	for _, in := range []*kms.GenerateDataKeyInput{{KeyId: &f.key}, {KeyId: &f.key, KeySpec: "AES_256", NumberOfBytes: aws.Int32(32)},
		{KeyId: &f.key, NumberOfBytes: aws.Int32(1025)}, {KeyId: &f.key, KeySpec: "AES_192"}} {
		_, err := f.client.GenerateDataKey(ctx, in)
		f.want("GenerateDataKey", "ValidationException", err)
	}
	for _, in := range []*kms.GenerateDataKeyInput{{KeySpec: "AES_256"}, {KeySpec: "AES_128"}, {NumberOfBytes: aws.Int32(64)}} {
		in.KeyId, in.EncryptionContext = &f.key, ec
		g, err := f.client.GenerateDataKey(ctx, in)
		f.must(err)
		d, err := f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: g.CiphertextBlob, EncryptionContext: ec})
		f.must(err)
		if size := map[types.DataKeySpec]int{"AES_256": 32, "AES_128": 16, "": 64}[in.KeySpec]; !bytes.Equal(d.Plaintext, g.Plaintext) || len(g.Plaintext) != size {
			t.Errorf("%v: %d bytes", in.KeySpec, len(g.Plaintext))
		}
		if *g.KeyId != f.key || *d.KeyId != f.key || *g.KeyMaterialId != *d.KeyMaterialId {
			t.Errorf("key IDs %s and %s", *g.KeyId, *d.KeyId)
		}
	}
	r, err := f.client.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: ec,
		DestinationKeyId: &other, DestinationEncryptionContext: map[string]string{"a": "b"}})
	f.must(err)
	if *r.KeyId != other || *r.SourceKeyId != f.key {
		t.Errorf("ReEncrypt from %s to %s", *r.SourceKeyId, *r.KeyId)
	}
	f.want("after ReEncrypt", "", f.decrypt(f.client, other, r.CiphertextBlob, map[string]string{"a": "b"}))
	f.want("after ReEncrypt, with the old context", "InvalidCiphertextException", f.decrypt(f.client, other, r.CiphertextBlob, ec))
	_, err = f.client.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: &other, SourceEncryptionContext: ec, DestinationKeyId: &other})
	f.want("ReEncrypt from another key", "IncorrectKeyException", err)
}

func TestTagsAndLists(t *testing.T) {
	f := setup(t, &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("1")}}})
	tag := func(key, value string) error {
		_, err := f.client.TagResource(ctx, &kms.TagResourceInput{KeyId: &f.key, Tags: []types.Tag{{TagKey: &key, TagValue: &value}}})
		return err
	}
	f.must(tag("a", "2"))
	f.must(tag("b", ""))
	f.want("a reserved tag", "TagException", tag("aws:x", "1"))
	got := map[string]string{}
	l, err := f.client.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: &f.key})
	f.must(err)
	for _, t := range l.Tags {
		got[*t.TagKey] = *t.TagValue
	}
	if !maps.Equal(got, map[string]string{"a": "2", "b": ""}) {
		t.Errorf("the tags are %v", got)
	}
	f.create(&kms.CreateKeyInput{})
	keys, err := f.client.ListKeys(ctx, &kms.ListKeysInput{Limit: aws.Int32(1)})
	f.must(err)
	if len(keys.Keys) != 1 || !keys.Truncated {
		t.Errorf("%d keys, truncated: %v", len(keys.Keys), keys.Truncated)
	}
	elsewhere, err := f.srv.Client("us-east-1", "admin").ListKeys(ctx, &kms.ListKeysInput{})
	f.must(err)
	if len(elsewhere.Keys) != 0 {
		t.Error("keys of another Region are listed")
	}
}

// Another process, or the next run, decrypts what this one encrypted.
func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kms.json")
	srv, err := kmstest.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, srv: srv, client: srv.Client(region, "admin", once)}
	f.key = f.create(&kms.CreateKeyInput{})
	_, err = f.client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &f.key})
	f.must(err)
	blob := f.encrypt(f.client, "alias/a")
	_, err = f.client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &f.key})
	f.must(err)
	info, err := os.Stat(file)
	f.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	again, err := kmstest.Open(file)
	f.must(err)
	f.want("after opening the file again", "", f.decrypt(again.Client(region, "admin"), "alias/a", blob, ec))
	left, err := os.ReadDir(filepath.Dir(file))
	f.must(err)
	if len(left) != 1 {
		t.Errorf("the folder holds %v", left)
	}
	f.must(os.WriteFile(file, []byte("{"), 0o600))
	if _, err := kmstest.Open(file); err == nil {
		t.Error("a damaged file was taken")
	}
}

// What a server sees and answers on the wire, without the SDK.
func TestWire(t *testing.T) {
	hs := httptest.NewServer(kmstest.NewServer())
	defer hs.Close()
	const auth = "AWS4-HMAC-SHA256 Credential=a/20300101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0"
	for _, c := range []struct{ target, auth, body, want string }{
		{"TrentService.ListKeys", auth, `{}`, `200 {"Keys":[],"Truncated":false}`},
		{"TrentService.ListKeys", "", `{}`, `400 {"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`},
		{"TrentService.ListKeys", strings.Replace(auth, "/kms/", "/s3/", 1), `{}`, `400 {"__type":"InvalidSignatureException","message":"Credential should be scoped to correct service: 'kms'."}`},
		{"TrentService.Nothing", auth, `{}`, `400 {"__type":"UnknownOperationException","message":"kmstest has no operation \"Nothing\""}`},
		{"TrentService.ListKeys", auth, `{`, `400 {"__type":"SerializationException","message":"unexpected end of JSON input"}`},
		{"TrentService.DescribeKey", auth, `{"KeyId":"alias/a"}`, `400 {"__type":"NotFoundException","message":"Alias arn:aws:kms:eu-west-1:111122223333:alias/a is not found."}`},
		{"TrentService.DescribeKey", auth, `{"KeyId":"arn:aws:kms:us-east-1:111122223333:key/x"}`, `400 {"__type":"NotFoundException","message":"Invalid arn us-east-1"}`},
	} {
		req, _ := http.NewRequest("POST", hs.URL, strings.NewReader(c.body))
		req.Header.Set("X-Amz-Target", c.target)
		if c.auth != "" {
			req.Header.Set("Authorization", c.auth)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(b.String())); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.target, c.body, got, c.want)
		}
		if resp.Header.Get("Content-Type") != "application/x-amz-json-1.1" || resp.Header.Get("X-Amzn-Requestid") == "" {
			t.Errorf("headers %v", resp.Header)
		}
	}
}

func TestFaultsAndCalls(t *testing.T) {
	f := setup(t)
	f.srv.ResetCalls()
	f.srv.Fail("Encrypt", 1, kmstest.Fault{Code: "ThrottlingException", Message: "Rate exceeded"})
	f.srv.Fail("*", 1, kmstest.Fault{Code: "KMSInternalException"})
	f.srv.Fail("Decrypt", 1, kmstest.Fault{Code: "KeyUnavailableException", Status: 503})
	status := func(err error) int {
		var re *awshttp.ResponseError
		if !errors.As(err, &re) {
			return 0
		}
		return re.HTTPStatusCode()
	}
	enc := func() error {
		_, err := f.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &f.key, Plaintext: []byte("x"), EncryptionContext: ec})
		return err
	}
	err := enc()
	f.want("first", "ThrottlingException", err)
	if status(err) != 400 {
		t.Errorf("throttling has status %d", status(err))
	}
	err = enc()
	f.want("second", "KMSInternalException", err)
	if status(err) != 500 {
		t.Errorf("an internal error has status %d", status(err))
	}
	f.want("third", "", enc())
	if f.srv.Unmet() != 1 {
		t.Errorf("%d faults left", f.srv.Unmet())
	}
	if err := f.decrypt(f.client, f.key, []byte("x"), ec); status(err) != 503 || f.srv.Unmet() != 0 {
		t.Errorf("Decrypt: %v", err)
	}
	calls := f.srv.Calls("Encrypt")
	if len(calls) != 3 || calls[0].Error != "ThrottlingException" || calls[2].Error != "" || !maps.Equal(calls[2].EncryptionContext, ec) ||
		calls[2].Principal != "arn:aws:iam::111122223333:user/admin" || calls[2].Region != region || calls[2].KeyID != f.key {
		t.Errorf("the calls are %+v", calls)
	}

	// The same over HTTP: a connection that breaks, an answer that comes late.
	hs := httptest.NewServer(f.srv)
	defer hs.Close()
	over := f.srv.Client(region, "admin", once, func(o *kms.Options) { o.BaseEndpoint, o.HTTPClient = &hs.URL, hs.Client() })
	for _, c := range []*kms.Client{f.client, over} {
		f.srv.Fail("DescribeKey", 1, kmstest.Fault{Drop: true})
		_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &f.key})
		if err == nil || code(err) != err.Error() {
			t.Errorf("a broken connection: %v", err)
		}
		f.srv.Fail("DescribeKey", 1, kmstest.Fault{Delay: time.Hour})
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = c.DescribeKey(short, &kms.DescribeKeyInput{KeyId: &f.key})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a late answer: %v", err)
		}
	}
}

func TestSign(t *testing.T) {
	s := kmstest.NewServer()
	c := s.Client("eu-central-1", "admin")
	make := func(spec types.KeySpec, usage types.KeyUsageType) *string {
		out, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
		if err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.KeyId
	}
	key, symmetric := make(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify), make(types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt)
	for name, test := range map[string]struct {
		key       *string
		message   int
		kind      types.MessageType
		algorithm types.SigningAlgorithmSpec
		code      string
	}{
		"raw":               {key, 4096, types.MessageTypeRaw, types.SigningAlgorithmSpecEcdsaSha256, ""},
		"a digest":          {key, 32, types.MessageTypeDigest, types.SigningAlgorithmSpecEcdsaSha256, ""},
		"too long":          {key, 4097, types.MessageTypeRaw, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException"},
		"no digest":         {key, 33, types.MessageTypeDigest, types.SigningAlgorithmSpecEcdsaSha256, "ValidationException"},
		"another algorithm": {key, 32, types.MessageTypeRaw, types.SigningAlgorithmSpecRsassaPssSha256, "InvalidKeyUsageException"},
		"a symmetric key":   {symmetric, 32, types.MessageTypeRaw, types.SigningAlgorithmSpecEcdsaSha256, "InvalidKeyUsageException"},
	} {
		message := bytes.Repeat([]byte{1}, test.message)
		out, err := c.Sign(t.Context(), &kms.SignInput{KeyId: test.key, Message: message, MessageType: test.kind, SigningAlgorithm: test.algorithm})
		var api smithy.APIError
		if errors.As(err, &api); test.code != "" && (api == nil || api.ErrorCode() != test.code) || test.code == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		in := &kms.VerifyInput{KeyId: test.key, Message: message, MessageType: test.kind, SigningAlgorithm: test.algorithm, Signature: out.Signature}
		if v, err := c.Verify(t.Context(), in); err != nil || !v.SignatureValid {
			t.Errorf("%s: %v", name, err)
		}
		in.Message[0] = 2
		if _, err := c.Verify(t.Context(), in); !errors.As(err, &api) || api.ErrorCode() != "KMSInvalidSignatureException" {
			t.Errorf("%s: another message: %v", name, err)
		}
	}
	if _, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: symmetric}); err == nil {
		t.Error("a symmetric key has a public key")
	}
	s.SetIAM("arn:aws:iam::111122223333:user/reader", "kms:GetPublicKey")
	reader := s.Client("eu-central-1", "reader")
	if _, err := reader.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: key}); err != nil {
		t.Error(err)
	}
	if _, err := reader.Sign(t.Context(), &kms.SignInput{KeyId: key, Message: []byte("m"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}); err == nil {
		t.Error("who may not sign signs")
	}
}
