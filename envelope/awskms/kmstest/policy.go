package kmstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// A policy is the part of a key policy that this package understands.
type policy struct {
	Version   string
	Id        string
	Statement list[statement]
}

type statement struct {
	Sid, Effect string
	Principal   principals
	Action      list[string]
	Resource    list[string]
	Condition   map[string]map[string]list[string]
}

// A list is one value or several: IAM accepts both.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return strict(b, (*[]T)(l))
	}
	var one T
	if err := strict(b, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

// principals are those of the kind AWS. Services never call here.
type principals struct{ AWS, Service list[string] }

func (p *principals) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		p.AWS = list[string]{"*"}
		return nil
	}
	type plain principals
	return strict(b, (*plain)(p))
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("there is something after the value")
	}
	return nil
}

// policyText matches what KMS accepts in a policy (API reference, PutKeyPolicy).
var policyText = regexp.MustCompile(`^[\t\n\r\x{20}-\x{ff}]+$`)

func parsePolicy(text string) (*policy, error) {
	malformed := func(format string, args ...any) (*policy, error) {
		return nil, fail("MalformedPolicyDocumentException", format, args...)
	}
	var p policy
	if err := strict([]byte(text), &p); err != nil {
		return malformed("kmstest does not understand the policy: %v", err)
	}
	if len(p.Statement) == 0 {
		return malformed("the policy has no statement")
	}
	for _, st := range p.Statement {
		if st.Effect != "Allow" && st.Effect != "Deny" || len(st.Action) == 0 || len(st.Resource) == 0 ||
			len(st.Principal.AWS)+len(st.Principal.Service) == 0 {
			return malformed("a statement needs Effect, Principal, Action and Resource")
		}
		for op, conditions := range st.Condition {
			if !slices.Contains([]string{"StringEquals", "StringNotEquals", "StringLike", "ArnLike", "Bool", "Null"}, op) {
				return malformed("kmstest does not know the condition operator %s", op)
			}
			for name := range conditions {
				low := strings.ToLower(name)
				if low != "kms:grantisforawsresource" && low != "aws:principaltype" && low != "aws:principalarn" && !strings.HasPrefix(low, "aws:principaltag/") &&
					low != "kms:viaservice" && low != "kms:calleraccount" && !strings.HasPrefix(low, "kms:encryptioncontext:") {
					return malformed("kmstest does not know the condition key %s", name)
				}
			}
		}
	}
	return &p, nil
}

// setPolicy gives a key its policy, or the default one.
func (r *request) setPolicy(k *key, text string, bypass bool) error {
	if text == "" {
		text = fmt.Sprintf(`{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:%s:iam::%s:root"},"Action":"kms:*","Resource":"*"}]}`,
			arn.Partition(k.region()), k.account())
	}
	if len(text) > 32<<10 {
		return fail("LimitExceededException", "the key policy is larger than 32768 bytes")
	}
	if _, err := parsePolicy(text); err != nil {
		return err
	}
	if !policyText.MatchString(text) {
		return invalid("Value at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+")
	}
	if r.known != nil {
		p, _ := parsePolicy(text)
		for _, st := range p.Statement {
			if slices.ContainsFunc(st.Principal.AWS, func(arn string) bool { return arn != "*" && !r.known(arn) }) {
				return fail("MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals.")
			}
		}
	}
	next := *k
	next.Policy = text
	if !bypass && r.authorize("kms:PutKeyPolicy", &next, nil) != nil {
		return fail("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	}
	k.Policy, r.dirty = text, true
	return nil
}

func (r *request) putKeyPolicy(in *struct {
	KeyId, PolicyName, Policy      string
	BypassPolicyLockoutSafetyCheck bool
}) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, invalid("the only name of a policy is default")
	}
	if in.Policy == "" {
		return nil, invalid("Value null at 'policy' failed to satisfy constraint: Member must not be null")
	}
	return nil, r.setPolicy(k, in.Policy, in.BypassPolicyLockoutSafetyCheck)
}

func (r *request) getKeyPolicy(in *struct{ KeyId, PolicyName string }) (any, error) {
	k, err := r.admin(in.KeyId)
	if err != nil {
		return nil, err
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, fail("NotFoundException", "No such policy exists")
	}
	return map[string]any{"Policy": k.Policy, "PolicyName": "default"}, nil
}

// authorize decides as IAM does for one account: a Deny wins; otherwise the key
// policy allows, directly or by delegating to the caller's account and its identity
// policies; or a grant allows.
func (r *request) authorize(action string, k *key, ec map[string]string) error {
	p, err := parsePolicy(k.Policy)
	if err != nil {
		return err
	}
	allowed, delegated := false, false
	for _, st := range p.Statement {
		if !matchAny(st.Action, action) || !matchAny(st.Resource, k.ARN) || !r.conditions(st.Condition, ec) {
			continue
		}
		direct, account := r.principalIn(st.Principal.AWS)
		switch {
		case st.Effect == "Deny" && (direct || account):
			return r.deny(action, k, "with an explicit deny in a resource-based policy")
		case st.Effect == "Allow":
			allowed = allowed || direct
			delegated = delegated || account
		}
	}
	switch {
	case allowed, delegated && r.iamAllows(action), r.granted(action, k, ec):
		return nil
	case delegated:
		return r.deny(action, k, "because no identity-based policy allows the "+action+" action")
	}
	return r.deny(action, k, "because no resource-based policy allows the "+action+" action")
}

func (r *request) deny(action string, k *key, why string) error {
	return fail("AccessDeniedException", "User: %s is not authorized to perform: %s on resource: %s %s", r.principal, action, k.ARN, why)
}

func (r *request) denied(k *key, why string) error { return r.deny("kms:"+r.op, k, why) }

func (r *request) deniedWithout(action string) error {
	return fail("AccessDeniedException", "User: %s is not authorized to perform: %s because no identity-based policy allows the %s action", r.principal, action, action)
}

// principalIn reports whether the caller is named, directly or through the role that
// it has assumed, and whether its account is.
func (r *request) principalIn(names []string) (direct, account bool) {
	for _, name := range names {
		switch {
		case name == "*", isPrincipal(name, r.principal):
			direct = true
		case name == r.account, field(name, 4) == r.account && field(name, 5) == "root":
			account = true
		}
	}
	return direct, account
}

func isPrincipal(name, caller string) bool {
	if name == caller {
		return true
	}
	role, ok := strings.CutPrefix(field(caller, 5), "assumed-role/")
	role, _, _ = strings.Cut(role, "/")
	return ok && field(name, 4) == field(caller, 4) && field(name, 5) == "role/"+role
}

func (r *request) iamAllows(action string) bool {
	actions, limited := r.iam[r.principal]
	return !limited || matchAny(actions, action)
}

// matchAny matches with * and ?, ignoring case.
func matchAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchPattern("(?i)", p, s) })
}

func matchPattern(flags, p, s string) bool {
	p = regexp.QuoteMeta(p)
	p = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(p)
	return regexp.MustCompile(flags + `(?s)^` + p + `$`).MatchString(s)
}

func principalType(arn string) string {
	switch kind, _, _ := strings.Cut(field(arn, 5), "/"); kind {
	case "root":
		return "Account"
	case "assumed-role":
		return "AssumedRole"
	}
	return "User"
}

// All conditions must hold, each with one of its values. Names of context keys are
// case-insensitive, their values are not.
func (r *request) conditions(all map[string]map[string]list[string], ec map[string]string) bool {
	for op, conditions := range all {
		for name, values := range conditions {
			var have string
			var ok bool
			switch low := strings.ToLower(name); low {
			case "kms:viaservice":
				have, ok = r.via, r.via != ""
			case "kms:calleraccount":
				have, ok = r.account, true
			case "aws:principaltype":
				have, ok = principalType(r.principal), true
			case "aws:principalarn":
				have, ok = r.principal, true
			case "kms:grantisforawsresource":
			default:
				if strings.HasPrefix(low, "aws:principaltag/") {
					break // principals have no tags here
				}
				for k, v := range ec {
					if strings.EqualFold(k, name[len("kms:EncryptionContext:"):]) {
						have, ok = v, true
					}
				}
			}
			if op == "Null" {
				if !slices.Contains(values, strconv.FormatBool(!ok)) {
					return false
				}
				continue
			}
			equal := ok && slices.ContainsFunc(values, func(v string) bool {
				return v == have || (op == "StringLike" || op == "ArnLike") && matchPattern("", v, have)
			})
			if equal == (op == "StringNotEquals") {
				return false
			}
		}
	}
	return true
}
