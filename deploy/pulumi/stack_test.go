package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"github.com/vaultpack/vaultpack/internal/iamtest"
)

// A stack is what the program has registered, by the names in the stack.
type stack struct {
	caller string

	mu        sync.Mutex
	resources map[string]registered
	outputs   map[string]any
}

type registered struct {
	token string
	in    map[string]any
	rpc   *pulumirpc.RegisterResourceRequest
}

func (s *stack) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[args.Name] = registered{args.TypeToken, args.Inputs.Mappable(), args.RegisterRPC}
	id, out := made(args.TypeToken, args.Inputs)
	return id, out, nil
}

func (s *stack) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return answer(args.Token, s.caller)
}

// declare runs the program against a monitor that makes nothing.
func declare(caller string, config map[string]string) (*stack, error) {
	s := &stack{caller: caller, resources: map[string]registered{}}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		outputs, err := build(ctx)
		if err == nil {
			outputs.ToMapOutput().ApplyT(func(all map[string]any) int {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.outputs = all
				return 0
			})
		}
		return err
	}, pulumi.WithMocks("vaultpack", "test", s), func(info *pulumi.RunInfo) {
		info.Config = map[string]string{}
		for k, v := range config {
			info.Config["vaultpack:"+k] = v
		}
	})
	return s, err
}

// with are the least settings and some more.
func with(more map[string]string) map[string]string {
	config := map[string]string{"bucket": "data", "prefix": "ml", "admins": `["` + admin + `"]`}
	maps.Copy(config, more)
	return config
}

func mustDeclare(t *testing.T, more map[string]string) *stack {
	t.Helper()
	s, err := declare(admin, with(more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// input is an input of a resource; path goes into it.
func (s *stack) input(t *testing.T, name string, path ...any) any {
	t.Helper()
	r, ok := s.resources[name]
	if !ok {
		t.Fatalf("there is no %s, but %s", name, slices.Sorted(maps.Keys(s.resources)))
	}
	var v any = r.in
	for _, p := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[p.(string)]
		case []any:
			v = at[p.(int)]
		}
	}
	return v
}

func (s *stack) text(t *testing.T, name, key string) string {
	t.Helper()
	text, ok := s.input(t, name, key).(string)
	if !ok {
		t.Fatalf("%s of %s is %v, no text", key, name, s.input(t, name, key))
	}
	return text
}

// world is the policies as the resources carry them, for the evaluator of
// provision/policy's own tests.
func (s *stack) world(t *testing.T) *iamtest.World {
	t.Helper()
	parse := func(text string) *iamtest.Policy {
		p, err := iamtest.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return p
	}
	w := &iamtest.World{Account: account, Identities: map[string][]*iamtest.Policy{}, Resources: map[string]*iamtest.Policy{
		keyARN:              parse(s.text(t, "key", "policy")),
		signingARN:          parse(s.text(t, "signing-key", "policy")),
		"arn:aws:s3:::data": parse(s.text(t, "bucket-policy", "policy")),
	}}
	for name, r := range s.resources {
		switch r.token {
		case "aws:iam/role:Role":
			w.Resources[roleARN(s.text(t, name, "name"))] = parse(s.text(t, name, "assumeRolePolicy"))
		case "aws:iam/rolePolicy:RolePolicy":
			arn := roleARN(s.text(t, name, "role"))
			w.Identities[arn] = append(w.Identities[arn], parse(s.text(t, name, "policy")))
		}
	}
	return w
}

func roleARN(name string) string { return "arn:" + partition + ":iam::" + account + ":role/" + name }

// What the roles may and may not, by the policies of the registered resources all
// together. The builders' own table, of all that they can say, is in provision/policy.
func TestPolicies(t *testing.T) {
	s := mustDeclare(t, map[string]string{"trainers": `["scans","faces"]`, "outputs": `["s3://models/runs"]`})
	w := s.world(t)
	who := map[string]string{
		"a": admin, "o": "arn:aws:iam::" + account + ":root", "m": "sagemaker.amazonaws.com", "p": roleARN("power"),
		"u": roleARN("vaultpack-data-uploader"), "r": roleARN("vaultpack-data-reader"),
		"s": roleARN("vaultpack-data-trainer-scans"), "f": roleARN("vaultpack-data-trainer-faces"),
	}
	all, err := iamtest.Parse(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":"*","Resource":"*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	w.Identities[who["p"]] = []*iamtest.Policy{all}
	type ctx map[string]string
	scans := ctx{"kms:EncryptionContext:vaultpack:dataset": "scans"}
	byS3 := ctx{"kms:ViaService": "s3." + region + ".amazonaws.com", "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::data"}
	tls, plain := ctx{"aws:SecureTransport": "true"}, ctx{"aws:SecureTransport": "false"}
	put := func(algorithm, key string) ctx {
		return ctx{"aws:SecureTransport": "true", "s3:x-amz-server-side-encryption": algorithm, "s3:x-amz-server-side-encryption-aws-kms-key-id": key}
	}
	const pack, model = "arn:aws:s3:::data/ml/scans/packs/1.vpk", "arn:aws:s3:::models/runs/j/model.tar.gz"
	for _, test := range []struct {
		what, action, resource string
		ctx                    ctx
		may                    string
	}{
		{"put a pack", "s3:PutObject", pack, put("aws:kms", keyARN), "uop"},
		{"put a pack, and leave the key to the bucket", "s3:PutObject", pack, tls, "uop"},
		{"put a pack under another key", "s3:PutObject", pack, put("aws:kms", keyARN+"0"), ""},
		{"put a pack under S3's own key", "s3:PutObject", pack, put("AES256", ""), ""},
		{"put a pack without TLS", "s3:PutObject", pack, plain, ""},
		{"get a pack", "s3:GetObject", pack, tls, "ursop"},
		{"get a pack without TLS", "s3:GetObject", pack, plain, ""},
		{"delete a pack", "s3:DeleteObject", pack, tls, "op"},
		{"write a model", "s3:PutObject", model, tls, "sfop"},
		{"make a data key", "kms:GenerateDataKey", keyARN, scans, "u"},
		{"open a data key of scans", "kms:Decrypt", keyARN, scans, "rs"},
		{"open one without saying of which dataset", "kms:Decrypt", keyARN, nil, ""},
		{"S3 opens an object", "kms:Decrypt", keyARN, byS3, "ursf"},
		{"let a volume use the key", "kms:CreateGrant", keyARN, ctx{"kms:GrantIsForAWSResource": "true", "kms:ViaService": "sagemaker.eu-central-1.amazonaws.com"}, "sf"},
		{"grant the key", "kms:CreateGrant", keyARN, nil, ""},
		{"schedule the key's deletion", "kms:ScheduleKeyDeletion", keyARN, nil, "a"},
		{"stop its rotation", "kms:DisableKeyRotation", keyARN, nil, "a"},
		{"change its policy", "kms:PutKeyPolicy", keyARN, nil, "ao"},
		{"sign a version", "kms:Sign", signingARN, nil, "u"},
		{"delete the key for signatures", "kms:ScheduleKeyDeletion", signingARN, nil, "a"},
		{"become the trainer of scans", "sts:AssumeRole", who["s"], ctx{"aws:SourceAccount": account}, "m"},
		{"become it for another account's job", "sts:AssumeRole", who["s"], ctx{"aws:SourceAccount": "444455556666"}, ""},
		{"become the uploader", "sts:AssumeRole", who["u"], nil, "op"},
	} {
		for letter, principal := range who {
			got, why := w.Decide(iamtest.Request{Principal: principal, Action: test.action, Resource: test.resource, Context: test.ctx})
			if want := strings.Contains(test.may, letter); got != want {
				t.Errorf("%s: %s is allowed: %v (%s), want %v", test.what, principal, got, why, want)
			}
		}
	}
	for name := range s.resources {
		if b, _ := json.Marshal(s.resources[name].in); strings.Contains(string(b), "to-be-made") {
			t.Errorf("%s names a key that does not exist: %s", name, b)
		}
	}
}

// Who may be uploader and reader, and use the key beside the roles, is config.
func TestPrincipals(t *testing.T) {
	ci, lab := roleARN("ci"), roleARN("lab")
	w := mustDeclare(t, map[string]string{"assume": `["` + ci + `"]`, "users": `["` + lab + `"]`, "resume_uploads": "true"}).world(t)
	up := roleARN("vaultpack-data-uploader")
	scans := map[string]string{"kms:EncryptionContext:vaultpack:dataset": "scans"}
	for _, test := range []struct {
		principal, action, resource string
		want                        bool
	}{
		{ci, "sts:AssumeRole", up, true}, {lab, "sts:AssumeRole", up, false}, {ci, "kms:Decrypt", keyARN, false},
		{lab, "kms:Decrypt", keyARN, true}, {lab, "kms:ReEncryptFrom", keyARN, true}, {lab, "kms:ScheduleKeyDeletion", keyARN, false},
		{up, "kms:Decrypt", keyARN, true}, // resume_uploads
		{lab, "kms:Sign", signingARN, true}, {ci, "kms:Sign", signingARN, false},
	} {
		if got, why := w.Decide(iamtest.Request{Principal: test.principal, Action: test.action, Resource: test.resource, Context: scans}); got != test.want {
			t.Errorf("%s %s %s: %v (%s)", test.principal, test.action, test.resource, got, why)
		}
	}
}

// The bucket encrypts by the key that is made, keeps old versions and is closed to
// the public; the key rotates; and both are kept from deletion with all that
// guards them.
func TestSafety(t *testing.T) {
	s := mustDeclare(t, nil)
	const rule = "applyServerSideEncryptionByDefault"
	for _, test := range []struct {
		name string
		path []any
		want any
	}{
		{"key", []any{"enableKeyRotation"}, true},
		{"key-alias", []any{"name"}, "alias/vaultpack-data"},
		{"signing-key", []any{"customerMasterKeySpec"}, "ECC_NIST_P256"},
		{"signing-key-alias", []any{"targetKeyId"}, signingUUID},
		{"key-alias", []any{"targetKeyId"}, keyUUID},
		{"bucket", []any{"bucket"}, "data"},
		{"bucket", []any{"forceDestroy"}, nil},
		{"bucket", []any{"acl"}, nil},
		{"bucket-public-access", []any{"blockPublicAcls"}, true},
		{"bucket-public-access", []any{"blockPublicPolicy"}, true},
		{"bucket-public-access", []any{"ignorePublicAcls"}, true},
		{"bucket-public-access", []any{"restrictPublicBuckets"}, true},
		{"bucket-ownership", []any{"rule", "objectOwnership"}, "BucketOwnerEnforced"},
		{"bucket-encryption", []any{"rules", 0, rule, "sseAlgorithm"}, "aws:kms"},
		{"bucket-encryption", []any{"rules", 0, rule, "kmsMasterKeyId"}, keyARN},
		{"bucket-encryption", []any{"rules", 0, "bucketKeyEnabled"}, true},
		{"bucket-versioning", []any{"versioningConfiguration", "status"}, "Enabled"},
	} {
		if got := s.input(t, test.name, test.path...); got != test.want {
			t.Errorf("%s: %v is %v, want %v", test.name, test.path, got, test.want)
		}
	}
	for name, r := range s.resources {
		if r.token == "pulumi:pulumi:Stack" {
			continue
		}
		if strings.HasPrefix(name, "bucket") && s.text(t, name, "bucket") != "data" {
			t.Errorf("%s is of the bucket %s", name, s.text(t, name, "bucket"))
		}
		// Trainers come and go with datasets; all else lasts as long as the vault. Key
		// and bucket, and what keeps that safe, are never deleted.
		lasts := !strings.HasPrefix(name, "trainer")
		retained := slices.Contains([]string{"key", "signing-key", "bucket", "bucket-public-access", "bucket-ownership", "bucket-policy", "bucket-encryption", "bucket-versioning"}, name)
		if r.rpc.GetProtect() != lasts || r.rpc.GetRetainOnDelete() != retained {
			t.Errorf("%s: protect is %v and retained on delete %v, want %v and %v", name, r.rpc.GetProtect(), r.rpc.GetRetainOnDelete(), lasts, retained)
		}
		if r.rpc.GetImportId() != "" {
			t.Errorf("%s is imported as %s", name, r.rpc.GetImportId())
		}
	}
	// Without protection key and bucket can go, but the bucket goes first, and its
	// guards are never taken off it.
	s = mustDeclare(t, map[string]string{"protect": "false"})
	for name, retain := range map[string]bool{"key": false, "signing-key": false, "bucket": false, "bucket-policy": true, "bucket-public-access": true} {
		if r := s.resources[name].rpc; r.GetProtect() || r.GetRetainOnDelete() != retain {
			t.Errorf("unprotected, %s: protect is %v, retained on delete %v", name, r.GetProtect(), r.GetRetainOnDelete())
		}
	}
	// What is refused a new name is asked first, so that nothing else is begun.
	for name, first := range map[string]string{"bucket": "key", "reader": "uploader", "trainer": "uploader"} {
		deps := s.resources[name].rpc.GetDependencies()
		if !slices.ContainsFunc(deps, func(urn string) bool { return strings.HasSuffix(urn, "::"+first) }) {
			t.Errorf("%s depends on %v, not on %s", name, deps, first)
		}
	}
}

func TestHousekeeping(t *testing.T) {
	s := mustDeclare(t, nil)
	rules := s.input(t, "bucket-lifecycle", "rules").([]any)
	if len(rules) != 1 || s.input(t, "bucket-lifecycle", "rules", 0, "abortIncompleteMultipartUpload", "daysAfterInitiation") != 7.0 ||
		s.input(t, "bucket-lifecycle", "rules", 0, "filter", "prefix") != "ml/" {
		t.Errorf("the rules are %v", rules)
	}
	if _, ok := s.resources["bucket-logging"]; ok {
		t.Error("access logs are written though nobody asked for them")
	}
	s = mustDeclare(t, map[string]string{"expire_old_versions_days": "30", "access_logs": "s3://logs/data/"})
	if got := s.input(t, "bucket-lifecycle", "rules", 1, "noncurrentVersionExpiration", "noncurrentDays"); got != 30.0 {
		t.Errorf("old versions expire after %v days", got)
	}
	if a, b := s.input(t, "bucket-logging", "targetBucket"), s.input(t, "bucket-logging", "targetPrefix"); a != "logs" || b != "data/" {
		t.Errorf("logs go to %v, %v", a, b)
	}
}

func TestNetwork(t *testing.T) {
	vpc := func(more string) map[string]string {
		return map[string]string{"vpc": `{"subnets":["subnet-1","subnet-2"],"security_groups":["sg-1"]` + more + `}`}
	}
	trainer := roleARN("vaultpack-data-trainer")
	join := func(s *stack) bool {
		got, _ := s.world(t).Decide(iamtest.Request{Principal: trainer, Action: "ec2:CreateNetworkInterface", Resource: "arn:aws:ec2:" + region + ":" + account + ":network-interface/*"})
		return got
	}
	endpoints := func(s *stack) (names []string) {
		for name, r := range s.resources {
			if r.token == "aws:ec2/vpcEndpoint:VpcEndpoint" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if s := mustDeclare(t, nil); join(s) || len(endpoints(s)) > 0 {
		t.Error("the trainer may join a VPC though there is none")
	}
	if s := mustDeclare(t, vpc("")); !join(s) || len(endpoints(s)) > 0 {
		t.Errorf("the trainer may join a VPC: %v; endpoints: %v", join(s), endpoints(s))
	}
	s := mustDeclare(t, vpc(`,"id":"vpc-1","route_tables":["rtb-1"]`))
	if got := endpoints(s); !slices.Equal(got, []string{"endpoint-kms", "endpoint-logs", "endpoint-s3", "endpoint-sagemaker.api"}) {
		t.Fatalf("the endpoints are %v", got)
	}
	for _, name := range endpoints(s) {
		service := strings.TrimPrefix(name, "endpoint-")
		kind, private := "Interface", any(true)
		if service == "s3" {
			kind, private = "Gateway", nil
		}
		if s.text(t, name, "serviceName") != "com.amazonaws.eu-central-1."+service || s.text(t, name, "vpcId") != "vpc-1" ||
			s.text(t, name, "vpcEndpointType") != kind || s.input(t, name, "privateDnsEnabled") != private {
			t.Errorf("%s is %v", name, s.resources[name].in)
		}
		// One provider for all: another version would be another plugin.
		if v := s.resources[name].rpc.GetVersion(); v != s.resources["key"].rpc.GetVersion() {
			t.Errorf("%s wants the provider %s, the key %s", name, v, s.resources["key"].rpc.GetVersion())
		}
	}
	if got := s.input(t, "endpoint-kms", "subnetIds", 1); got != "subnet-2" {
		t.Errorf("the second subnet is %v", got)
	}
	if got := s.outputs["subnets"]; len(got.([]string)) != 2 {
		t.Errorf("the output subnets is %v", got)
	}
	if got := endpoints(mustDeclare(t, vpc(`,"id":"vpc-1","endpoints":["kms"]`))); !slices.Equal(got, []string{"endpoint-kms"}) {
		t.Errorf("of the one endpoint asked for there are %v", got)
	}
}

func TestOutputs(t *testing.T) {
	s := mustDeclare(t, map[string]string{"trainers": `["scans"]`})
	for name, want := range map[string]any{"kms_key_id": keyUUID, "kms_key_arn": keyARN, "signing_key_arn": signingARN, "s3_bucket_name": "data", "region": region,
		"uploader_role_arn": roleARN("vaultpack-data-uploader"), "reader_role_arn": roleARN("vaultpack-data-reader")} {
		if s.outputs[name] != want {
			t.Errorf("%s is %v, want %v", name, s.outputs[name], want)
		}
	}
	if got := s.outputs["trainer_role_arns"].(map[string]any)["scans"]; got != roleARN("vaultpack-data-trainer-scans") {
		t.Errorf("the trainer of scans is %v", got)
	}
	if got, want := s.outputs["vaultpack_yaml"], `vault: s3://data/ml
kms_keys:
  - `+keyARN+`
signing_key: `+signingARN+`
s3:
  region: eu-central-1
provision:
  admins:
    - `+admin+`
  trainers:
    - scans
`; got != want {
		t.Errorf("vaultpack.yaml is\n%s\nwant\n%s", got, want)
	}
}
