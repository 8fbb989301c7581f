package doctor_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/doctor"
)

// What the role may do that init makes is what a job needs; a role that lacks something, or
// that reaches more of the vault, is told, by IAM's own simulation.
func TestRolePermissions(t *testing.T) {
	for name, c := range map[string]struct {
		settings provision.Settings
		change   func(policy string) string // of the role
		refuse   bool
		dataset  string
		result   doctor.Result
		says     []string
	}{
		"as init makes it":   {provision.Settings{}, nil, false, "scans", doctor.OK, []string{"what a job on scans needs"}},
		"for the dataset":    {provision.Settings{Trainers: []string{"scans"}}, nil, false, "scans", doctor.OK, nil},
		"an output outside":  {provision.Settings{Outputs: []string{"s3://models/runs"}}, nil, false, "scans", doctor.OK, nil},
		"of another dataset": {provision.Settings{Trainers: []string{"scans"}}, nil, false, "faces", doctor.Failed, []string{"s3:GetObject on arn:aws:s3:::my-bucket/ml/faces/packs/", "s3:ListBucket on arn:aws:s3:::my-bucket", "kms:Decrypt on arn:aws:kms"}},
		"no reading": {provision.Settings{}, func(p string) string { return strings.ReplaceAll(p, "s3:GetObject", "s3:GetObjectAcl") }, false, "scans",
			doctor.Failed, []string{"needs what its policies do not allow: s3:GetObject"}},
		"writing into datasets": {provision.Settings{}, func(p string) string {
			return strings.Replace(p, `"Statement":[`, `"Statement":[{"Sid":"More","Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::my-bucket/*"]},`, 1)
		}, false, "scans", doctor.Failed, []string{"allow what no job needs: s3:PutObject on arn:aws:s3:::my-bucket/ml/scans/packs/"}},
		"the key without a context": {provision.Settings{}, func(p string) string {
			return strings.Replace(p, `"Statement":[`, `"Statement":[{"Sid":"More","Effect":"Allow","Action":["kms:*"],"Resource":["*"]},`, 1)
		}, false, "scans", doctor.Failed, []string{"kms:Encrypt on", "kms:PutKeyPolicy on"}},
		"not allowed to ask": {provision.Settings{}, nil, true, "scans", doctor.Skipped, []string{"iam:SimulatePrincipalPolicy"}},
		"no dataset":         {provision.Settings{}, nil, false, "", doctor.Skipped, []string{"--dataset"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := awstest.New("eu-central-1")
			h := httptest.NewServer(s)
			t.Cleanup(h.Close)
			for k, v := range map[string]string{"AWS_ENDPOINT_URL": h.URL, "AWS_REGION": s.Region, "AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "x",
				"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} {
				t.Setenv(k, v)
			}
			s.AddBucket("my-bucket", awstest.Bucket{})
			cfg := &config.Config{Vault: config.Setting{Value: "s3://my-bucket/ml"}, DefaultKey: true}
			ac, err := cfg.AWS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p, err := provision.New(ac, provision.Target{Bucket: "my-bucket", Prefix: "ml/", Adopt: true, Settings: c.settings}, cfg.S3Options)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := p.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Apply(t.Context(), plan, nil); err != nil {
				t.Fatal(err)
			}
			out := p.Outputs()
			role := ""
			for _, arn := range out.TrainerRoles {
				role = arn
			}
			cfg.KMSKeys = []config.Setting{{Value: out.KMSKeyARN}}
			if c.change != nil {
				roleName := role[strings.LastIndex(role, "/")+1:]
				r, _ := s.Role(roleName)
				for policy, text := range r.Policies {
					if _, err := iam.NewFromConfig(ac).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &roleName, PolicyName: &policy, PolicyDocument: aws.String(c.change(text))}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.refuse {
				s.Meet = func(call awstest.Call) awstest.Fate {
					if call.Op == "SimulatePrincipalPolicy" {
						return awstest.Fate{Status: 403, Code: "AccessDenied", Message: "User: arn:aws:iam::111122223333:user/admin is not authorized to perform: iam:SimulatePrincipalPolicy on resource: " + role}
					}
					return awstest.Fate{}
				}
			}
			d := newDoctor(cfg)
			d.Dataset, d.Role, d.Outputs = c.dataset, role, c.settings.Outputs
			report, err := d.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report {
				if f.Check != "role permissions" {
					continue
				}
				if f.Result != c.result {
					t.Errorf("%+v", f)
				}
				for _, want := range c.says {
					if !strings.Contains(f.Reason, want) {
						t.Errorf("no %q in %q", want, f.Reason)
					}
				}
				return
			}
			t.Errorf("the permissions were not looked at: %+v", report)
		})
	}
}
