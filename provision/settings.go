package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// Settings are what a user can choose for a vault in AWS: the section provision of
// vaultpack.yaml. The zero value is a good default; Admins then defaults to the
// caller who creates the vault.
type Settings struct {
	// Name is the key's alias and the prefix of the roles' names; by default
	// vaultpack- followed by the bucket's name.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Admins are the ARNs of those who manage the key but cannot use it.
	Admins []string `yaml:"admins,omitempty" json:"admins,omitempty"`
	// Users are the ARNs of existing users and roles that may use the key for all
	// datasets. Their own policies say what they may do in S3.
	Users []string `yaml:"users,omitempty" json:"users,omitempty"`
	// Assume are the ARNs of those who may assume the uploader and reader roles; by
	// default everyone in the account whom IAM allows to assume them.
	Assume []string `yaml:"assume,omitempty" json:"assume,omitempty"`
	// Resume lets the uploader open data keys. Without it, the uploader can only
	// begin datasets, and cannot decrypt.
	Resume bool `yaml:"resume_uploads,omitempty" json:"resume_uploads,omitempty"`
	// SigningKey is the ARN of an asymmetric KMS key that only the uploader role may
	// sign versions with. By default such a key is created; NoKey means none.
	SigningKey string `yaml:"signing_key,omitempty" json:"signing_key,omitempty"`
	// Trainers are names of datasets. Each gets a role for training jobs that can
	// read only this dataset. By default there is one role for all datasets.
	Trainers []string `yaml:"trainers,omitempty" json:"trainers,omitempty"`
	// Outputs are the s3:// URLs that training jobs may write to; by default the
	// place in the vault where vaultpack train makes them write.
	Outputs []string `yaml:"outputs,omitempty" json:"outputs,omitempty"`
	// Images are the ARNs of the ECR repositories that jobs may pull from; by
	// default all in the Region.
	Images []string `yaml:"images,omitempty" json:"images,omitempty"`
	// NoVolumes keeps SageMaker from encrypting the volumes of jobs with the key,
	// which vaultpack train requests unless its volume_kms_key says otherwise.
	NoVolumes bool `yaml:"no_volumes,omitempty" json:"no_volumes,omitempty"`
	// VPC lets jobs run in a VPC.
	VPC bool `yaml:"vpc,omitempty" json:"vpc,omitempty"`
	// LogTo is the s3://BUCKET/PREFIX that S3 writes access logs to; none by default.
	LogTo string `yaml:"access_logs,omitempty" json:"access_logs,omitempty"`
	// ExpireDays is the number of days after which old versions of objects are
	// deleted; 0 means never. AbortDays is the number of days after which
	// unfinished multipart uploads are aborted; by default 7.
	ExpireDays int32 `yaml:"expire_old_versions_days,omitempty" json:"expire_old_versions_days,omitempty"`
	AbortDays  int32 `yaml:"abort_uploads_days,omitempty" json:"abort_uploads_days,omitempty"`
}

// Me stands for the caller in Settings.Users.
const Me = "me"

// NoKey as Settings.SigningKey means that no signing key is created: users who
// upload sign with their own keys.
const NoKey = "none"

var nameText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)

// check fills in defaults, and checks what can be checked without requests.
func (t *Target) check() error {
	if t == nil {
		return errors.New("provision: a nil Target")
	}
	if strings.Contains(t.Bucket, ":") {
		return fmt.Errorf("%s is an access point; init makes buckets: name the bucket itself", t.Bucket)
	}
	if strings.ContainsAny(t.Prefix, "*?$") {
		return fmt.Errorf("the prefix %q holds one of *?$, which policies read as patterns; use another prefix", t.Prefix)
	}
	if t.Name == "" {
		t.Name = "vaultpack-" + strings.ReplaceAll(t.Bucket, ".", "-")
		if len(t.Name) > 40 {
			t.Name = shorten(t.Name, 40)
		}
	}
	if !nameText.MatchString(t.Name) {
		return fmt.Errorf("name is %q, but must be 1 to 40 letters, digits, hyphens and underscores", t.Name)
	}
	if err := t.checkPrincipals(); err != nil {
		return err
	}
	if t.SigningKey != "" && t.SigningKey != NoKey && !arn.IsKey(t.SigningKey) {
		return fmt.Errorf("signing_key is %q, but must be the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID, or %s", t.SigningKey, NoKey)
	}
	for _, d := range t.Trainers {
		if err := dataset.CheckName(d); err != nil {
			return fmt.Errorf("trainers: %w", err)
		}
	}
	for _, o := range t.Outputs {
		if bucket, prefix, ok := splitURL(o); !ok || bucket == "" || prefix == "" || strings.Contains(prefix, "://") {
			return fmt.Errorf("outputs has %q, but must be s3://BUCKET/PREFIX; each is named by itself", o)
		}
	}
	for _, image := range t.Images {
		if !arn.IsRepositories(image) {
			return fmt.Errorf("images has %q, but must be the ARN of an ECR repository, such as arn:aws:ecr:eu-west-1:111122223333:repository/NAME", image)
		}
	}
	if t.LogTo != "" {
		bucket, _, ok := splitURL(t.LogTo)
		if !ok || bucket == t.Bucket {
			return fmt.Errorf("access_logs is %q, but must be s3://BUCKET/PREFIX in another bucket, which encrypts with AES256", t.LogTo)
		}
	}
	if t.AbortDays == 0 {
		t.AbortDays = 7
	}
	if t.ExpireDays < 0 || t.AbortDays < 0 {
		return fmt.Errorf("expire_old_versions_days and abort_uploads_days cannot be negative")
	}
	// Lists are sets: their order does not matter.
	for _, l := range []*[]string{&t.Admins, &t.Users, &t.Assume, &t.Trainers, &t.Outputs, &t.Images} {
		*l = slices.Clone(*l)
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	return nil
}

// checkPrincipals checks the ARNs of people and roles.
func (t *Target) checkPrincipals() error {
	for what, arns := range map[string][]string{"admins": t.Admins, "users": t.Users, "assume": t.Assume} {
		for _, who := range arns {
			if what == "users" && who == Me {
				continue
			}
			if !arn.IsPrincipal(who) {
				return fmt.Errorf("%s has %q, but must be the ARN of a user or role, such as arn:aws:iam::111122223333:role/NAME", what, who)
			}
			if strings.HasSuffix(who, ":root") && what != "assume" {
				return fmt.Errorf("%s has %s, which in a key's policy stands for all in the account whom IAM allows it; name users and roles", what, who)
			}
		}
	}
	return nil
}

func splitURL(url string) (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(url, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, strings.TrimSuffix(prefix, "/"), ok && bucket != "" && !strings.ContainsAny(rest, "*?$")
}

// shorten truncates a name and appends a hash of the whole, so that it stays
// unique.
func shorten(name string, max int) string {
	if len(name) <= max {
		return name
	}
	return name[:max-9] + "-" + hash(name, 4)
}

// hash returns the first n bytes of the hash of a text.
func hash(text string, bytes int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:bytes])
}

// A role is one of the roles that are created.
type role struct {
	kind    string // uploader, trainer, reader
	dataset string // a trainer's dataset; "*" for all
	name    string
	arn     string
}

func (p *Provisioner) roles() []role {
	all := []role{{kind: "uploader"}, {kind: "reader"}}
	if len(p.Trainers) == 0 {
		all = append(all, role{kind: "trainer", dataset: "*"})
	}
	for _, d := range p.Trainers {
		all = append(all, role{kind: "trainer", dataset: d})
	}
	for i := range all {
		r := &all[i]
		r.name = p.Name + "-" + r.kind
		if r.dataset != "" && r.dataset != "*" {
			r.name += "-" + r.dataset
		}
		r.name = shorten(r.name, 64)
		if r.arn = p.roleARNs[r.name]; r.arn != "" {
			continue
		}
		r.arn = arn.Role(p.partition, p.account, r.name)
	}
	return all
}

// trainer returns what a trainer's role may use.
func (t *Target) trainer(dataset string) policy.Trainer {
	out := policy.Trainer{Outputs: t.Outputs, Repositories: t.Images, Volumes: !t.NoVolumes, VPC: t.VPC}
	if dataset != "*" {
		out.Datasets = []string{dataset}
	}
	return out
}

// uploader returns what the uploader's role may use, as far as the settings say.
func (t *Target) uploader() policy.Uploader {
	u := policy.Uploader{Resume: t.Resume}
	if t.SigningKey != NoKey {
		u.SigningKey = t.SigningKey
	}
	return u
}

// uploader returns what the uploader's role may use. Until the signing key is made,
// the policies of a plan name one that does not exist.
func (p *Provisioner) uploader() policy.Uploader {
	u := p.Target.uploader()
	if p.makesSigningKey() {
		if u.SigningKey = p.signing.arn; u.SigningKey == "" {
			u.SigningKey = p.noKey()
		}
	}
	return u
}

// access returns who may do what with the key.
func (p *Provisioner) access() policy.Access {
	a := policy.Access{Admins: p.Admins, Users: p.Users}
	for _, r := range p.roles() {
		switch r.kind {
		case "uploader":
			a.Uploaders = append(a.Uploaders, policy.UploaderAccess{Principal: r.arn, Uploader: p.uploader()})
		case "reader":
			a.Readers = append(a.Readers, policy.ReaderAccess{Principal: r.arn})
		default:
			a.Trainers = append(a.Trainers, policy.TrainerAccess{Principal: r.arn, Trainer: p.trainer(r.dataset)})
		}
	}
	a.AllTrainers = p.TrainerClass(p.partition, p.account)
	return a
}

// TrainerClass describes all trainers of the vault together, by the tag and the
// names of their roles. It is for a key policy that has no room to name each of
// them.
func (t *Target) TrainerClass(partition, account string) *policy.TrainerClass {
	role := arn.Role(partition, account, "")
	return &policy.TrainerClass{Tag: TagKey, Value: TagValue(t.URL()), Trainer: t.trainer("*"),
		Roles: []string{role + t.Name + "-trainer-*", role + "*/" + t.Name + "-trainer-*"}}
}

// Chosen returns the settings to keep in a file: those that differ from the
// default, and the admins, whose default depends on the caller.
func (p *Provisioner) Chosen() Settings {
	s := p.given
	s.Admins = p.Admins
	s.Users = p.Users // Me has been resolved by now
	return s
}

// RolePolicy returns a policy of one role of the vault, for [Settings] that need no
// calls. The part "role" is the role's own policy, "trust" says who may assume it, and
// "key" and "signing-key" are what the policies of these keys must say about it. role is
// uploader, worker, trainer or reader.
func (t *Target) RolePolicy(v policy.Vault, role, part, principal string, datasets []string) (policy.Document, error) {
	if err := t.check(); err != nil {
		return policy.Document{}, err
	}
	if (part == "key" || part == "signing-key") && principal == "" || part == "trust" && role != "trainer" && principal == "" {
		return policy.Document{}, fmt.Errorf("--part %s needs a --principal, the ARN of a user or role", part)
	}
	if principal != "" && !arn.IsPrincipal(principal) {
		return policy.Document{}, fmt.Errorf("--principal is %q, but must be the ARN of a user or role", principal)
	}
	up, train, read := t.uploader(), t.trainer("*"), policy.Reader{Datasets: datasets}
	up.Datasets, train.Datasets = datasets, datasets
	var own, trust policy.Document
	var use policy.Access
	switch role {
	case "uploader":
		own, use.Uploaders = v.Uploader(up), []policy.UploaderAccess{{Principal: principal, Uploader: up}}
	case "worker":
		// It uses the key for data as a trainer does.
		own, use.Trainers = v.Worker(policy.Worker{Datasets: datasets, SigningKey: up.SigningKey}), []policy.TrainerAccess{{Principal: principal, Trainer: policy.Trainer{Datasets: datasets}}}
	case "trainer":
		own, use.Trainers = v.Trainer(train), []policy.TrainerAccess{{Principal: principal, Trainer: train}}
	case "reader":
		own, use.Readers = v.Reader(read), []policy.ReaderAccess{{Principal: principal, Reader: read}}
	default:
		return policy.Document{}, fmt.Errorf("--for is %q, but must be uploader, worker, trainer or reader", role)
	}
	if trust = v.TrainerTrust(); role != "trainer" {
		trust = policy.Trust(principal)
	}
	switch part {
	case "role":
		return own, nil
	case "trust":
		return trust, nil
	case "key":
		return v.KeyUse(use), nil
	case "signing-key":
		if role != "uploader" && role != "worker" {
			return policy.Document{}, fmt.Errorf("--part signing-key is for uploaders and workers: a %s signs with no key in KMS", role)
		}
		return policy.SigningKeyUse(principal), nil
	}
	return policy.Document{}, fmt.Errorf("--part is %q, but must be role, trust, key, signing-key or bucket", part)
}
