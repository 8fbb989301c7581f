package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// identify determines the caller, and its account. GetCallerIdentity needs no
// permission.
func (p *Provisioner) identify(ctx context.Context) error {
	out, err := p.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if BadCredentials(err) {
		return &CredentialsError{Doing: "finding out the caller's identity", Err: err}
	}
	if err != nil {
		return fmt.Errorf("finding out the caller's identity: %w", err)
	}
	a, err := arn.Parse(aws.ToString(out.Arn))
	if err != nil {
		return fmt.Errorf("AWS says that the caller is %q, which is not an ARN", aws.ToString(out.Arn))
	}
	p.partition, p.account = a.Partition, a.AccountID
	kind, name, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "user":
		p.caller = fmt.Sprintf("arn:%s:iam::%s:%s", a.Partition, a.AccountID, a.Resource)
	case "assumed-role":
		role, _, _ := strings.Cut(name, "/")
		p.caller = fmt.Sprintf("arn:%s:iam::%s:role/%s", a.Partition, a.AccountID, role)
		// The session's ARN does not contain the role's path.
		if r, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &role}); err == nil {
			p.caller = aws.ToString(r.Role.Arn)
		} else if strings.HasPrefix(role, "AWSReservedSSO_") {
			p.caller = fmt.Sprintf("arn:%s:iam::%s:role/aws-reserved/sso.amazonaws.com/%s", a.Partition, a.AccountID, role)
			if len(p.Admins) == 0 {
				return fmt.Errorf("cannot read the path of your role (%w); set it with --admin, in most Regions %s",
					Explain(err, "iam:GetRole", role), strings.Replace(p.caller, ".com/", ".com/"+p.region+"/", 1))
			}
			// Only the name can show which of the admins this is.
			for _, admin := range p.Admins {
				if strings.HasSuffix(admin, "/"+role) {
					p.caller = admin
				}
			}
		}
	default:
		p.caller = a.String()
	}
	for i := range p.Users {
		if p.Users[i] == Me {
			p.Users[i] = p.caller
		}
	}
	slices.Sort(p.Users)
	p.Users = slices.Compact(p.Users)
	if len(p.Admins) == 0 {
		if kind == "root" || kind == "federated-user" {
			return fmt.Errorf("the caller is %s, which a key's policy is not to name; use a user or a role, or name the key's administrators with --admin", a)
		}
		p.Admins = []string{p.caller}
	}
	if !slices.Contains(p.Admins, p.caller) {
		return fmt.Errorf("the key's administrators would be %s, and not %s, who is calling: KMS refuses a policy that its writer could not change again; add it with --admin, or call as one of them",
			strings.Join(p.Admins, ", "), p.caller)
	}
	return nil
}

func (p *Provisioner) tags() map[string]string { return map[string]string{TagKey: TagValue(p.URL())} }

// ErrNotOurs is returned for an existing resource that belongs to another
// vault or to none, if Target.Adopt is not set.
var ErrNotOurs = errors.New("not tagged as this vault's")

// ours decides by the tags of an existing resource whether to use it.
func (p *Provisioner) ours(resource string, tags map[string]string) error {
	switch got := tags[TagKey]; {
	case got == TagValue(p.URL()) || p.Adopt:
		return nil
	case got != "":
		return fmt.Errorf("%s is %w: it belongs to %s by its tag %s; use that vault, or another bucket and name; --adopt would take it over", resource, ErrNotOurs, got, TagKey)
	}
	return fmt.Errorf("%s is there already and %w (%s), so it is not touched. "+
		"To use it as it is, no init is needed; --adopt takes it over and changes it as --plan --adopt shows", resource, ErrNotOurs, TagKey)
}

// tagText returns the tag of a resource as text.
func (p *Provisioner) tagText(tags map[string]string) string {
	if tags[TagKey] == "" {
		return ""
	}
	return TagKey + "=" + tags[TagKey]
}
