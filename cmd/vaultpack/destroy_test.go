package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
)

// What init --destroy prints works as it is printed, in each partition, and leaves
// nothing but the keys, which wait for their deletion.
func TestDestroySteps(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	for region, url := range map[string]string{"eu-central-1": "s3://data", "cn-north-1": "s3://data/ml", "us-gov-west-1": "s3://data.of.all/team's data"} {
		s := awstest.New(region)
		h := httptest.NewServer(s)
		t.Cleanup(h.Close)
		p := newPlace(t)
		p.env = append(p.env, "AWS_ENDPOINT_URL="+h.URL, "AWS_REGION="+region, "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x",
			"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CA_BUNDLE=")
		p.run(exitDone, "init", "--yes", "--vault", url, "--trainer", "scans", "--trainer", "faces")
		p.run(exitDone, "init", "--check")
		out, _ := p.run(exitDone, "init", "--destroy", "--json")
		ran := 0
		for line := range strings.Lines(out) {
			var e struct{ Event, Do string }
			check(t, json.Unmarshal([]byte(line), &e))
			_, command, _ := strings.Cut(e.Do, "\n")
			for _, c := range strings.Split(strings.TrimSpace(command), " && ") {
				if e.Event == "destroy" && strings.HasPrefix(c, "aws ") {
					ran++
					runAWS(t, s, words(strings.ReplaceAll(c, `'\''`, "_")))
				}
			}
		}
		if ran < 10 {
			t.Errorf("%s: only %d commands were printed:\n%s", region, ran, out)
		}
		for _, name := range []string{"uploader", "reader", "trainer-scans", "trainer-faces"} {
			bucket, _, _ := strings.Cut(strings.TrimPrefix(url, "s3://"), "/")
			if _, ok := s.Role("vaultpack-" + strings.ReplaceAll(bucket, ".", "-") + "-" + name); ok {
				t.Errorf("%s: the role %s is still there", region, name)
			}
		}
		keys, err := kms.NewFromConfig(s.Config()).ListKeys(t.Context(), &kms.ListKeysInput{})
		check(t, err)
		for _, key := range keys.Keys {
			k, err := kms.NewFromConfig(s.Config()).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyArn})
			check(t, err)
			if k.KeyMetadata.KeyState != "PendingDeletion" {
				t.Errorf("%s: the key %s is %s", region, k.KeyMetadata.KeySpec, k.KeyMetadata.KeyState)
			}
		}
		if len(keys.Keys) != 2 { // for data, and for signatures
			t.Errorf("%s: there are %d keys", region, len(keys.Keys))
		}
		if got := s.HasBucket("data"); url == "s3://data" && got {
			t.Errorf("%s: the bucket is still there", region)
		}
	}
}

// runAWS is as much of the AWS CLI as vaultpack prints.
func runAWS(t *testing.T, s *awstest.Server, args []string) {
	t.Helper()
	ctx, cfg := t.Context(), s.Config()
	value := func(flag string) *string {
		for i, a := range args {
			if a == flag && i+1 < len(args) {
				return aws.String(args[i+1])
			}
		}
		t.Fatalf("%q has no %s", args, flag)
		return nil
	}
	var err error
	switch strings.Join(args[1:3], " ") {
	case "kms disable-key":
		_, err = kms.NewFromConfig(cfg).DisableKey(ctx, &kms.DisableKeyInput{KeyId: value("--key-id")})
	case "kms schedule-key-deletion":
		_, err = kms.NewFromConfig(cfg).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: value("--key-id"), PendingWindowInDays: aws.Int32(30)})
	case "iam delete-role-policy":
		_, err = iam.NewFromConfig(cfg).DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: value("--role-name"), PolicyName: value("--policy-name")})
	case "iam delete-role":
		_, err = iam.NewFromConfig(cfg).DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: value("--role-name")})
	case "s3api delete-bucket":
		_, err = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: value("--bucket")})
	case "s3 rm":
		if args[3] != "--recursive" || !strings.HasPrefix(args[4], "s3://") || !strings.HasSuffix(args[4], "/") {
			t.Errorf("%q removes nothing", args)
		}
	default:
		t.Errorf("%q is no command that is known here", args)
	}
	if args[1] != "iam" && *value("--region") != s.Region {
		t.Errorf("%q is for another Region than %s", args, s.Region)
	}
	if err != nil {
		t.Errorf("%q: %v", args, err)
	}
}
