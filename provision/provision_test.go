package provision_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/iamtest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/provision"
)

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

// awsAt is the configuration of a caller of the server.
func awsAt(t testing.TB, s *s3test.Server, more ...func(*config.LoadOptions) error) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(context.Background(), append(append(s.Options(), config.WithBaseEndpoint(s.URL), config.WithRegion("eu-central-1")), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func provisioner(t testing.TB, cfg aws.Config, target provision.Target) *provision.Provisioner {
	t.Helper()
	p, err := provision.New(cfg, target, pathStyle)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func plan(t testing.TB, p *provision.Provisioner) *provision.Plan {
	t.Helper()
	pl, err := p.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

func text(pl *provision.Plan) string {
	var b strings.Builder
	for _, s := range pl.Steps {
		fmt.Fprintln(&b, s)
	}
	for _, n := range pl.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	return b.String()
}

// apply plans, applies, and wants nothing to do afterwards, for another
// Provisioner too.
func apply(t testing.TB, cfg aws.Config, target provision.Target) provision.Outputs {
	t.Helper()
	p := provisioner(t, cfg, target)
	pl := plan(t, p)
	told := 0
	if err := p.Apply(t.Context(), pl, func(provision.Step) { told++ }); err != nil {
		t.Fatal(err)
	}
	if told != len(pl.Steps) {
		t.Errorf("%d of %d steps were told", told, len(pl.Steps))
	}
	target.Adopt = false
	if again := plan(t, provisioner(t, cfg, target)); len(again.Steps) > 0 {
		t.Fatalf("the second run wants to:\n%s", text(again))
	}
	return p.Outputs()
}

// Everything of a vault is made from nothing, the second run changes nothing, and
// what the server then holds means what it should.
func TestFromNothing(t *testing.T) {
	s := s3test.Moto(t)
	for region, target := range map[string]provision.Target{
		"eu-central-1": {Bucket: "data-eu", Prefix: "ml/"},
		"us-east-1": {Bucket: "data-us", Settings: provision.Settings{Name: "us", Trainers: []string{"scans", "faces"}, Resume: true,
			NoVolumes: true, ExpireDays: 30, Users: []string{"arn:aws:iam::123456789012:role/team"}}},
	} {
		t.Run(region, func(t *testing.T) {
			cfg := awsAt(t, s, config.WithRegion(region))
			o := apply(t, cfg, target)
			name := target.Name
			if name == "" {
				name = "vaultpack-" + target.Bucket
			}
			role := "arn:aws:iam::123456789012:role/" + name
			want := provision.Outputs{KMSKeyID: o.KMSKeyARN[len("arn:aws:kms:"+region+":123456789012:key/"):], KMSKeyARN: o.KMSKeyARN, SigningKey: o.SigningKey, S3BucketName: target.Bucket,
				Region: region, UploaderRole: role + "-uploader", ReaderRole: role + "-reader", TrainerRoles: map[string]string{"*": role + "-trainer"}}
			if len(target.Trainers) > 0 {
				want.TrainerRoles = map[string]string{"scans": role + "-trainer-scans", "faces": role + "-trainer-faces"}
			}
			if !reflect.DeepEqual(o, want) {
				t.Errorf("the outputs are\n%+v, want\n%+v", o, want)
			}
			w := worldOf(t, cfg, o)
			scans := map[string]string{"kms:EncryptionContext:vaultpack:dataset": "scans"}
			object := "arn:aws:s3:::" + target.Bucket + "/" + target.Prefix
			for _, r := range []struct {
				who, action, resource string
				ctx                   map[string]string
				want                  bool
			}{
				{o.UploaderRole, "s3:PutObject", object + "scans/packs/1.vpk", map[string]string{"aws:SecureTransport": "true"}, true},
				{o.UploaderRole, "s3:PutObject", object + "scans/packs/1.vpk", map[string]string{"aws:SecureTransport": "false"}, false},
				{o.UploaderRole, "kms:GenerateDataKey", o.KMSKeyARN, scans, true},
				{o.UploaderRole, "kms:Decrypt", o.KMSKeyARN, scans, target.Resume},
				{o.ReaderRole, "kms:Decrypt", o.KMSKeyARN, scans, true},
				{o.ReaderRole, "kms:GenerateDataKey", o.KMSKeyARN, scans, false},
				{o.TrainerRoles["*"], "kms:Decrypt", o.KMSKeyARN, scans, target.Trainers == nil},
				{o.TrainerRoles["scans"], "kms:Decrypt", o.KMSKeyARN, scans, target.Trainers != nil},
				{o.TrainerRoles["faces"], "kms:Decrypt", o.KMSKeyARN, scans, false},
				{"arn:aws:iam::123456789012:user/moto", "kms:Decrypt", o.KMSKeyARN, scans, false},
				{"arn:aws:iam::123456789012:user/moto", "kms:ScheduleKeyDeletion", o.KMSKeyARN, nil, true},
				{o.ReaderRole, "kms:ScheduleKeyDeletion", o.KMSKeyARN, nil, false},
				// The right to sign is the uploader's, and users' who upload, and nobody's else.
				{o.UploaderRole, "kms:Sign", o.SigningKey, nil, true},
				{o.UploaderRole, "kms:GetPublicKey", o.SigningKey, nil, true},
				{"arn:aws:iam::123456789012:role/team", "kms:Sign", o.SigningKey, nil, len(target.Users) > 0},
				{o.ReaderRole, "kms:Sign", o.SigningKey, nil, false},
				{o.TrainerRoles["*"], "kms:Sign", o.SigningKey, nil, false},
				{o.TrainerRoles["scans"], "kms:Sign", o.SigningKey, nil, false},
				{"arn:aws:iam::123456789012:user/moto", "kms:Sign", o.SigningKey, nil, false},
				{"arn:aws:iam::123456789012:user/moto", "kms:ScheduleKeyDeletion", o.SigningKey, nil, true},
				{o.UploaderRole, "kms:Sign", o.KMSKeyARN, nil, false},
				{o.UploaderRole, "kms:Decrypt", o.SigningKey, scans, false},
			} {
				if got, why := w.Decide(iamtest.Request{Principal: r.who, Action: r.action, Resource: r.resource, Context: r.ctx}); got != r.want {
					t.Errorf("%s: %s %v is %v (%s)", r.who, r.action, r.ctx, got, why)
				}
			}
		})
	}
}

// worldOf reads the policies back from the server.
func worldOf(t *testing.T, cfg aws.Config, o provision.Outputs) *iamtest.World {
	t.Helper()
	ctx := t.Context()
	parse := func(text *string, err error) *iamtest.Policy {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		plain, err := url.PathUnescape(*text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := iamtest.Parse(plain)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := &iamtest.World{Account: "123456789012", Identities: map[string][]*iamtest.Policy{}, Resources: map[string]*iamtest.Policy{}}
	for _, key := range []string{o.KMSKeyARN, o.SigningKey} {
		k, err := kms.NewFromConfig(cfg).GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &key, PolicyName: aws.String("default")})
		if err != nil {
			t.Fatal(err)
		}
		w.Resources[key] = parse(k.Policy, nil)
	}
	b, err := s3.NewFromConfig(cfg, pathStyle).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &o.S3BucketName})
	if err != nil {
		t.Fatal(err)
	}
	w.Resources["arn:aws:s3:::"+o.S3BucketName] = parse(b.Policy, nil)
	arns := append(slices.Collect(maps.Values(o.TrainerRoles)), o.UploaderRole, o.ReaderRole)
	for _, arn := range arns {
		name := arn[strings.LastIndex(arn, "/")+1:]
		r, err := iam.NewFromConfig(cfg).GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String("vaultpack")})
		if err != nil {
			t.Fatal(err)
		}
		w.Identities[arn] = []*iamtest.Policy{parse(r.PolicyDocument, nil)}
	}
	return w
}

// A difference in each property is found, named, and fixed.
func TestDrift(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	s := s3test.Moto(t)
	cfg := awsAt(t, s)
	logs := s3.NewFromConfig(cfg, pathStyle)
	letLog(t, logs, "logs")
	target := provision.Target{Bucket: "data", Prefix: "ml/", Settings: provision.Settings{ExpireDays: 30, LogTo: "s3://logs/data"}}
	o := apply(t, cfg, target)
	ctx, c, k, i := t.Context(), s3.NewFromConfig(cfg, pathStyle), kms.NewFromConfig(cfg), iam.NewFromConfig(cfg)
	bucket, uploader, trainer := &target.Bucket, aws.String("vaultpack-data-uploader"), aws.String("vaultpack-data-trainer")
	wide := aws.String(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}]}`)
	other, err := k.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		resource, property, from string
		damage                   func() error
	}{
		{"the KMS key", "alias", "alias/vaultpack-data of " + *other.KeyMetadata.Arn, func() error {
			target.Key = o.KMSKeyARN
			_, err := k.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/vaultpack-data"), TargetKeyId: other.KeyMetadata.Arn})
			return err
		}},
		{"the KMS key", "rotation", "off", func() error {
			_, err := k.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &o.KMSKeyARN})
			return err
		}},
		{"the KMS key", "description", "mine", func() error {
			_, err := k.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &o.KMSKeyARN, Description: aws.String("mine")})
			return err
		}},
		{"the KMS key", "policy", "", func() error {
			_, err := k.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &o.KMSKeyARN, PolicyName: aws.String("default"), Policy: wide})
			return err
		}},
		{"the signing key", "alias", "missing", func() error {
			// Without its alias it is known by what it is.
			_, err := k.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/vaultpack-data-signing")})
			return err
		}},
		{"the signing key", "description", "mine", func() error {
			_, err := k.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &o.SigningKey, Description: aws.String("mine")})
			return err
		}},
		{"the signing key", "policy", "", func() error {
			_, err := k.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &o.SigningKey, PolicyName: aws.String("default"), Policy: wide})
			return err
		}},
		{"the role vaultpack-data-uploader", "policy", "", func() error {
			_, err := i.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: uploader, PolicyName: aws.String("vaultpack"),
				PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)})
			return err
		}},
		{"the role vaultpack-data-uploader", "policy", "missing", func() error {
			_, err := i.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: uploader, PolicyName: aws.String("vaultpack")})
			return err
		}},
		{"the role vaultpack-data-trainer", "trust", "", func() error {
			_, err := i.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: trainer,
				PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
			return err
		}},
		{"the bucket", "public access", "blocked in part", func() error {
			_, err := c.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
				BlockPublicAcls: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(false), RestrictPublicBuckets: aws.Bool(true)}})
			return err
		}},
		{"the bucket", "public access", "not blocked", func() error {
			_, err := c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket})
			return err
		}},
		{"the bucket", "object ownership", "ObjectWriter", func() error {
			_, err := c.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: bucket, OwnershipControls: &types.OwnershipControls{
				Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipObjectWriter}}}})
			return err
		}},
		{"the bucket", "policy", "missing", func() error {
			_, err := c.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: bucket})
			return err
		}},
		{"the bucket", "default encryption", "AES256", func() error {
			return encrypt(ctx, c, bucket, types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}})
		}},
		{"the bucket", "default encryption", "aws:kms with " + o.KMSKeyARN, func() error {
			return encrypt(ctx, c, bucket, types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
				SSEAlgorithm: "aws:kms", KMSMasterKeyID: &o.KMSKeyARN}, BucketKeyEnabled: aws.Bool(false)})
		}},
		{"the bucket", "default encryption", "aws:kms with " + *other.KeyMetadata.Arn + " and a bucket key", func() error {
			return encrypt(ctx, c, bucket, types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
				SSEAlgorithm: "aws:kms", KMSMasterKeyID: other.KeyMetadata.Arn}, BucketKeyEnabled: aws.Bool(true)})
		}},
		{"the bucket", "versioning", "Suspended", func() error {
			_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: "Suspended"}})
			return err
		}},
		{"the bucket", "lifecycle", "missing", func() error {
			_, err := c.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: bucket})
			return err
		}},
		{"the bucket", "lifecycle", "abort uploads after 7 days below ml/ switched off, expire old versions after 1 days below ml/", func() error {
			rule := func(id, status string) types.LifecycleRule {
				return types.LifecycleRule{ID: &id, Status: types.ExpirationStatus(status), Filter: &types.LifecycleRuleFilter{Prefix: aws.String("ml/")}}
			}
			abort, old := rule("vaultpack-abort-uploads", "Disabled"), rule("vaultpack-expire-old-versions", "Enabled")
			abort.AbortIncompleteMultipartUpload = &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(7)}
			old.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)}
			_, err := c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: bucket,
				LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{abort, old}}})
			return err
		}},
		{"the bucket", "access logs", "missing", func() error {
			_, err := c.PutBucketLogging(ctx, &s3.PutBucketLoggingInput{Bucket: bucket, BucketLoggingStatus: &types.BucketLoggingStatus{}})
			return err
		}},
	}
	found := map[string]bool{}
	for _, test := range tests {
		found[test.resource+" "+test.property] = true
		if err := test.damage(); err != nil {
			t.Fatalf("breaking %s of %s: %v", test.property, test.resource, err)
		}
		p := provisioner(t, cfg, target)
		pl := plan(t, p)
		if len(pl.Steps) != 1 || !strings.HasPrefix(pl.Steps[0].Resource, test.resource) || pl.Steps[0].Property != test.property || pl.Steps[0].From != test.from {
			t.Errorf("with another %s of %s (%q) the plan is:\n%s", test.property, test.resource, test.from, text(pl))
		}
		if err := p.Apply(ctx, pl, func(provision.Step) {}); err != nil {
			t.Fatal(err)
		}
	}
	if pl := plan(t, provisioner(t, cfg, target)); len(pl.Steps) > 0 {
		t.Errorf("after all was fixed:\n%s", text(pl))
	}
	// A role that is gone is made again, with all of it.
	if _, err := i.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: uploader, PolicyName: aws.String("vaultpack")}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: uploader}); err != nil {
		t.Fatal(err)
	}
	apply(t, cfg, target)
	// Nothing that is planned is left out above, but the tags, by which it is known
	// whose a resource is.
	for _, s := range plan(t, provisioner(t, cfg, provision.Target{Bucket: "fresh", Settings: provision.Settings{LogTo: "s3://logs/fresh", ExpireDays: 1}})).Steps {
		kind := "the KMS key"
		for _, k := range []string{"the bucket", "the role", "the signing key"} {
			if strings.HasPrefix(s.Resource, k) {
				kind = k
			}
		}
		if kind == "the role" {
			kind = "the role vaultpack-data-uploader"
		}
		if s.Property != "" && s.Property != "tag" && !found[kind+" "+s.Property] {
			t.Errorf("no drift of %s of %s was tried", s.Property, kind)
		}
	}
	// Whoever has signing keys of their own needs none made.
	for given, want := range map[string]string{provision.NoKey: "", *other.KeyMetadata.Arn: *other.KeyMetadata.Arn} {
		p := provisioner(t, cfg, provision.Target{Bucket: "signed", Settings: provision.Settings{SigningKey: given}})
		if all := text(plan(t, p)); strings.Contains(all, "signing key") || p.Outputs().SigningKey != want {
			t.Errorf("with the signing key %q, versions are signed with %q, and the plan is:\n%s", given, p.Outputs().SigningKey, all)
		}
	}
	// A key that was put out of use is not put back.
	if _, err := k.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &o.KMSKeyID}); err != nil {
		t.Fatal(err)
	}
	if _, err := provisioner(t, cfg, target).Plan(ctx); err == nil || !strings.Contains(err.Error(), "aws kms enable-key") {
		t.Errorf("with a disabled key: %v", err)
	}
	if _, err := k.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &o.KMSKeyID}); err != nil {
		t.Fatal(err)
	}
	if _, err := provisioner(t, cfg, target).Plan(ctx); err == nil || !strings.Contains(err.Error(), "aws kms cancel-key-deletion") {
		t.Errorf("with a key pending deletion: %v", err)
	}
}

func encrypt(ctx context.Context, c *s3.Client, bucket *string, rule types.ServerSideEncryptionRule) error {
	_, err := c.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: bucket,
		ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}}})
	return err
}

// letLog makes a bucket that S3 may write access logs to.
func letLog(t *testing.T, c *s3.Client, bucket string) {
	t.Helper()
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-central-1"}})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::` + bucket + `/*"}]}`
	if _, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}
