package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// newAWS is an AWS at the endpoint of the environment, with a bucket and a key.
func newAWS(t *testing.T, in kms.CreateKeyInput) (s *awstest.Server, arn string) {
	t.Helper()
	s = awstest.New("eu-central-1")
	s.AddBucket("data", awstest.Bucket{})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": h.URL, "AWS_REGION": s.Region, "AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "x",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CA_BUNDLE": ""} {
		t.Setenv(k, v)
	}
	out, err := kms.NewFromConfig(s.Config()).CreateKey(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return s, *out.KeyMetadata.Arn
}

func inAWS(key string) *config.Config {
	return &config.Config{Vault: config.Setting{Value: "s3://data/ml", Source: "the test"}, DefaultKey: true,
		KMSKeys: []config.Setting{{Value: key, Source: "the test"}}, S3: s3store.Settings{Attempts: 2, MaxBackoff: time.Millisecond}}
}

// put stores an object of the size and reads it back.
func put(t *testing.T, v *vault.Vault, name string, size int) error {
	t.Helper()
	data := bytes.Repeat([]byte("x"), size)
	if err := v.Put(t.Context(), name, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		return err
	}
	r, err := v.Get(t.Context(), name, 0, -1)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("read %d bytes of %d: %v", len(got), size, err)
	}
	return nil
}

// A key is named by alias, alias ARN, ID or ARN, for data keys and for objects; its
// ARN is what is recorded, and one DescribeKey is what it takes.
func TestKeyNames(t *testing.T) {
	s, arn := newAWS(t, kms.CreateKeyInput{})
	id := arn[strings.LastIndex(arn, "/")+1:]
	if _, err := kms.NewFromConfig(s.Config()).CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/ml"), TargetKeyId: &id}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{arn, id, "alias/ml", strings.Replace(arn, "key/"+id, "alias/ml", 1)} {
		for what, cfg := range map[string]*config.Config{
			"kms_keys":   inAWS(name),
			"s3.kms_key": {Vault: config.Setting{Value: "s3://data/ml"}, KMSKeys: []config.Setting{{Value: arn}}, DefaultKey: true, S3: s3store.Settings{KMSKey: name}},
		} {
			s.KMS.ResetCalls()
			v, err := config.Open(t.Context(), cfg)
			if err != nil {
				t.Errorf("%s: %s: %v", what, name, err)
				continue
			}
			if v.Keys.Names[0] != arn {
				t.Errorf("%s: %s is recorded as %s", what, name, v.Keys.Names[0])
			}
			if err := put(t, v, "x", 3); err != nil {
				t.Errorf("%s: %s: %v", what, name, err)
			}
			want := 1
			if name == arn {
				want = 0
			}
			if n := len(s.KMS.Calls("DescribeKey")); n != want {
				t.Errorf("%s: %s takes %d calls of DescribeKey", what, name, n)
			}
		}
	}
	// Who may not look is told the permission, and the way that takes none.
	s.KMS.SetIAM(s.IAM("user/admin"))
	_, err := config.Open(t.Context(), inAWS("alias/ml"))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "kms:DescribeKey") || !strings.Contains(err.Error(), "the key's ARN") {
		t.Errorf("without kms:DescribeKey: %v", err)
	}
	s.KMS.SetIAM(s.IAM("user/admin"), "kms:*")
	if _, err := config.Open(t.Context(), inAWS("alias/none")); err == nil || !strings.Contains(err.Error(), "alias/none") {
		t.Errorf("an alias that does not exist: %v", err)
	}
}

// The local key of the user that is made by default takes no part where KMS keys are
// configured, and one that is named does.
func TestLocalKeyBesideKMS(t *testing.T) {
	_, arn := newAWS(t, kms.CreateKeyInput{})
	file := filepath.Join(t.TempDir(), "key")
	if err := config.WriteSecret(file, envelope.GenerateLocalKey().EncodeSecret()); err != nil {
		t.Fatal(err)
	}
	cfg := inAWS(arn)
	cfg.LocalKey.Value = file
	for byDefault, want := range map[bool][]string{true: {arn}, false: {arn, file}} {
		cfg.DefaultKey = byDefault
		k, err := config.ReadKeys(t.Context(), cfg)
		if err != nil || !slices.Equal(k.Names, want) {
			t.Errorf("by default %v: %q, %v", byDefault, k.Names, err)
		}
	}
}

// The replica of a multi-Region key opens what the first has wrapped where that is
// asked for; where not, the setting is named.
func TestRelatedKeys(t *testing.T) {
	s, arn := newAWS(t, kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	if _, err := kms.NewFromConfig(s.Config()).ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: &arn, ReplicaRegion: aws.String("us-west-2")}); err != nil {
		t.Fatal(err)
	}
	ec := envelope.EncryptionContext{"a": "b"}
	first, err := config.ReadKeys(t.Context(), inAWS(arn))
	if err != nil {
		t.Fatal(err)
	}
	ring, _, err := envelope.NewKeyring(t.Context(), ec, first.Wrap[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg := inAWS(strings.Replace(arn, s.Region, "us-west-2", 1))
	other, err := config.ReadKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ring.Unwrap(t.Context(), ec, other.Open...)
	var related *awskms.RelatedError
	if !errors.As(err, &related) || related.SlotARN != arn {
		t.Errorf("without kms_related: %v", err)
	}
	cfg.KMSRelated = true
	if other, err = config.ReadKeys(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Unwrap(t.Context(), ec, other.Open...); err != nil {
		t.Errorf("with kms_related: %v", err)
	}
}

// A profile with an MFA device asks for its code once for all clients of a vault, and
// where nobody can be asked, says which command takes a session.
func TestMFA(t *testing.T) {
	s, arn := newAWS(t, kms.CreateKeyInput{})
	for _, k := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(k, "")
		os.Unsetenv(k)
	}
	file := filepath.Join(t.TempDir(), "config")
	text := "[profile mfa]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/me\n" +
		"[profile second]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/me\n" +
		"[profile base]\naws_access_key_id = admin\naws_secret_access_key = x\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	cfg := inAWS(arn)
	cfg.S3.Profile = "mfa"
	v, err := config.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Folders(t.Context(), "")
	var mfa *config.MFAError
	if !errors.As(err, &mfa) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "aws configure export-credentials --profile mfa --format env") {
		t.Errorf("without anybody to ask: %v", err)
	}
	asked := 0
	second := inAWS(arn)
	second.S3.Profile = "second"
	// The SDK's own client of STS knows no other endpoint.
	second.S3.LoadOptions = append(second.S3.LoadOptions, awsconfig.WithHTTPClient(&http.Client{Transport: s}))
	second.S3.MFACode = func(_ context.Context, profile, serial string) (string, error) {
		asked++
		return fmt.Sprintf("12345%d", asked), nil
	}
	if v, err = config.Open(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if err := put(t, v, "x", 3); err != nil {
		t.Error(err)
	}
	if _, _, err := envelope.NewKeyring(t.Context(), envelope.EncryptionContext{"a": "b"}, v.Keys.Wrap[0]); err != nil {
		t.Error(err)
	}
	if asked != 1 {
		t.Errorf("the code was asked for %d times", asked)
	}
}
