package kmstest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

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
