package kmstest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/internal/arn"
)

type constraints struct {
	EncryptionContextEquals map[string]string `json:",omitempty"`
	EncryptionContextSubset map[string]string `json:",omitempty"`
	SourceArn               string            `json:",omitempty"`
}

type grant struct {
	ID          string       `json:"id"`
	Tokens      []string     `json:"tokens"`
	KeyARN      string       `json:"key_arn"`
	Name        string       `json:"name,omitempty"`
	Grantee     string       `json:"grantee"`
	Retiring    string       `json:"retiring,omitempty"`
	Issuer      string       `json:"issuer"` // the ARN of an account
	Operations  []string     `json:"operations"`
	Constraints *constraints `json:"constraints,omitempty"`
	Created     time.Time    `json:"created"`
}

// grantOperations are the operations that a grant on a symmetric encryption key can allow,
// and signingOperations those on a key for signatures:
// https://docs.aws.amazon.com/kms/latest/developerguide/grants.html#terms-grant-operations
var signingOperations = []string{"Sign", "Verify", "GetPublicKey", "CreateGrant", "DescribeKey", "RetireGrant"}
var grantOperations = []string{"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
	"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
	"CreateGrant", "DescribeKey", "RetireGrant"}

// contextual are those of them to which constraints apply.
func contextual(op string) bool { return op != "DescribeKey" && op != "RetireGrant" }

// granted reports whether a grant allows the caller the action.
func (r *request) granted(action string, k *key, ec map[string]string) bool {
	op := strings.TrimPrefix(action, "kms:")
	return slices.ContainsFunc(r.st.Grants, func(g *grant) bool {
		return g.KeyARN == k.ARN && slices.Contains(g.Operations, op) && r.is(g.Grantee) &&
			(!contextual(op) || op == "CreateGrant" || g.Constraints.allow(ec))
	})
}

// is reports whether the caller is the principal or, for an account, belongs to it.
func (r *request) is(name string) bool {
	direct, account := r.principalIn([]string{name})
	return direct || account
}

func (c *constraints) allow(ec map[string]string) bool {
	if c == nil {
		return true
	}
	if c.EncryptionContextEquals != nil && !maps.Equal(c.EncryptionContextEquals, ec) {
		return false
	}
	return subset(c.EncryptionContextSubset, ec)
}

func subset(small, large map[string]string) bool {
	for name, v := range small {
		if have, ok := large[name]; !ok || have != v {
			return false
		}
	}
	return true
}

// stricter reports whether d allows nothing that c does not.
func (c *constraints) stricter(d *constraints) bool {
	if c == nil {
		return true
	}
	if d == nil {
		return false
	}
	if c.EncryptionContextEquals != nil && !maps.Equal(c.EncryptionContextEquals, d.EncryptionContextEquals) {
		return false
	}
	return subset(c.EncryptionContextSubset, d.EncryptionContextSubset) || d.EncryptionContextEquals != nil && subset(c.EncryptionContextSubset, d.EncryptionContextEquals)
}

func (r *request) checkTokens(tokens []string) error {
	for _, t := range tokens {
		if !slices.ContainsFunc(r.st.Grants, func(g *grant) bool { return slices.Contains(g.Tokens, t) }) {
			return fail("InvalidGrantTokenException", "the grant token is not valid")
		}
	}
	return nil
}

func (r *request) createGrant(in *struct {
	KeyId, GranteePrincipal, RetiringPrincipal, Name  string
	GranteeServicePrincipal, RetiringServicePrincipal string
	Operations, GrantTokens                           []string
	Constraints                                       *constraints
	DryRun                                            bool
}) (any, error) {
	k, err := r.find(in.KeyId, false)
	if err != nil {
		return nil, err
	}
	if err := r.checkTokens(in.GrantTokens); err != nil {
		return nil, err
	}
	if in.GranteeServicePrincipal != "" || in.RetiringServicePrincipal != "" || in.Constraints != nil && in.Constraints.SourceArn != "" {
		return nil, fail("UnsupportedOperationException", "kmstest has no grants for service principals")
	}
	for _, p := range []string{in.GranteePrincipal, in.RetiringPrincipal} {
		if p != "" && field(p, 5) == "" {
			return nil, fail("InvalidArnException", "%s is not a principal's ARN", p)
		}
	}
	if in.GranteePrincipal == "" || len(in.Operations) == 0 {
		return nil, invalid("a grant needs GranteePrincipal and Operations")
	}
	possible := grantOperations
	if k.Usage == signVerify {
		possible = signingOperations
	}
	for _, op := range in.Operations {
		if !slices.Contains(possible, op) {
			return nil, invalid("a grant on this key cannot allow %s", op)
		}
	}
	if c := in.Constraints; c != nil {
		for _, ec := range []map[string]string{c.EncryptionContextEquals, c.EncryptionContextSubset} {
			if len(ec) > 8 {
				return nil, invalid("a constraint has at most 8 pairs")
			}
			for _, v := range ec {
				if utf8.RuneCountInString(v) > 384 {
					return nil, invalid("a value of a constraint has at most 384 characters")
				}
			}
		}
	}
	if err := r.mayGrant(k, in.Operations, in.Constraints); err != nil {
		return nil, err
	}
	if err := k.usable(unavailable); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	g := &grant{KeyARN: k.ARN, Name: in.Name, Grantee: in.GranteePrincipal, Retiring: in.RetiringPrincipal,
		Issuer: "arn:" + arn.Partition(r.region) + ":iam::" + r.account + ":root", Operations: in.Operations, Constraints: in.Constraints, Created: r.now()}
	if i := slices.IndexFunc(r.st.Grants, g.sameAs); in.Name != "" && i >= 0 {
		g = r.st.Grants[i]
	} else {
		g.ID = newVersion().ID
		r.st.Grants = append(r.st.Grants, g)
	}
	b := make([]byte, 96)
	rand.Read(b)
	g.Tokens, r.dirty = append(g.Tokens, base64.StdEncoding.EncodeToString(b)), true
	return map[string]any{"GrantId": g.ID, "GrantToken": g.Tokens[len(g.Tokens)-1]}, nil
}

// sameAs reports whether a request with a name repeats an earlier one.
func (g *grant) sameAs(o *grant) bool {
	same := func(a, b *constraints) bool { return a.stricter(b) && b.stricter(a) }
	return g.Name == o.Name && g.KeyARN == o.KeyARN && g.Grantee == o.Grantee && g.Retiring == o.Retiring &&
		slices.Equal(g.Operations, o.Operations) && same(g.Constraints, o.Constraints)
}

// mayGrant is authorize for CreateGrant. A caller who has the permission only
// through a grant can give no more than that grant allows.
func (r *request) mayGrant(k *key, operations []string, c *constraints) error {
	grants := r.st.Grants
	r.st.Grants = nil
	err := r.authorize("kms:CreateGrant", k, nil)
	r.st.Grants = grants
	if err == nil {
		return nil
	}
	for _, g := range grants {
		if g.KeyARN == k.ARN && slices.Contains(g.Operations, "CreateGrant") && r.is(g.Grantee) && g.Constraints.stricter(c) &&
			!slices.ContainsFunc(operations, func(op string) bool { return !slices.Contains(g.Operations, op) }) {
			return nil
		}
	}
	return err
}

func (r *request) listGrants(in *struct {
	KeyId, GrantId, GranteePrincipal string
	pageIn
}) (any, error) {
	k, err := r.find(in.KeyId, false)
	if err != nil {
		return nil, err
	}
	if err := r.authorize("kms:ListGrants", k, nil); err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, g := range r.st.Grants {
		if g.KeyARN != k.ARN || in.GrantId != "" && g.ID != in.GrantId || in.GranteePrincipal != "" && g.Grantee != in.GranteePrincipal {
			continue
		}
		e := map[string]any{"KeyId": k.ARN, "GrantId": g.ID, "Name": g.Name, "GranteePrincipal": g.Grantee,
			"IssuingAccount": g.Issuer, "Operations": g.Operations, "CreationDate": epoch(g.Created)}
		if g.Retiring != "" {
			e["RetiringPrincipal"] = g.Retiring
		}
		if g.Constraints != nil {
			e["Constraints"] = g.Constraints
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return strings.Compare(a["GrantId"].(string), b["GrantId"].(string)) })
	return page(in.pageIn, 100, 50, "Grants", out, func(e map[string]any) string { return e["GrantId"].(string) })
}

func (r *request) revokeGrant(in *struct {
	KeyId, GrantId string
	DryRun         bool
}) (any, error) {
	k, err := r.find(in.KeyId, false)
	if err != nil {
		return nil, err
	}
	if err := r.authorize("kms:RevokeGrant", k, nil); err != nil {
		return nil, err
	}
	return nil, r.removeGrant(k.ARN, in.GrantId, in.DryRun)
}

func (r *request) removeGrant(keyARN, id string, dry bool) error {
	if b, err := hex.DecodeString(id); err != nil || len(b) != 32 {
		return fail("InvalidGrantIdException", "the grant ID is not valid")
	}
	i := slices.IndexFunc(r.st.Grants, func(g *grant) bool { return g.KeyARN == keyARN && g.ID == id })
	if i < 0 {
		return fail("NotFoundException", "Grant ID %s does not exist.", id)
	}
	if err := dryRun(dry); err != nil {
		return err
	}
	r.st.Grants, r.dirty = slices.Delete(r.st.Grants, i, i+1), true
	return nil
}

// retireGrant is allowed for the retiring principal, the grantee if the grant says
// so, and the account that made the grant.
func (r *request) retireGrant(in *struct {
	KeyId, GrantId, GrantToken string
	DryRun                     bool
}) (any, error) {
	if (in.GrantToken == "") == (in.KeyId == "" || in.GrantId == "") {
		return nil, invalid("a grant is named by its token, or by key and grant ID")
	}
	i := slices.IndexFunc(r.st.Grants, func(g *grant) bool {
		return slices.Contains(g.Tokens, in.GrantToken) || g.KeyARN == in.KeyId && g.ID == in.GrantId
	})
	if i < 0 {
		if in.GrantToken != "" {
			return nil, fail("InvalidGrantTokenException", "the grant token is not valid")
		}
		return nil, r.removeGrant(in.KeyId, in.GrantId, in.DryRun) // says what is wrong with it
	}
	g := r.st.Grants[i]
	if !(g.Retiring != "" && r.is(g.Retiring) || slices.Contains(g.Operations, "RetireGrant") && r.is(g.Grantee) ||
		field(g.Issuer, 4) == r.account && r.iamAllows("kms:RetireGrant")) {
		return nil, r.deny("kms:RetireGrant", r.st.Keys[g.KeyARN], "because the grant does not allow it")
	}
	return nil, r.removeGrant(g.KeyARN, g.ID, in.DryRun)
}
