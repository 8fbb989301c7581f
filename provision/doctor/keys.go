package doctor

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// keyChecks returns the checks of the configured keys, and of the key for objects in S3.
func (d *doctor) keyChecks() []check {
	c := d.Config
	needs := []string{"settings"}
	if len(c.KMSKeys) > 0 {
		needs = []string{"credentials"}
	}
	if !s3store.IsURL(c.Vault.Value) {
		needs = append(needs, "directory")
	}
	all := []check{{name: "keys", needs: needs, run: d.readKeys}}
	state := func(key string) {
		all = append(all, check{name: "key state", on: key, needs: []string{"credentials"}, run: func(ctx context.Context) Finding { return d.keyState(ctx, key) }},
			check{name: "key rotation", on: key, needs: []string{"key state"}, run: func(ctx context.Context) Finding { return d.rotation(ctx, key) }})
	}
	seen := map[string]bool{}
	for i, s := range c.KMSKeys {
		key := s.Value
		if seen[key] {
			continue
		}
		seen[key] = true
		state(key)
		for _, p := range permissions {
			if i > 0 && p.action == "kms:GenerateDataKey" {
				continue // the first one makes data keys
			}
			all = append(all, check{name: p.action, on: key, needs: []string{"key state"}, run: func(ctx context.Context) Finding {
				return d.permission(ctx, key, p, i > 0)
			}})
		}
	}
	if key := c.SSEKey(); s3store.IsURL(c.Vault.Value) && awskms.IsKeyARN(key) && !seen[key] {
		state(key)
	}
	return all
}

// readKeys reads the local key and whatever else is configured to open data keys.
func (d *doctor) readKeys(ctx context.Context) Finding {
	var err error
	d.keys, err = config.ReadKeys(ctx, d.Config)
	if err != nil {
		fix := "vaultpack config shows which keys are configured, and where"
		if info, serr := os.Stat(d.Config.LocalKey.Value); serr == nil && info.Mode().Perm()&0o077 != 0 {
			fix = "chmod 600 " + d.Config.LocalKey.Value
		}
		return broken(fix, err, "kms:DescribeKey")
	}
	if key, dir := d.Config.LocalKey.Value, d.Config.Vault.Value; slices.Contains(d.keys.Names, key) && !s3store.IsURL(dir) {
		if rel, err := filepath.Rel(dir, key); err == nil && filepath.IsLocal(rel) {
			return warning("move it elsewhere and set --local-key, or local_key in "+config.FileName, "the local key %s is in the vault: whoever has the vault has the key", key)
		}
	}
	return ok("%s can be used: %s", plural(len(d.keys.Names), "key"), strings.Join(d.keys.Names, ", "))
}

// inRegion makes a call go to the key's own Region.
func inRegion(key string) func(*kms.Options) {
	return func(o *kms.Options) {
		if f := strings.Split(key, ":"); len(f) > 5 {
			o.Region = f[3]
		}
		o.ClientLogMode &^= aws.LogRequestWithBody | aws.LogResponseWithBody
	}
}

func (d *doctor) keyState(ctx context.Context, key string) Finding {
	out, err := d.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key}, inRegion(key))
	if code := awserr.Code(err); code == "NotFoundException" || code == "InvalidArnException" {
		return failed("check kms_keys and kms_key in "+settingsFile(d.Config)+", the region and the account", "there is no such key: %s", said(err))
	}
	if err != nil {
		return unseen(err, "kms:DescribeKey", key)
	}
	m := out.KeyMetadata
	arn := aws.ToString(m.Arn)
	d.arns[key] = arn
	switch {
	case m.KeySpec != types.KeySpecSymmetricDefault || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return failed("use a symmetric key: vaultpack init makes one", "it cannot wrap data keys: its spec is %s and its usage %s", m.KeySpec, m.KeyUsage)
	case m.KeyState == types.KeyStatePendingDeletion:
		return failed("aws kms cancel-key-deletion --key-id "+arn+", then aws kms enable-key --key-id "+arn,
			"it will be deleted on %s, and everything that it wraps is lost with it", aws.ToTime(m.DeletionDate).Format(time.DateOnly))
	case m.KeyState == types.KeyStateDisabled:
		return failed("aws kms enable-key --key-id "+arn, "it is disabled, so nothing can be read or written")
	case m.KeyState != types.KeyStateEnabled:
		return failed("see: aws kms describe-key --key-id "+arn, "it cannot be used in its state %s", m.KeyState)
	}
	return ok("enabled")
}

func (d *doctor) rotation(ctx context.Context, key string) Finding {
	id := key
	if d.arns[key] != "" {
		id = d.arns[key]
	} else if strings.Contains(key, "alias/") {
		return skipped("cannot find out which key %s is", key)
	}
	out, err := d.kms.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id}, inRegion(id))
	if code := awserr.Code(err); code == "UnsupportedOperationException" {
		return skipped("keys of this kind are not rotated by KMS")
	}
	if err != nil {
		return unseen(err, "kms:GetKeyRotationStatus", key)
	}
	if !out.KeyRotationEnabled {
		return warning("aws kms enable-key-rotation --key-id "+id, "KMS does not rotate it")
	}
	if out.RotationPeriodInDays == nil {
		return ok("KMS rotates it, but does not report how often")
	}
	return ok("every %d days", *out.RotationPeriodInDays)
}

// A permission is a call to KMS, tried with DryRun, with the operation that needs it.
type permission struct {
	action, serves string
	call           func(context.Context, *doctor, string, envelope.EncryptionContext) error
}

var permissions = []permission{
	{"kms:GenerateDataKey", "the first upload of a dataset, and by keys rotate", func(ctx context.Context, d *doctor, key string, ec envelope.EncryptionContext) error {
		out, err := d.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: ec, DryRun: aws.Bool(true)}, inRegion(key))
		if err == nil {
			clear(out.Plaintext) // a server that does not support DryRun has made one
		}
		return err
	}},
	{"kms:Decrypt", "all that reads, training too, and by uploads that go on or send what has changed", func(ctx context.Context, d *doctor, key string, ec envelope.EncryptionContext) error {
		out, err := d.kms.Decrypt(ctx, &kms.DecryptInput{KeyId: &key, EncryptionContext: ec, DryRun: aws.Bool(true),
			DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}}, inRegion(key))
		if err == nil {
			clear(out.Plaintext)
		}
		return err
	}},
	{"kms:Encrypt", "a second KMS key, and by keys add", func(ctx context.Context, d *doctor, key string, ec envelope.EncryptionContext) error {
		_, err := d.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: make([]byte, envelope.DataKeySize), EncryptionContext: ec, DryRun: aws.Bool(true)}, inRegion(key))
		return err
	}},
}

// permission tries a call with the encryption context of a data key of the dataset.
func (d *doctor) permission(ctx context.Context, key string, p permission, further bool) Finding {
	name := d.Dataset
	if name == "" {
		name = "vaultpack-doctor"
	}
	ec := maps.Clone(d.Config.Context)
	if ec == nil {
		ec = envelope.EncryptionContext{}
	}
	ec[envelope.ContextDataset], ec[envelope.ContextKeyID] = name, strings.Repeat("0", 32)
	if d.arns[key] != "" {
		key = d.arns[key]
	}
	err := p.call(ctx, d, key, ec)
	code := awserr.Code(err)
	var denied *provision.DeniedError
	switch {
	case err == nil, code == "DryRunOperationException":
		return ok("allowed for the dataset %s", name)
	case p.action == "kms:Decrypt" && (code == "InvalidCiphertextException" || code == "ValidationException" || code == "SerializationException"):
		return skipped("this KMS cannot try it without a ciphertext")
	case isIdentity(err):
		return unknownCaller(err)
	case !errors.As(provision.Explain(err, p.action, key), &denied):
		return failed("check the state of the key above, and try again", "%s fails: %s", p.action, said(err))
	}
	reason := "not allowed for the dataset " + name + "; needed by " + p.serves
	if d.Dataset == "" {
		reason += "; a role that is limited to a dataset is tried with --dataset"
	}
	f := lacking([]string{denied.Action}, "%s (%s)", reason, said(err))
	f.Fix = "allow " + denied.Action + " in the key's policy, and in the caller's where the key's leaves it to the account (see: vaultpack policy)"
	if p.action == "kms:Encrypt" && !further {
		f.Result = Warning // one key needs only GenerateDataKey
	}
	return f
}

// keyrings opens the keyrings of the dataset or, in a directory, where it costs
// nothing, of all datasets.
func (d *doctor) keyrings(ctx context.Context) Finding {
	names := []string{d.Dataset}
	v := &vault.Vault{Store: d.store, Location: d.Config.Vault.Value, Keys: d.keys, Context: d.Config.Context}
	if d.Dataset == "" {
		if len(d.Config.KMSKeys) > 0 || s3store.IsURL(d.Config.Vault.Value) {
			return skipped("set --dataset to open a dataset's keyrings, which needs calls to KMS")
		}
		var err error
		if names, err = dataset.List(ctx, v); err != nil {
			return broken("look into the directory", err)
		}
	}
	opened := 0
	for _, name := range names {
		ds, err := dataset.Open(v, name)
		if err != nil {
			return failed("write its name as vaultpack ls shows it", "%v", err)
		}
		n, err := d.openKeyrings(ctx, ds)
		ds.Close()
		if errors.Is(err, dataset.ErrUnknownDataset) || errors.Is(err, fs.ErrNotExist) && n == 0 {
			return skipped("there is no dataset %s yet", name)
		}
		if err != nil {
			return broken("use the key that the dataset was created with (vaultpack keys list "+name+"), or restore the keyring from a backup", err, "kms:Decrypt")
		}
		opened += n
	}
	if d.Dataset == "" {
		return ok("%s of %s can be opened", plural(opened, "keyring"), plural(len(names), "dataset"))
	}
	return ok("%s of the dataset %s can be opened; its newest version has %s", plural(opened, "keyring"), d.Dataset, size(d.bytes))
}

func (d *doctor) openKeyrings(ctx context.Context, ds *dataset.Dataset) (n int, err error) {
	rings, err := ds.Keyrings(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range rings {
		if _, err := ds.Key(ctx, r.ID()); err != nil {
			return n, err
		}
		n++
	}
	if n == 0 {
		return 0, dataset.ErrUnknownDataset
	}
	latest, err := ds.Latest(ctx)
	if errors.Is(err, dataset.ErrUnknownVersion) || errors.Is(err, dataset.ErrUnknownDataset) {
		return n, nil // its first upload is in progress
	}
	if err == nil {
		d.bytes = latest.Totals.Bytes
	}
	return n, err
}
