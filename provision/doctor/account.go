package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/awserr"
)

// soon is the remaining lifetime below which credentials expire too soon for an upload, or to
// watch a job.
const soon = 30 * time.Minute

// credentials asks STS for the caller's identity, which needs no permission.
func (d *doctor) credentials(ctx context.Context) Finding {
	unknown := func(format string, args ...any) Finding {
		f := failed(login, format, args...)
		f.unknown = true
		return f
	}
	if d.aws.Credentials == nil {
		return unknown("there are no AWS credentials")
	}
	c, err := d.aws.Credentials.Retrieve(ctx)
	var mfa *config.MFAError
	if errors.As(err, &mfa) {
		return unknown("%v", mfa)
	}
	if err != nil {
		return unknown("there are no usable AWS credentials: %v", err)
	}
	who := "the access key " + c.AccessKeyID
	if d.sts.Options().BaseEndpoint != nil || d.s3.Options().BaseEndpoint == nil {
		out, err := d.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			if !isIdentity(err) {
				return failed("check the network and the endpoint of STS, and try again", "cannot find out who is calling: %s", said(err))
			}
			return unknown("AWS does not accept these credentials (%s, from %s): %s", c.AccessKeyID, c.Source, said(err))
		}
		who = aws.ToString(out.Arn)
	}
	if strings.HasSuffix(who, ":root") {
		return warning("create a user or role with the policy that vaultpack policy prints, and use that", "these are the credentials of the account's root user, %s, who may do everything", who)
	}
	if left := time.Until(c.Expires); c.CanExpire && left < soon {
		return warning(login+" again", "%s, but the credentials expire in %v", who, left.Round(time.Minute))
	}
	return ok("%s, from %s", who, c.Source)
}

// role checks whether SageMaker may assume the role of training jobs.
func (d *doctor) role(ctx context.Context) Finding {
	if d.Role == "" {
		return skipped("set the role of training jobs with --role ARN")
	}
	a, err := arn.Parse(d.Role)
	path, isRole := strings.CutPrefix(a.Resource, "role/")
	if err != nil || a.Service != "iam" || !isRole {
		return failed("write arn:aws:iam::ACCOUNT:role/NAME", "%q is not the ARN of a role", d.Role)
	}
	if d.elsewhere {
		return skipped("the vault is not in AWS, and SageMaker reads its data only from there")
	}
	name := path[strings.LastIndex(path, "/")+1:]
	out, err := d.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if code := awserr.Code(err); code == "NoSuchEntity" || code == "NoSuchEntityException" {
		return failed("create it with: vaultpack init", "there is no role %s in this account", name)
	} else if err != nil {
		return unseen(err, "iam:GetRole", d.Role)
	}
	if got := aws.ToString(out.Role.Arn); got != d.Role {
		return failed("write "+got+", or use credentials of the account "+a.AccountID, "there is no role %s for this caller, but %s", d.Role, got)
	}
	text, err := url.PathUnescape(aws.ToString(out.Role.AssumeRolePolicyDocument))
	if err != nil {
		return failed("check the role's trust policy", "IAM returns a trust policy for %s that cannot be read: %v", d.Role, err)
	}
	return trusts(text, a.AccountID)
}

const sageMaker = "sagemaker.amazonaws.com"

// trusts evaluates the trust policy of a role in the account.
func trusts(text, account string) Finding {
	const fix = "set the trust policy that vaultpack init gives the trainer's role, or: aws iam update-assume-role-policy"
	statements, err := parsePolicy(text)
	if err != nil {
		return failed(fix, "the role's trust policy cannot be read: %v", err)
	}
	var found *statement
	for _, s := range statements {
		if !slices.Contains(s.services(), sageMaker) || !s.covers("sts:AssumeRole") {
			continue
		}
		if s.Effect == "Deny" {
			return failed(fix, "the role's trust policy denies it to %s", sageMaker)
		}
		found = s
	}
	if found == nil {
		return failed(fix, "the role's trust policy does not let %s assume it", sageMaker)
	}
	bound := false
	for op, pairs := range found.Condition {
		for key, value := range pairs {
			switch values := texts(value); {
			case strings.EqualFold(key, "aws:SourceAccount") && strings.HasPrefix(op, "String") && !strings.Contains(op, "Not"):
				if !slices.Contains(values, account) {
					return failed(fix, "SageMaker may assume the role only for jobs of the account %s, and the role is in %s", strings.Join(values, ", "), account)
				}
				bound = true
			case strings.EqualFold(key, "aws:SourceArn"):
				bound = true
			default:
				return warning("make sure that the condition allows your jobs", "SageMaker may assume the role where %s %s is %s, which doctor cannot check", op, key, strings.Join(values, ", "))
			}
		}
	}
	if !bound {
		return warning(fix, "SageMaker may assume the role, but for jobs of any account: the condition aws:SourceAccount is missing")
	}
	return ok("SageMaker may assume it for jobs of the account %s", account)
}

// A statement is a policy statement, with the fields that are evaluated.
type statement struct {
	Sid, Effect string
	Principal   any
	Action      any
	Condition   map[string]map[string]any
}

func parsePolicy(text string) ([]*statement, error) {
	var doc struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	var many []*statement
	if err := json.Unmarshal(doc.Statement, &many); err == nil {
		return many, nil
	}
	var one statement
	if err := json.Unmarshal(doc.Statement, &one); err != nil {
		return nil, fmt.Errorf("its statements: %w", err)
	}
	return []*statement{&one}, nil
}

// texts returns the strings of a value that holds one or several.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	case nil:
	default:
		all = append(all, fmt.Sprint(v))
	}
	return all
}

func (s *statement) services() []string {
	m, _ := s.Principal.(map[string]any)
	return texts(m["Service"])
}

// everybody reports whether the statement applies to all principals.
func (s *statement) everybody() bool {
	m, _ := s.Principal.(map[string]any)
	return s.Principal == "*" || slices.Contains(texts(m["AWS"]), "*")
}

// covers reports whether the action is one of the statement's.
func (s *statement) covers(action string) bool {
	service, _, _ := strings.Cut(action, ":")
	return slices.ContainsFunc(texts(s.Action), func(a string) bool {
		return a == "*" || strings.EqualFold(a, action) || strings.EqualFold(a, service+":*")
	})
}

// condition returns the values for a condition key, for any operator.
func (s *statement) condition(key string) (values []string) {
	for _, pairs := range s.Condition {
		for k, v := range pairs {
			if strings.EqualFold(k, key) {
				values = append(values, texts(v)...)
			}
		}
	}
	return values
}
