// Package iamtest decides requests by IAM policies as AWS does, for the subset of
// the policy language that vaultpack writes: Allow and Deny with principals,
// actions, resources, and the condition operators StringEquals, StringNotEquals,
// StringLike, StringNotLike, Bool and Null. It reads the JSON of policies, not the types that they
// were built from, and rejects what it does not know. Tests use it to assert what policies mean,
// however they are written.
//
// The rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
// and, for KMS keys, https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
package iamtest

import (
	"fmt"
	"strings"
)

// A World holds the policies of an account and its resources.
type World struct {
	// Account is the account of the resources.
	Account string
	// Identities are the policies of principals, by ARN.
	Identities map[string][]*Policy
	// Resources are the policies of buckets, keys and roles (their trust), by ARN.
	Resources map[string]*Policy
}

// A Request is a request by a principal.
type Request struct {
	// Principal is the ARN of a user, a role or a root user, or the name of a service.
	Principal string
	Action    string
	Resource  string
	// Context holds the condition keys. Decide adds aws:PrincipalType and
	// kms:CallerAccount.
	Context map[string]string
}

// Decide reports whether the request is allowed, and returns the statement or rule
// that decided.
func (w *World) Decide(r Request) (allowed bool, why string) {
	kind, account := "", ""
	if f := strings.SplitN(r.Principal, ":", 6); len(f) == 6 {
		account = f[4]
		switch kind = "User"; {
		case f[5] == "root":
			kind = "Account"
		case strings.HasPrefix(f[5], "role/"):
			kind = "AssumedRole"
		}
	}
	ctx := map[string]string{}
	for k, v := range r.Context {
		ctx[strings.ToLower(k)] = v
	}
	if account != "" {
		ctx["aws:principaltype"], ctx["kms:calleraccount"] = kind, account
	}
	service, _, _ := strings.Cut(r.Action, ":")
	resource := w.Resources[owner(r.Resource)]

	// The policy of the resource may name the principal, or hand the decision to
	// IAM in its account by naming the account.
	named, delegated := "", ""
	if resource != nil {
		for _, s := range resource.Statement {
			if !s.about(r, ctx) {
				continue
			}
			direct, root := s.Principal.match(r.Principal, account)
			switch {
			case s.Effect == "Deny" && (direct || root):
				return false, "denied by " + s.Sid
			case s.Effect == "Allow" && direct:
				named = s.Sid
			case s.Effect == "Allow" && root:
				delegated = s.Sid
			}
		}
	}
	identity := ""
	for _, p := range w.Identities[r.Principal] {
		for _, s := range p.Statement {
			if s.Principal != nil {
				return false, "an identity's policy names a principal"
			}
			if !s.about(r, ctx) {
				continue
			}
			if s.Effect == "Deny" {
				return false, "denied by " + s.Sid
			}
			identity = s.Sid
		}
	}
	// A root user may do everything in its account, except what key policies and trust policies
	// do not allow it.
	if kind == "Account" && account == w.Account {
		identity = "the root user"
	}
	switch {
	case service == "kms" || service == "sts":
		// The policies of these resources alone decide who has access.
		if named != "" {
			return true, named
		}
		return delegated != "" && identity != "", fmt.Sprintf("delegated by %q, identity %q", delegated, identity)
	case account != w.Account && account != "":
		return identity != "" && named+delegated != "", fmt.Sprintf("other account: resource %q, identity %q", named+delegated, identity)
	}
	return identity != "" || named != "", fmt.Sprintf("resource %q, identity %q", named, identity)
}

// owner returns the ARN of the resource whose policy applies: for an object, its bucket.
func owner(resource string) string {
	if strings.Contains(resource, ":s3:::") {
		bucket, _, _ := strings.Cut(resource, "/")
		return bucket
	}
	return resource
}

// about reports whether the statement covers the request, whoever makes it.
func (s *statement) about(r Request, ctx map[string]string) bool {
	match := func(patterns list, text string, fold bool) bool {
		for _, p := range patterns {
			if fold {
				p, text = strings.ToLower(p), strings.ToLower(text)
			}
			if wild(p, text) {
				return true
			}
		}
		return false
	}
	if !match(s.Action, r.Action, true) {
		return false
	}
	// A trust policy has no resource: it applies to its role.
	if s.Resource != nil && !match(s.Resource, r.Resource, false) {
		return false
	}
	for op, keys := range s.Condition {
		for key, want := range keys {
			got, ok := ctx[strings.ToLower(key)]
			if !holds(op, want, got, ok) {
				return false
			}
		}
	}
	return true
}

func holds(op string, want list, got string, ok bool) bool {
	any := func(test func(w string) bool) bool {
		for _, w := range want {
			if test(w) {
				return true
			}
		}
		return false
	}
	switch op {
	case "StringEquals":
		return ok && any(func(w string) bool { return w == got })
	case "StringNotEquals": // true if the key is missing
		return !ok || !any(func(w string) bool { return w == got })
	case "StringLike":
		return ok && any(func(w string) bool { return wild(w, got) })
	case "StringNotLike": // true if the key is missing
		return !ok || !any(func(w string) bool { return wild(w, got) })
	case "Bool":
		return ok && any(func(w string) bool { return strings.EqualFold(w, got) })
	case "Null":
		return any(func(w string) bool { return (w == "true") == !ok })
	}
	panic("iamtest: the operator " + op) // Parse rejects all others
}

// wild matches a pattern in which * stands for any text and ? for one character.
func wild(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := 0; i <= len(text); i++ {
				if wild(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

// match reports whether the principals include this one, or its account.
func (p *principals) match(principal, account string) (direct, root bool) {
	if p == nil {
		return false, false
	}
	for _, name := range p.Service {
		direct = direct || name == principal
	}
	for _, name := range p.AWS {
		direct = direct || name == "*" || name == principal
		isRoot := account != "" && (name == account || strings.HasSuffix(name, ":iam::"+account+":root"))
		root = root || isRoot
	}
	return direct, root
}
