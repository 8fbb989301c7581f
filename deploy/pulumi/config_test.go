package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/provision"
)

// An error names the config key, and says what would do.
func TestConfigErrors(t *testing.T) {
	for _, test := range []struct{ key, value, want string }{
		{"bucket", "", "vaultpack:bucket is not set"},
		{"bucket", "Data_1", "vaultpack:bucket is \"Data_1\""},
		{"prefix", "m*", "vaultpack:prefix"},
		{"admins", "[]", "pulumi config set --path 'admins[0]' " + admin},
		{"admins", admin, "vaultpack:admins is " + admin + ", but must be a list"},
		{"admins", `["arn:aws:iam::111122223333:root"]`, "admins has arn:aws:iam::111122223333:root"},
		{"users", `["me"]`, `vaultpack:users has "me"`},
		{"assume", `["bob"]`, `assume has "bob"`},
		{"name", "a b", `name is "a b"`},
		{"trainers", `["a/b"]`, "trainers: "},
		{"outputs", `["models"]`, `outputs has "models"`},
		{"no_volumes", "maybe", "vaultpack:no_volumes is maybe, but must be true or false"},
		{"resume_uploads", "1", "vaultpack:resume_uploads is 1, but must be true or false"},
		{"abort_uploads_days", "soon", "vaultpack:abort_uploads_days is soon, but must be a number of days"},
		{"expire_old_versions_days", "-1", "expire_old_versions_days"},
		{"access_logs", "s3://data/logs", "access_logs"},
		{"abort_uploads_days", "30 days", "vaultpack:abort_uploads_days is 30 days, but must be a number of days"},
		{"import_key", "alias/data", "vaultpack:import_key is \"alias/data\", but must be the ID or the ARN"},
		{"import_key", "arn:aws:kms:eu-central-1:111122223333:alias/data", "vaultpack:import_key"},
		{"vpc", `{"subnets":["subnet-1"]}`, "vaultpack:vpc needs subnets and security_groups"},
		{"vpc", `{"subnet":["subnet-1"]}`, "vaultpack:vpc is {"},
		{"vpc", `{"subnets":["s"],"security_groups":["g"],"endpoints":["kms"]}`, "vaultpack:vpc.id is not set"},
		{"vpc", `{"subnets":["s"],"security_groups":["g"],"id":"vpc-1"}`, "vaultpack:vpc.route_tables is not set"},
		{"vpc", `{"subnets":["s"],"security_groups":["g"],"id":"vpc-1","endpoints":["sqs"]}`, `vaultpack:vpc.endpoints has "sqs"`},
	} {
		s, err := declare(admin, with(map[string]string{test.key: test.value}))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %q: the error is %v, want one with %s", test.key, test.value, err, test.want)
		}
		if len(s.resources) > 1 { // the stack
			t.Errorf("%s %q: something was made: %v", test.key, test.value, s.resources)
		}
	}
}

// A mistyped setting is no silent one. The CLI hands over the config like this.
func TestUnknownConfig(t *testing.T) {
	t.Setenv(pulumi.EnvConfig, `{"aws:region":"eu-central-1","vaultpack:bucket":"data","vaultpack:acess_logs":"s3://logs/x"}`)
	_, err := declare(admin, with(nil))
	if err == nil || !strings.Contains(err.Error(), "vaultpack:acess_logs is no setting; there are abort_uploads_days, access_logs,") {
		t.Errorf("the error is %v", err)
	}
	// And there is a key for each setting that vaultpack.yaml has.
	told := strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(", \n", r) })
	of := reflect.TypeFor[provision.Settings]()
	for n := range of.NumField() {
		key, _, _ := strings.Cut(of.Field(n).Tag.Get("yaml"), ",")
		if key == "" || !slices.Contains(told, key) {
			t.Errorf("the setting %s of vaultpack init cannot be set here: %v", of.Field(n).Name, err)
		}
	}
	// The documentation tells them all, and no others.
	doc, rerr := os.ReadFile("../../docs/PULUMI.md")
	if rerr != nil {
		t.Fatal(rerr)
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		rows = append(rows, m[1])
	}
	slices.Sort(rows)
	if _, keys, _ := strings.Cut(strings.TrimSpace(err.Error()), "there are "); keys != strings.Join(rows, ", ") {
		t.Errorf("the settings are %s; docs/PULUMI.md tells %s", keys, strings.Join(rows, ", "))
	}
	t.Setenv(pulumi.EnvConfig, `{"aws:region":"eu-central-1","vaultpack:bucket":"data"}`)
	if _, err := declare(admin, with(nil)); err != nil {
		t.Error(err)
	}
}

func TestCaller(t *testing.T) {
	for _, test := range []struct {
		caller, admin string
		want          bool
	}{
		{"arn:aws:iam::111122223333:user/ada", "arn:aws:iam::111122223333:user/ada", true},
		{"arn:aws:iam::111122223333:user/ada", "arn:aws:iam::111122223333:user/x/ada", false},
		{"arn:aws:sts::111122223333:assumed-role/deploy/ci", "arn:aws:iam::111122223333:role/deploy", true},
		{"arn:aws:sts::111122223333:assumed-role/deploy/ci", "arn:aws:iam::111122223333:role/teams/deploy", true},
		{"arn:aws:sts::111122223333:assumed-role/deploy/ci", "arn:aws:iam::444455556666:role/deploy", false},
		{"arn:aws:sts::111122223333:assumed-role/deploy/ci", "arn:aws:iam::111122223333:role/other", false},
		{"arn:aws:sts::111122223333:assumed-role/deploy/ci", "arn:aws:iam::111122223333:user/deploy", false},
	} {
		p := place{partition: "aws", account: account, caller: test.caller}
		if got := p.among([]string{test.admin}); got != test.want {
			t.Errorf("%s among %s: %v", test.caller, test.admin, got)
		}
	}
	if _, err := declare("arn:aws:sts::111122223333:assumed-role/deploy/ci", with(map[string]string{"admins": "[]"})); err == nil ||
		!strings.Contains(err.Error(), "admins[0]' arn:aws:iam::111122223333:role/deploy") {
		t.Errorf("a role without admins: %v", err)
	}
}
