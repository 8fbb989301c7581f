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

// states calls every operation that has a row in the table of key states.
func states(f *fixture, key, spare string, blob []byte) map[string]func() error {
	c := f.client
	return map[string]func() error{
		"CancelKeyDeletion": func() error {
			_, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &key})
			return err
		},
		"CreateAlias": func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/new"), TargetKeyId: &key})
			return err
		},
		"CreateGrant": func() error {
			_, err := c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: aws.String("arn:aws:iam::111122223333:user/g"), Operations: []types.GrantOperation{"Decrypt"}})
			return err
		},
		"Decrypt": func() error { return f.decrypt(c, key, blob, ec) },
		"DescribeKey": func() error {
			_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
			return err
		},
		"DisableKey": func() error { _, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &key}); return err },
		"DisableKeyRotation": func() error {
			_, err := c.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &key})
			return err
		},
		"EnableKey": func() error { _, err := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &key}); return err },
		"EnableKeyRotation": func() error {
			_, err := c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &key})
			return err
		},
		"Encrypt": func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x")})
			return err
		},
		"GenerateDataKey": func() error {
			_, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: "AES_256"})
			return err
		},
		"GenerateDataKeyWithoutPlaintext": func() error {
			_, err := c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, KeySpec: "AES_256"})
			return err
		},
		"GetKeyPolicy": func() error { _, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &key}); return err },
		"GetKeyRotationStatus": func() error {
			_, err := c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &key})
			return err
		},
		"ListAliases": func() error { _, err := c.ListAliases(ctx, &kms.ListAliasesInput{KeyId: &key}); return err },
		"ListGrants":  func() error { _, err := c.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &key}); return err },
		"ListResourceTags": func() error {
			_, err := c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: &key})
			return err
		},
		"PutKeyPolicy": func() error {
			_, err := c.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(allowAll)})
			return err
		},
		"ReEncrypt": func() error {
			_, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: &key, SourceEncryptionContext: ec, DestinationKeyId: &spare})
			return err
		},
		"ReplicateKey": func() error {
			_, err := c.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &key, ReplicaRegion: aws.String("us-east-1")})
			return err
		},
		"ScheduleKeyDeletion": func() error {
			_, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &key})
			return err
		},
		"TagResource": func() error {
			_, err := c.TagResource(ctx, &kms.TagResourceInput{KeyId: &key, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
			return err
		},
		"UntagResource": func() error {
			_, err := c.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &key, TagKeys: []string{"a"}})
			return err
		},
		"UpdateAlias": func() error {
			_, err := c.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/old"), TargetKeyId: &key})
			return err
		},
	}
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}`

// The table of docs.aws.amazon.com/kms/latest/developerguide/key-state.html, row
// by row: Enabled, Disabled, PendingDeletion, PendingImport, Unavailable, Creating,
// Updating. Where it allows two errors the test does too.
func TestKeyStates(t *testing.T) {
	const (
		ok   = ""
		dis  = "DisabledException"
		inv  = "KMSInvalidStateException"
		uns  = "UnsupportedOperationException"
		both = dis + "|" + inv
	)
	columns := []string{"Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Creating", "Updating"}
	table := map[string][]string{
		"CancelKeyDeletion":               {inv, inv, ok, inv, inv, inv, inv},
		"CreateAlias":                     {ok, ok, inv, ok, ok, ok, ok},
		"CreateGrant":                     {ok, dis, both, inv, ok, inv, ok},
		"Decrypt":                         {ok, dis, both, inv, inv, inv, ok},
		"DescribeKey":                     {ok, ok, ok, ok, ok, ok, ok},
		"DisableKey":                      {ok, ok, inv, inv, ok, inv, inv},
		"DisableKeyRotation":              {ok, dis, inv, uns, inv, inv, ok},
		"EnableKey":                       {ok, ok, inv, inv, ok, inv, inv},
		"EnableKeyRotation":               {ok, dis, inv, uns, inv, inv, ok},
		"Encrypt":                         {ok, dis, both, inv, inv, inv, ok},
		"GenerateDataKey":                 {ok, dis, both, inv, inv, inv, ok},
		"GenerateDataKeyWithoutPlaintext": {ok, dis, both, inv, inv, inv, ok},
		"GetKeyPolicy":                    {ok, ok, ok, ok, ok, ok, ok},
		"GetKeyRotationStatus":            {ok, ok, ok, uns, ok, ok, ok},
		"ListAliases":                     {ok, ok, ok, ok, ok, ok, ok},
		"ListGrants":                      {ok, ok, ok, ok, ok, ok, ok},
		"ListResourceTags":                {ok, ok, ok, ok, ok, ok, ok},
		"PutKeyPolicy":                    {ok, ok, ok, ok, ok, ok, ok},
		"ReEncrypt":                       {ok, dis, both, inv, inv, inv, ok},
		"ReplicateKey":                    {ok, dis, both, inv, inv, inv, inv},
		"ScheduleKeyDeletion":             {ok, ok, inv, ok, ok, ok, inv},
		"TagResource":                     {ok, ok, inv, ok, ok, ok, ok},
		"UntagResource":                   {ok, ok, inv, ok, ok, ok, ok},
		"UpdateAlias":                     {ok, ok, inv, ok, ok, ok, ok},
	}
	for op, row := range table {
		for i, state := range columns {
			in := &kms.CreateKeyInput{MultiRegion: aws.Bool(true)}
			if state == "PendingImport" {
				in.Origin = types.OriginTypeExternal
			}
			f := setup(t, in)
			spare := f.create(&kms.CreateKeyInput{})
			_, err := f.client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/old"), TargetKeyId: &spare})
			f.must(err)
			var blob []byte
			switch state {
			case "PendingImport":
				blob = append(append([]byte("kmstest\x01"), byte(len(id(f.key)))), id(f.key)+strings.Repeat("0", 64+28)...)
			default:
				blob = f.encrypt(f.client, f.key)
			}
			switch state {
			case "Disabled":
				_, err = f.client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &f.key})
			case "PendingDeletion":
				_, err = f.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &f.key})
			case "Unavailable", "Creating", "Updating":
				err = f.srv.SetKeyState(f.key, state)
			}
			f.must(err)
			call := states(f, f.key, spare, blob)[op]
			f.want(op+" of a key that is "+state, row[i], call())
		}
	}
	f := setup(t)
	if all := states(f, f.key, f.key, nil); len(all) != len(table) {
		t.Errorf("%d operations, %d rows", len(all), len(table))
	}
}

func TestDeletion(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	_, err := f.client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: &f.key})
	f.must(err)
	for _, days := range []int32{6, 31} {
		_, err := f.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &f.key, PendingWindowInDays: &days})
		f.want(fmt.Sprint(days, " days"), "ValidationException", err)
	}
	out, err := f.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &f.key})
	f.must(err)
	if *out.PendingWindowInDays != 30 || !out.DeletionDate.Equal(f.now.AddDate(0, 0, 30)) || out.KeyState != "PendingDeletion" || *out.KeyId != f.key {
		t.Errorf("by default: %d days, %v, %s", *out.PendingWindowInDays, out.DeletionDate, out.KeyState)
	}
	cancel, err := f.client.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &f.key})
	f.must(err)
	if *cancel.KeyId != f.key {
		t.Errorf("cancelled %s", *cancel.KeyId)
	}
	f.want("after cancelling", "DisabledException", f.decrypt(f.client, f.key, blob, ec))
	_, err = f.client.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &f.key})
	f.must(err)
	f.want("after enabling", "", f.decrypt(f.client, f.key, blob, ec))

	_, err = f.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &f.key, PendingWindowInDays: aws.Int32(7)})
	f.must(err)
	f.now = f.now.AddDate(0, 0, 7).Add(-time.Second)
	f.want("a second before", "KMSInvalidStateException", f.decrypt(f.client, f.key, blob, ec))
	f.now = f.now.Add(time.Second)
	f.want("when the time has come", "NotFoundException", f.decrypt(f.client, f.key, blob, ec))
	_, err = f.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
	f.want("its alias", "NotFoundException", err)
	f.want("its ciphertext, without a key ID", "AccessDeniedException", f.decrypt(f.client, "", blob, ec))
}

func TestMultiRegionKeys(t *testing.T) {
	f := setup(t, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	single := f.create(&kms.CreateKeyInput{})
	there := f.srv.Client("us-east-1", "admin", once)
	replicate := func(key, region string) error {
		_, err := f.client.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &key, ReplicaRegion: &region})
		return err
	}
	f.want("a single-Region key", "UnsupportedOperationException", replicate(single, "us-east-1"))
	f.want("its own Region", "AlreadyExistsException", replicate(f.key, region))
	f.want("another partition", "ValidationException", replicate(f.key, "cn-north-1"))
	f.must(replicate(f.key, "us-east-1"))
	f.want("twice", "AlreadyExistsException", replicate(f.key, "us-east-1"))
	replica := strings.Replace(f.key, region, "us-east-1", 1)

	d, err := there.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &replica})
	f.must(err)
	m := d.KeyMetadata.MultiRegionConfiguration
	if !strings.HasPrefix(id(f.key), "mrk-") || m.MultiRegionKeyType != "REPLICA" || *m.PrimaryKey.Arn != f.key || len(m.ReplicaKeys) != 1 || *m.ReplicaKeys[0].Region != "us-east-1" {
		t.Errorf("%s: %+v", replica, m)
	}
	f.want("made by the primary, opened by the replica", "", f.decrypt(there, replica, f.encrypt(f.client, f.key), ec))
	f.want("made by the replica, opened by the primary", "", f.decrypt(f.client, f.key, f.encrypt(there, replica), ec))
	f.want("the primary key's ARN in the replica's Region", "NotFoundException", f.decrypt(there, f.key, f.encrypt(f.client, f.key), ec))
	_, err = f.client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &f.key})
	f.must(err)
	f.want("after a rotation", "", f.decrypt(there, replica, f.encrypt(f.client, f.key), ec))
	_, err = there.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &replica})
	f.want("rotation of a replica", "UnsupportedOperationException", err)
	_, err = there.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &replica})
	f.must(err)
	f.want("the state is not shared", "", f.decrypt(f.client, f.key, f.encrypt(f.client, f.key), ec))

	// A primary key outlives its replicas, and its waiting period begins then.
	out, err := f.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &f.key, PendingWindowInDays: aws.Int32(7)})
	f.must(err)
	if out.KeyState != "PendingReplicaDeletion" || out.DeletionDate != nil {
		t.Errorf("a primary key with a replica: %s, %v", out.KeyState, out.DeletionDate)
	}
	_, err = there.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &replica, PendingWindowInDays: aws.Int32(10)})
	f.must(err)
	f.now = f.now.AddDate(0, 0, 10)
	p, err := f.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &f.key})
	f.must(err)
	if p.KeyMetadata.KeyState != "PendingDeletion" || !p.KeyMetadata.DeletionDate.Equal(f.now.AddDate(0, 0, 7)) {
		t.Errorf("after the replica: %s, %v", p.KeyMetadata.KeyState, p.KeyMetadata.DeletionDate)
	}
	f.now = f.now.AddDate(0, 0, 7)
	_, err = f.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &f.key})
	f.want("in the end", "NotFoundException", err)
}

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

func TestRotation(t *testing.T) {
	f := setup(t)
	old := f.encrypt(f.client, f.key)
	material := func() string {
		d, err := f.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &f.key})
		f.must(err)
		return *d.KeyMetadata.CurrentKeyMaterialId
	}
	first := material()
	for i := range 26 {
		_, err := f.client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &f.key})
		f.want(fmt.Sprint("rotation ", i+1), map[bool]string{true: "LimitExceededException"}[i == 25], err)
	}
	if material() == first {
		t.Error("rotation leaves the material")
	}
	f.want("a ciphertext of old material", "", f.decrypt(f.client, f.key, old, ec))
	f.want("one of new material", "", f.decrypt(f.client, f.key, f.encrypt(f.client, f.key), ec))
	d, err := f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old, EncryptionContext: ec})
	f.must(err)
	if *d.KeyMaterialId != first {
		t.Error("the old ciphertext is said to be of other material")
	}

	for days, want := range map[int32]string{89: "ValidationException", 2561: "ValidationException", 90: ""} {
		_, err := f.client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &f.key, RotationPeriodInDays: &days})
		f.want(fmt.Sprint(days, " days"), want, err)
	}
	s, err := f.client.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &f.key})
	f.must(err)
	if !s.KeyRotationEnabled || *s.RotationPeriodInDays != 90 || !s.NextRotationDate.Equal(f.now.AddDate(0, 0, 90)) {
		t.Errorf("the status is %+v", s)
	}
	was := material()
	f.now = f.now.AddDate(0, 0, 90)
	if material() == was {
		t.Error("the key was not rotated when it was due")
	}
	_, err = f.client.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &f.key})
	f.must(err)
	was, f.now = material(), f.now.AddDate(1, 0, 0)
	if material() != was {
		t.Error("the key was rotated although that is off")
	}
}

func TestAliases(t *testing.T) {
	f := setup(t)
	other := f.create(&kms.CreateKeyInput{})
	hmac := f.create(&kms.CreateKeyInput{KeySpec: "HMAC_256", KeyUsage: "GENERATE_VERIFY_MAC"})
	create := func(name, key string) error {
		_, err := f.client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &key})
		return err
	}
	update := func(name, key string) error {
		_, err := f.client.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &key})
		return err
	}
	f.must(create("alias/a", f.key))
	f.want("twice", "AlreadyExistsException", create("alias/a", other))
	f.want("reserved", "InvalidAliasNameException", create("alias/aws/x", f.key))
	f.want("a space", "InvalidAliasNameException", create("alias/a b", f.key))
	f.want("no prefix", "InvalidAliasNameException", create("a", f.key))
	f.want("an alias as target", "NotFoundException", create("alias/b", "alias/a"))
	f.want("another type", "ValidationException", update("alias/a", hmac))
	f.want("none", "NotFoundException", update("alias/none", f.key))

	blob := f.encrypt(f.client, "alias/a")
	f.want("by alias", "", f.decrypt(f.client, "alias/a", blob, ec))
	f.must(update("alias/a", other))
	f.want("by alias, once that is moved", "IncorrectKeyException", f.decrypt(f.client, "alias/a", blob, ec))
	f.want("the same name in another Region", "NotFoundException", f.decrypt(f.srv.Client("us-east-1", "admin", once), "alias/a", blob, ec))
	f.want("DisableKey by alias", "NotFoundException", func() error {
		_, err := f.client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String("alias/a")})
		return err
	}())
	for i := range 51 {
		f.want(fmt.Sprint("alias ", i+1), map[bool]string{true: "LimitExceededException"}[i == 50], create(fmt.Sprintf("alias/n/%02d", i), f.key))
	}
	var names []string
	pages := kms.NewListAliasesPaginator(f.client, &kms.ListAliasesInput{KeyId: &f.key, Limit: aws.Int32(20)})
	for n := 0; pages.HasMorePages(); n++ {
		p, err := pages.NextPage(ctx)
		f.must(err)
		for _, a := range p.Aliases {
			names = append(names, *a.AliasName)
		}
		if n > 2 {
			t.Fatal("more pages than there can be")
		}
	}
	if len(names) != 50 || names[0] != "alias/n/00" || names[49] != "alias/n/49" {
		t.Errorf("listed %q", names)
	}
	_, err := f.client.ListAliases(ctx, &kms.ListAliasesInput{Limit: aws.Int32(101)})
	f.want("101 at once", "ValidationException", err)
	_, err = f.client.ListKeys(ctx, &kms.ListKeysInput{Marker: aws.String("!")})
	f.want("a wrong marker", "InvalidMarkerException", err)
	_, err = f.client.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/a")})
	f.must(err)
	_, err = f.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
	f.want("after DeleteAlias", "NotFoundException", err)
}

func TestPolicies(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	const root = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}`
	put := func(statements ...string) error {
		p := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
		_, err := f.client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &f.key, Policy: &p})
		return err
	}
	deny := func(action, principal, condition string) string {
		return `{"Effect":"Deny","Principal":` + principal + `,"Action":` + action + `,"Resource":"*","Condition":` + condition + `}`
	}
	const all, none = `{"AWS":"*"}`, `{}`
	f.srv.SetPrincipal("session", "arn:aws:sts::111122223333:assumed-role/Job/i-1")
	f.srv.SetPrincipal("stranger", "arn:aws:iam::999999999999:user/eve")
	for _, c := range []struct {
		what, who  string
		statements []string
		want       string
	}{
		{"the default", "bob", []string{root}, ""},
		{"another account", "stranger", []string{root}, "AccessDeniedException"},
		{"another account that is let in", "stranger", []string{root, strings.Replace(root, "111122223333", "999999999999", 1)}, ""},
		{"a Deny", "bob", []string{root, deny(`"kms:Decrypt"`, all, none)}, "AccessDeniedException"},
		{"a Deny of something else", "bob", []string{root, deny(`"kms:Encrypt"`, all, none)}, ""},
		{"a Deny with a wildcard", "bob", []string{root, deny(`["kms:De*"]`, all, none)}, "AccessDeniedException"},
		{"a Deny for another", "bob", []string{root, deny(`"kms:Decrypt"`, `{"AWS":"arn:aws:iam::111122223333:user/carol"}`, none)}, ""},
		{"a Deny for this one", "bob", []string{root, deny(`"kms:Decrypt"`, `{"AWS":["arn:aws:iam::111122223333:user/bob"]}`, none)}, "AccessDeniedException"},
		{"a Deny for a role", "session", []string{root, deny(`"kms:Decrypt"`, `{"AWS":"arn:aws:iam::111122223333:role/Job"}`, none)}, "AccessDeniedException"},
		{"a Deny for a context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"IT"}}`)}, "AccessDeniedException"},
		{"its name has no case", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:department":"IT"}}`)}, "AccessDeniedException"},
		{"its value has", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"it"}}`)}, ""},
		{"both of two conditions", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"IT","kms:EncryptionContext:Purpose":"Other"}}`)}, ""},
		{"one of two values", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":["HR","IT"]}}`)}, "AccessDeniedException"},
		{"all but a context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:EncryptionContext:Department":"IT"}}`)}, ""},
		{"all but another context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:EncryptionContext:Project":"x"}}`)}, "AccessDeniedException"},
		{"a pattern", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringLike":{"kms:EncryptionContext:Purpose":"T*"}}`)}, "AccessDeniedException"},
		{"not by way of S3", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}`)}, "AccessDeniedException"},
		{"by way of S3 only", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}`)}, ""},
		{"by its account", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:CallerAccount":"999999999999"}}`)}, "AccessDeniedException"},
		{"an Allow for others only", "bob", []string{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/admin"},"Action":"kms:*","Resource":"*"}`}, "AccessDeniedException"},
	} {
		f.must(put(c.statements...))
		f.want(c.what, c.want, f.decrypt(f.srv.Client(region, c.who, once), f.key, blob, ec))
	}
	f.must(put(root))
	f.srv.SetIAM("arn:aws:iam::111122223333:user/bob", "kms:Encrypt")
	f.want("an identity policy without it", "AccessDeniedException", f.decrypt(f.srv.Client(region, "bob", once), f.key, blob, ec))
	f.srv.SetIAM("arn:aws:iam::111122223333:user/bob", "kms:De*")
	f.want("an identity policy with it", "", f.decrypt(f.srv.Client(region, "bob", once), f.key, blob, ec))
	_, err := f.srv.Client(region, "stranger", once).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &f.key})
	f.want("DisableKey across accounts", "AccessDeniedException", err)

	f.want("a policy that locks its author out", "MalformedPolicyDocumentException", put(deny(`"kms:Decrypt"`, all, none)))
	f.want("an operator unknown here", "MalformedPolicyDocumentException", put(root, deny(`"kms:*"`, all, `{"IpAddress":{"aws:SourceIp":"1.2.3.4"}}`)))
	f.want("a condition key unknown here", "MalformedPolicyDocumentException", put(root, deny(`"kms:*"`, all, `{"StringEquals":{"aws:SourceVpc":"y"}}`)))
	f.want("an element unknown here", "MalformedPolicyDocumentException", put(strings.Replace(root, `"Action"`, `"NotAction"`, 1)))
	f.want("no statement", "MalformedPolicyDocumentException", put())
	f.want("32 KB", "LimitExceededException", put(root, deny(`"`+strings.Repeat("x", 32<<10)+`"`, all, none)))
	p, err := f.client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &f.key})
	f.must(err)
	if *p.Policy != `{"Version":"2012-10-17","Statement":[`+root+`]}` {
		t.Errorf("the policy became %s", *p.Policy)
	}
}

func TestGrants(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	const grantee, retirer = "arn:aws:iam::111122223333:user/grantee", "arn:aws:iam::111122223333:user/retirer"
	f.srv.SetIAM(grantee)
	f.srv.SetIAM(retirer)
	as := func(who string) *kms.Client { return f.srv.Client(region, who, once) }
	open := func(ec map[string]string) error { return f.decrypt(as("grantee"), f.key, blob, ec) }
	grant := func(c *kms.Client, con *types.GrantConstraints, ops ...types.GrantOperation) (*kms.CreateGrantOutput, error) {
		return c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String(grantee), RetiringPrincipal: aws.String(retirer), Operations: ops, Constraints: con})
	}
	equals := func(ec map[string]string) *types.GrantConstraints {
		return &types.GrantConstraints{EncryptionContextEquals: ec}
	}
	f.want("without a grant", "AccessDeniedException", open(ec))
	subset := &types.GrantConstraints{EncryptionContextSubset: map[string]string{"Department": "IT"}}
	for _, c := range []struct {
		what string
		con  *types.GrantConstraints
		op   types.GrantOperation
		want string
	}{
		{"no constraint", nil, "Decrypt", ""},
		{"another operation", nil, "Encrypt", "AccessDeniedException"},
		{"the context", equals(ec), "Decrypt", ""},
		{"less than the context", equals(map[string]string{"Department": "IT"}), "Decrypt", "AccessDeniedException"},
		{"a part of the context", subset, "Decrypt", ""},
		{"a part, in another case", &types.GrantConstraints{EncryptionContextSubset: map[string]string{"department": "IT"}}, "Decrypt", "AccessDeniedException"},
	} {
		g, err := grant(f.client, c.con, c.op)
		f.must(err)
		f.want(c.what, c.want, open(ec))
		_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: g.GrantId})
		f.must(err)
		f.want(c.what+", revoked", "AccessDeniedException", open(ec))
	}
	_, err := grant(f.client, nil, "Sign")
	f.want("an operation of other keys", "ValidationException", err)
	many := map[string]string{}
	for i := range 9 {
		many[fmt.Sprint(i)] = "x"
	}
	_, err = grant(f.client, equals(many), "Decrypt")
	f.want("nine pairs", "ValidationException", err)
	_, err = grant(f.client, equals(map[string]string{"a": strings.Repeat("x", 385)}), "Decrypt")
	f.want("385 characters", "ValidationException", err)
	_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: aws.String(strings.Repeat("0", 64))})
	f.want("no such grant", "NotFoundException", err)
	_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: aws.String("x")})
	f.want("no grant ID", "InvalidGrantIdException", err)
	_, err = f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec, GrantTokens: []string{"x"}})
	f.want("no grant token", "InvalidGrantTokenException", err)

	// Retiring: the retiring principal, and the grantee where the grant says so.
	g, err := grant(f.client, nil, "Decrypt")
	f.must(err)
	_, err = as("grantee").RetireGrant(ctx, &kms.RetireGrantInput{KeyId: &f.key, GrantId: g.GrantId})
	f.want("retired by the grantee", "AccessDeniedException", err)
	_, err = as("retirer").RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: g.GrantToken})
	f.want("retired by its token", "", err)
	f.want("after that", "AccessDeniedException", open(ec))
	g, err = grant(f.client, nil, "Decrypt", "RetireGrant")
	f.must(err)
	_, err = as("grantee").RetireGrant(ctx, &kms.RetireGrantInput{KeyId: &f.key, GrantId: g.GrantId})
	f.want("retired by a grantee who may", "", err)

	// A name makes a retry of a retry.
	named := func() string {
		g, err := f.client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String(grantee), Name: aws.String("n"), Operations: []types.GrantOperation{"Encrypt"}})
		f.must(err)
		return *g.GrantId
	}
	if a, b := named(), named(); a != b {
		t.Error("the same grant with the same name was made twice")
	}
	list, err := f.client.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &f.key})
	f.must(err)
	if len(list.Grants) != 1 || *list.Grants[0].GranteePrincipal != grantee || *list.Grants[0].KeyId != f.key {
		t.Errorf("the grants are %+v", list.Grants)
	}

	// Who may make grants by a grant gives no more than that.
	_, err = grant(f.client, subset, "Decrypt", "CreateGrant")
	f.must(err)
	_, err = grant(as("grantee"), nil, "Decrypt")
	f.want("a looser grant", "AccessDeniedException", err)
	_, err = grant(as("grantee"), subset, "Encrypt")
	f.want("another operation", "AccessDeniedException", err)
	_, err = grant(as("grantee"), &types.GrantConstraints{EncryptionContextSubset: ec}, "Decrypt")
	f.want("a stricter grant", "", err)
}

func TestDryRun(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	dry := aws.Bool(true)
	f.srv.SetIAM("arn:aws:iam::111122223333:user/nobody")
	for who, want := range map[string]string{"admin": "DryRunOperationException", "nobody": "AccessDeniedException"} {
		c := f.srv.Client(region, who, once)
		_, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &f.key, KeySpec: "AES_256", DryRun: dry})
		f.want(who+", GenerateDataKey", want, err)
		_, err = c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &f.key, KeySpec: "AES_256", DryRun: dry})
		f.want(who+", GenerateDataKeyWithoutPlaintext", want, err)
		_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &f.key, Plaintext: []byte("x"), DryRun: dry})
		f.want(who+", Encrypt", want, err)
		_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec, DryRun: dry})
		f.want(who+", Decrypt", want, err)
		_, err = c.Decrypt(ctx, &kms.DecryptInput{KeyId: &f.key, DryRun: dry, DryRunModifiers: []types.DryRunModifierType{"IGNORE_CIPHERTEXT"}})
		f.want(who+", Decrypt without a ciphertext", want, err)
		_, err = c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: ec, DestinationKeyId: &f.key, DryRun: dry})
		f.want(who+", ReEncrypt", want, err)
		_, err = c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String("arn:aws:iam::111122223333:user/g"), Operations: []types.GrantOperation{"Decrypt"}, DryRun: dry})
		f.want(who+", CreateGrant", want, err)
	}
	_, err := f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, DryRun: dry})
	f.want("with another context", "InvalidCiphertextException", err)
	if g, err := f.client.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &f.key}); err != nil || len(g.Grants) != 0 {
		t.Errorf("a dry run made a grant: %v", err)
	}
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
