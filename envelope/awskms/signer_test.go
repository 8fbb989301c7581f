package awskms_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/signing"
)

func signingKey(t *testing.T, s *kmstest.Server, spec types.KeySpec, usage types.KeyUsageType) string {
	t.Helper()
	out, err := s.Client("eu-central-1", "admin").CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// A key in KMS signs with one call for each message, of any length, and one before.
func TestSigner(t *testing.T) {
	s := kmstest.NewServer()
	key := signingKey(t, s, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	client := s.Client("eu-central-1", "admin")
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/signer"), TargetKeyId: &key}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{key, strings.Split(key, ":key/")[0] + ":alias/signer"} {
		s.ResetCalls()
		signer, err := awskms.NewSigner(t.Context(), client, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 4096, 100_000} {
			message := make([]byte, n)
			sig, err := signer.Sign(t.Context(), message)
			if err != nil || signer.Public().Verify(message, sig) != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if _, err := signing.Sign(t.Context(), signer, "t", []byte("payload")); err != nil {
			t.Error(err)
		}
		if n := len(s.Calls()); n != 5 || signer.ARN() != key {
			t.Errorf("%d calls, %s", n, signer.ARN())
		}
	}
	// A client of another Region asks the key's.
	if _, err := awskms.NewSigner(t.Context(), s.Client("us-east-1", "admin"), key); err != nil {
		t.Error(err)
	}
}

// What is no key that signs, may not be used, or answers for another key is an error with
// its reason.
func TestSignerErrors(t *testing.T) {
	s := kmstest.NewServer()
	key := signingKey(t, s, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	other := signingKey(t, s, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	client := s.Client("eu-central-1", "admin")
	for name, c := range map[string]struct {
		key    string
		reason awskms.Reason
	}{
		"a symmetric key":     {signingKey(t, s, types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt), awskms.Unsuitable},
		"a key for agreement": {signingKey(t, s, types.KeySpecEccNistP256, types.KeyUsageTypeKeyAgreement), awskms.Unsuitable},
		"no key":              {key[:len(key)-4] + "0000", awskms.NotFound},
	} {
		var e *awskms.Error
		if _, err := awskms.NewSigner(t.Context(), client, c.key); !errors.As(err, &e) || e.Reason != c.reason || c.reason == awskms.Unsuitable && !strings.Contains(err.Error(), "ECC_NIST_P256") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "alias/x", "1234", "file", "arn:aws:s3:::x"} {
		if _, err := awskms.NewSigner(t.Context(), client, name); err == nil {
			t.Errorf("%q is a key", name)
		}
	}
	signer, err := awskms.NewSigner(t.Context(), client, key)
	if err != nil {
		t.Fatal(err)
	}
	for code, reason := range map[string]awskms.Reason{"AccessDeniedException": awskms.NotAllowed, "DisabledException": awskms.Disabled, "ThrottlingException": awskms.Throttled, "KMSInvalidStateException": awskms.BadState} {
		s.Fail("Sign", 10, kmstest.Fault{Code: code, Status: 400})
		var e *awskms.Error
		if _, err := signer.Sign(t.Context(), nil); !errors.As(err, &e) || e.Reason != reason || errors.Is(err, fs.ErrPermission) != (reason == awskms.NotAllowed) {
			t.Errorf("%s: %v", code, err)
		}
		s.ClearFaults()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signer.Sign(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := new(awskms.Signer).Sign(t.Context(), nil); !errors.Is(err, envelope.ErrKeyUnusable) {
		t.Error(err)
	}
	if _, err := (*awskms.Signer)(nil).Sign(t.Context(), nil); !errors.Is(err, envelope.ErrKeyUnusable) {
		t.Error(err)
	}
	// A service that answers for another key.
	for name, api := range map[string]swapped{"all": {client, other, true}, "signatures": {client, other, false}} {
		got, err := awskms.NewSigner(t.Context(), api, key)
		if err == nil {
			_, err = got.Sign(t.Context(), []byte("m"))
		}
		var e *awskms.Error
		if !errors.As(err, &e) || e.Reason != awskms.WrongAnswer {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// swapped asks for another key.
type swapped struct {
	awskms.SignAPI
	other  string
	public bool
}

func (s swapped) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput, opts ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	if s.public {
		in = &kms.GetPublicKeyInput{KeyId: &s.other}
	}
	return s.SignAPI.GetPublicKey(ctx, in, opts...)
}

func (s swapped) Sign(ctx context.Context, in *kms.SignInput, opts ...func(*kms.Options)) (*kms.SignOutput, error) {
	in.KeyId = &s.other
	return s.SignAPI.Sign(ctx, in, opts...)
}

// A signature of KMS's is one that other tools take: what Verify there says is what is
// said here.
func TestSignerAgainstVerify(t *testing.T) {
	s := kmstest.NewServer()
	key := signingKey(t, s, types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	client := s.Client("eu-central-1", "admin")
	signer, err := awskms.NewSigner(t.Context(), client, key)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	sig, err := signer.Sign(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	in := &kms.VerifyInput{KeyId: &key, Message: message, MessageType: types.MessageTypeRaw, Signature: sig, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}
	if out, err := client.Verify(t.Context(), in); err != nil || !out.SignatureValid {
		t.Error(err)
	}
	in.Message = []byte("another")
	if _, err := client.Verify(t.Context(), in); err == nil {
		t.Error("another message verifies")
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public().Key())
	got, gerr := client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &key})
	if err != nil || gerr != nil || string(public) != string(got.PublicKey) {
		t.Error(err, gerr)
	}
}
