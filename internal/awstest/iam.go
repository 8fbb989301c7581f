package awstest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A Role is an IAM role.
type Role struct {
	Name, ARN, Description, Trust string
	Tags                          map[string]string
	Policies                      map[string]string
}

// Role returns a copy of a role, and false if there is none.
func (s *Server) Role(name string) (Role, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.roles[name]
	if r == nil {
		return Role{}, false
	}
	return *r, true
}

// bare counts characters as IAM does.
func bare(text string) (n int) {
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

var roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

func formTags(form url.Values) (map[string]string, error) {
	tags := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		k, v := form.Get(fmt.Sprintf("Tags.member.%d.Key", i)), form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
		if !tagFits(k, v) {
			return nil, fail(400, "ValidationError", "Value at 'tags.%d' failed to satisfy constraint", i)
		}
		tags[k] = v
	}
	return tags, nil
}

// document makes the checks that IAM makes first on any policy.
func document(text string) error {
	var doc struct{ Statement json.RawMessage }
	if !policyText.MatchString(text) {
		return fail(400, "ValidationError", "Value at 'policyDocument' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+")
	}
	if json.Unmarshal([]byte(text), &doc) != nil || len(doc.Statement) == 0 {
		return fail(400, "MalformedPolicyDocument", "The policy is not valid JSON")
	}
	return nil
}

// trust checks a trust policy: its size, and that its principals exist.
func (s *Server) trust(text string) error {
	if err := document(text); err != nil {
		return err
	}
	if n := bare(text); n > 2048 {
		return fail(409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
	}
	for _, arn := range regexp.MustCompile(`arn:[a-z-]+:iam::`+Account+`:(?:role|user)/[^"]+`).FindAllString(text, -1) {
		path := arn[strings.LastIndex(arn, "/")+1:]
		if strings.Contains(arn, ":user/") && s.users[path] || s.roles[path] != nil {
			continue
		}
		return fail(400, "MalformedPolicyDocument", "Invalid principal in policy: \"AWS\":\"%s\"", arn)
	}
	return nil
}

func (s *Server) iam(form url.Values) (string, error) {
	name := form.Get("RoleName")
	switch form.Get("Action") {
	case "GetCallerIdentity":
		return "<Arn>" + s.IAM("user/admin") + "</Arn><UserId>AIDA</UserId><Account>" + Account + "</Account>", nil
	case "AssumeRole": // with an MFA code, each of which is accepted once
		if code := form.Get("TokenCode"); code == "" || s.codes[code] {
			return "", fail(403, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.")
		}
		s.codes[form.Get("TokenCode")] = true
		return "<Credentials><AccessKeyId>admin</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>x</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>", nil
	case "GetAccountSummary":
		return fmt.Sprintf("<SummaryMap><entry><key>Roles</key><value>%d</value></entry><entry><key>RolesQuota</key><value>5000</value></entry></SummaryMap>", len(s.roles)), nil
	case "GetUser":
		user := form.Get("UserName")
		if !s.users[user] {
			return "", fail(404, "NoSuchEntity", "The user with name %s cannot be found.", user)
		}
		return "<User><Path>/</Path><UserName>" + user + "</UserName><UserId>AIDA</UserId><Arn>" + s.IAM("user/"+user) + "</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></User>", nil
	case "CreateRole":
		return s.createRole(name, form)
	case "SimulatePrincipalPolicy":
		return s.simulate(form)
	}
	r := s.roles[name]
	if r == nil {
		return "", fail(404, "NoSuchEntity", "The role with name %s cannot be found.", name)
	}
	switch form.Get("Action") {
	case "GetRole":
		return r.xml(), nil
	case "UpdateAssumeRolePolicy":
		if err := s.trust(form.Get("PolicyDocument")); err != nil {
			return "", err
		}
		r.Trust = form.Get("PolicyDocument")
	case "TagRole":
		tags, err := formTags(form)
		if err != nil {
			return "", err
		}
		for k, v := range tags {
			r.Tags[k] = v
		}
		if len(r.Tags) > 50 {
			return "", fail(409, "LimitExceeded", "Cannot exceed quota for tags: 50")
		}
	case "PutRolePolicy":
		if s.isFresh("role " + name) {
			return "", fail(404, "NoSuchEntity", "The role with name %s cannot be found.", name)
		}
		return "", r.put(form.Get("PolicyName"), form.Get("PolicyDocument"))
	case "GetRolePolicy":
		text, ok := r.Policies[form.Get("PolicyName")]
		if !ok {
			return "", fail(404, "NoSuchEntity", "The role policy with name %s cannot be found.", form.Get("PolicyName"))
		}
		return "<RoleName>" + name + "</RoleName><PolicyName>" + form.Get("PolicyName") + "</PolicyName><PolicyDocument>" + url.PathEscape(text) + "</PolicyDocument>", nil
	case "DeleteRolePolicy":
		if _, ok := r.Policies[form.Get("PolicyName")]; !ok {
			return "", fail(404, "NoSuchEntity", "The role policy with name %s cannot be found.", form.Get("PolicyName"))
		}
		delete(r.Policies, form.Get("PolicyName"))
	case "DeleteRole":
		if len(r.Policies) > 0 {
			return "", fail(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
		}
		delete(s.roles, name)
	default:
		return "", fail(400, "InvalidAction", "awstest has no %s", form.Get("Action"))
	}
	return "", nil
}

func (s *Server) createRole(name string, form url.Values) (string, error) {
	tags, err := formTags(form)
	about := form.Get("Description")
	switch {
	case err != nil:
		return "", err
	case !roleName.MatchString(name):
		return "", fail(400, "ValidationError", "Value '%s' at 'roleName' failed to satisfy constraint", name)
	case !aboutText.MatchString(about) || len([]rune(about)) > 1000:
		return "", fail(400, "ValidationError", "Value at 'description' failed to satisfy constraint")
	case s.roles[name] != nil:
		return "", fail(409, "EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	if err := s.trust(form.Get("AssumeRolePolicyDocument")); err != nil {
		return "", err
	}
	path := form.Get("Path")
	if path == "" {
		path = "/"
	}
	r := &Role{Name: name, ARN: s.IAM("role" + path + name), Description: about, Trust: form.Get("AssumeRolePolicyDocument"), Tags: tags, Policies: map[string]string{}}
	s.roles[name] = r
	s.made("role " + name)
	s.made("principal " + name)
	return r.xml(), nil
}

// put sets an inline policy. There is a limit on the total size of all of them.
func (r *Role) put(name, text string) error {
	if err := document(text); err != nil {
		return err
	}
	total := bare(text)
	for n, other := range r.Policies {
		if n != name {
			total += bare(other)
		}
	}
	if total > 10240 {
		return fail(409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role %s", r.Name)
	}
	r.Policies[name] = text
	return nil
}

func (r *Role) xml() string {
	var tags strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		fmt.Fprintf(&tags, "<member><Key>%s</Key><Value>%s</Value></member>", escape(k), escape(r.Tags[k]))
	}
	return "<Role><Path>/</Path><RoleName>" + r.Name + "</RoleName><RoleId>AROA</RoleId><Arn>" + r.ARN + "</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>" +
		"<AssumeRolePolicyDocument>" + url.PathEscape(r.Trust) + "</AssumeRolePolicyDocument><Tags>" + tags.String() + "</Tags></Role>"
}
