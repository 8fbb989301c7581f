package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/internal/awsname"
	"github.com/vaultpack/vaultpack/provision"
)

// settings holds the stack's config.
type settings struct {
	// target has the defaults filled in by check; chosen is as given.
	target provision.Target
	chosen provision.Settings
	vpc    *network
	// protect keeps Pulumi from deleting key and bucket in any case.
	protect bool
	// importKey is the ARN or ID of the key of a vault made by vaultpack init, to be
	// taken over; importSigningKey is the key that its versions are signed with.
	importKey, importSigningKey string

	project string
}

// A network is where training jobs run.
type network struct {
	Subnets        []string `json:"subnets"`
	SecurityGroups []string `json:"security_groups"`
	// ID is the ID of the VPC that gets Endpoints.
	ID string `json:"id"`
	// RouteTables lead to the endpoint of S3.
	RouteTables []string `json:"route_tables"`
	// Endpoints are services; by default all that a job calls.
	Endpoints []string `json:"endpoints"`
}

// services lists the services that a job and its launcher call.
var services = []string{"s3", "kms", "sagemaker.api", "logs"}

// readSettings reads the config. An unknown key is an error: a mistyped setting
// would silently do nothing.
func readSettings(ctx *pulumi.Context) (*settings, error) {
	s := &settings{protect: true, project: ctx.Project()}
	c := &s.chosen
	keys := []struct {
		name string
		to   any
	}{
		{"bucket", &s.target.Bucket}, {"prefix", &s.target.Prefix},
		{"name", &c.Name}, {"admins", &c.Admins}, {"users", &c.Users}, {"assume", &c.Assume},
		{"resume_uploads", &c.Resume}, {"signing_key", &c.SigningKey}, {"trainers", &c.Trainers}, {"outputs", &c.Outputs}, {"images", &c.Images},
		{"no_volumes", &c.NoVolumes}, {"vpc", &s.vpc}, {"access_logs", &c.LogTo},
		{"expire_old_versions_days", &c.ExpireDays}, {"abort_uploads_days", &c.AbortDays},
		{"protect", &s.protect}, {"import_key", &s.importKey},
		{"import_signing_key", &s.importSigningKey},
	}
	known := map[string]bool{}
	for _, k := range keys {
		known[k.name] = true
		text, ok := ctx.GetConfig(s.project + ":" + k.name)
		if !ok {
			continue
		}
		if to, isString := k.to.(*string); isString {
			*to = text
			continue
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(k.to); err != nil || d.More() {
			return nil, s.errorf(k.name, "is %s, but must be %s", text, shape(k.name, k.to))
		}
	}
	if err := s.unknown(known); err != nil {
		return nil, err
	}
	c.VPC = s.vpc != nil
	if p := strings.Trim(s.target.Prefix, "/"); p != "" {
		s.target.Prefix = p + "/"
	} else {
		s.target.Prefix = ""
	}
	s.target.Settings = *c
	return s, nil
}

// shape says how a value is set.
func shape(name string, to any) string {
	switch to.(type) {
	case *bool:
		return fmt.Sprintf("true or false: pulumi config set %s true", name)
	case *int32:
		return fmt.Sprintf("a number of days: pulumi config set %s 30", name)
	case *[]string:
		return fmt.Sprintf("a list: pulumi config set --path '%s[0]' VALUE", name)
	}
	return "a section with subnets, security_groups, id, route_tables and endpoints, each a list but id: pulumi config set --path 'vpc.subnets[0]' subnet-…"
}

func (s *settings) errorf(key, format string, args ...any) error {
	return fmt.Errorf("config %s:%s "+format, append([]any{s.project, key}, args...)...)
}

// unknown finds keys that nobody reads. Pulumi hands over the whole config in the
// environment, and to programs inside the automation API not at all.
func (s *settings) unknown(known map[string]bool) error {
	var all map[string]string
	if err := json.Unmarshal([]byte(os.Getenv(pulumi.EnvConfig)), &all); err != nil {
		return nil // not started by the CLI
	}
	for key := range all {
		if name, ours := strings.CutPrefix(key, s.project+":"); ours && !known[name] {
			return s.errorf(name, "is no setting; there are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

var keyID = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// check checks the settings, and fills in the defaults that vaultpack init has.
func (s *settings) check(in place) error {
	switch {
	case s.target.Bucket == "":
		return s.errorf("bucket", "is not set, and the vault needs a bucket: pulumi config set bucket NAME")
	case !awsname.IsBucket(s.target.Bucket):
		return s.errorf("bucket", "is %q, but must be 3 to 63 lower-case letters, digits, hyphens and dots", s.target.Bucket)
	case strings.ContainsAny(s.target.Prefix, "*?$"):
		return s.errorf("prefix", "is %q, but cannot hold *?$, which policies read as patterns", s.target.Prefix)
	case len(s.chosen.Admins) == 0:
		// vaultpack init defaults to the caller. Here another caller would mean another key
		// policy.
		return s.errorf("admins", "is not set; it names who manages the key, and cannot use it. You are %s: pulumi config set --path 'admins[0]' %s", in.caller, in.principal())
	case slices.Contains(s.chosen.Users, provision.Me):
		return s.errorf("users", "has %q, which changes with the caller; name the user or role: %s", provision.Me, in.principal())
	}
	// The same checks as vaultpack init has: its errors name the settings, which
	// have the same names here.
	p, err := provision.New(awssdk.Config{Region: in.region}, s.target)
	if err != nil {
		return fmt.Errorf("config %s: %w", s.project, err)
	}
	if err := p.CheckLimits(in.partition, in.account); err != nil {
		return fmt.Errorf("config %s: %w", s.project, err)
	}
	s.target = p.Target
	for name, key := range map[string]*string{"import_key": &s.importKey, "import_signing_key": &s.importSigningKey} {
		if *key == "" {
			continue
		}
		_, id, isARN := strings.Cut(*key, ":key/")
		if !isARN {
			id = *key
		}
		if !keyID.MatchString(id) {
			return s.errorf(name, "is %q, but must be the ID or the ARN of a KMS key", *key)
		}
		*key = id
	}
	makes := s.target.SigningKey == ""
	switch {
	case s.importKey != "" && s.importSigningKey == "" && makes:
		return s.errorf("import_signing_key", "is not set, and the vault that is taken over has a key that its versions are signed with: signing_key_arn, as vaultpack init prints it")
	case s.importSigningKey != "" && (s.importKey == "" || !makes):
		return s.errorf("import_signing_key", "goes with import_key, and without signing_key")
	}
	return s.checkNetwork(in)
}

func (s *settings) checkNetwork(in place) error {
	v := s.vpc
	if v == nil {
		return nil
	}
	if len(v.Subnets) == 0 || len(v.SecurityGroups) == 0 {
		return s.errorf("vpc", "needs subnets and security_groups, in which training jobs run")
	}
	if v.ID == "" {
		if len(v.Endpoints)+len(v.RouteTables) > 0 {
			return s.errorf("vpc.id", "is not set, and endpoints and route_tables are of a VPC")
		}
		return nil
	}
	if v.Endpoints == nil {
		v.Endpoints = services
	}
	for _, e := range v.Endpoints {
		if !slices.Contains(services, e) {
			return s.errorf("vpc.endpoints", "has %q, but there are %s", e, strings.Join(services, ", "))
		}
	}
	if slices.Contains(v.Endpoints, "s3") && len(v.RouteTables) == 0 {
		return s.errorf("vpc.route_tables", "is not set, and the endpoint of S3 is reached through route tables: those of the subnets")
	}
	if len(v.Endpoints) > 0 && in.partition == "aws-cn" {
		return s.errorf("vpc.endpoints", "cannot be made in China, where services have other names: make them yourself, and set endpoints to []")
	}
	return nil
}

// principal returns the user or role of the caller, as far as its ARN shows: that
// of a session lacks the path of its role.
func (p place) principal() string {
	f := strings.SplitN(p.caller, ":", 6)
	if len(f) < 6 {
		return p.caller
	}
	if rest, ok := strings.CutPrefix(f[5], "assumed-role/"); ok {
		role, _, _ := strings.Cut(rest, "/")
		return fmt.Sprintf("arn:%s:iam::%s:role/%s", p.partition, p.account, role)
	}
	return p.caller
}

// among reports whether the caller is one of the principals. For a session, only the
// name of the role is known.
func (p place) among(principals []string) bool {
	own := p.principal()
	return slices.ContainsFunc(principals, func(arn string) bool {
		if arn == own {
			return true
		}
		prefix, _, _ := strings.Cut(own, "/")
		return own != p.caller && strings.HasPrefix(arn, prefix+"/") && arn[strings.LastIndex(arn, "/"):] == own[strings.LastIndex(own, "/"):]
	})
}
