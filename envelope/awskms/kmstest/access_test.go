package kmstest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}`

func TestPolicies(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	const root = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}`
	put := func(statements ...string) error {
		p := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
		_, err := f.client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &f.key, Policy: &p})
		return err
	}
	deny := func(action, principal, condition string) string {
		return `{"Effect":"Deny","Principal":` + principal + `,"Action":` + action + `,"Resource":"*","Condition":` + condition + `}`
	}
	const all, none = `{"AWS":"*"}`, `{}`
	f.srv.SetPrincipal("session", "arn:aws:sts::111122223333:assumed-role/Job/i-1")
	f.srv.SetPrincipal("stranger", "arn:aws:iam::999999999999:user/eve")
	for _, c := range []struct {
		what, who  string
		statements []string
		want       string
	}{
		{"the default", "bob", []string{root}, ""},
		{"another account", "stranger", []string{root}, "AccessDeniedException"},
		{"another account that is let in", "stranger", []string{root, strings.Replace(root, "111122223333", "999999999999", 1)}, ""},
		{"a Deny", "bob", []string{root, deny(`"kms:Decrypt"`, all, none)}, "AccessDeniedException"},
		{"a Deny of something else", "bob", []string{root, deny(`"kms:Encrypt"`, all, none)}, ""},
		{"a Deny with a wildcard", "bob", []string{root, deny(`["kms:De*"]`, all, none)}, "AccessDeniedException"},
		{"a Deny for another", "bob", []string{root, deny(`"kms:Decrypt"`, `{"AWS":"arn:aws:iam::111122223333:user/carol"}`, none)}, ""},
		{"a Deny for this one", "bob", []string{root, deny(`"kms:Decrypt"`, `{"AWS":["arn:aws:iam::111122223333:user/bob"]}`, none)}, "AccessDeniedException"},
		{"a Deny for a role", "session", []string{root, deny(`"kms:Decrypt"`, `{"AWS":"arn:aws:iam::111122223333:role/Job"}`, none)}, "AccessDeniedException"},
		{"a Deny for a context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"IT"}}`)}, "AccessDeniedException"},
		{"its name has no case", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:department":"IT"}}`)}, "AccessDeniedException"},
		{"its value has", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"it"}}`)}, ""},
		{"both of two conditions", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":"IT","kms:EncryptionContext:Purpose":"Other"}}`)}, ""},
		{"one of two values", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:EncryptionContext:Department":["HR","IT"]}}`)}, "AccessDeniedException"},
		{"all but a context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:EncryptionContext:Department":"IT"}}`)}, ""},
		{"all but another context", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:EncryptionContext:Project":"x"}}`)}, "AccessDeniedException"},
		{"a pattern", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringLike":{"kms:EncryptionContext:Purpose":"T*"}}`)}, "AccessDeniedException"},
		{"not by way of S3", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}`)}, "AccessDeniedException"},
		{"by way of S3 only", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}`)}, ""},
		{"by its account", "bob", []string{root, deny(`"kms:Decrypt"`, all, `{"StringNotEquals":{"kms:CallerAccount":"999999999999"}}`)}, "AccessDeniedException"},
		{"an Allow for others only", "bob", []string{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/admin"},"Action":"kms:*","Resource":"*"}`}, "AccessDeniedException"},
	} {
		f.must(put(c.statements...))
		f.want(c.what, c.want, f.decrypt(f.srv.Client(region, c.who, once), f.key, blob, ec))
	}
	f.must(put(root))
	f.srv.SetIAM("arn:aws:iam::111122223333:user/bob", "kms:Encrypt")
	f.want("an identity policy without it", "AccessDeniedException", f.decrypt(f.srv.Client(region, "bob", once), f.key, blob, ec))
	f.srv.SetIAM("arn:aws:iam::111122223333:user/bob", "kms:De*")
	f.want("an identity policy with it", "", f.decrypt(f.srv.Client(region, "bob", once), f.key, blob, ec))
	_, err := f.srv.Client(region, "stranger", once).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &f.key})
	f.want("DisableKey across accounts", "AccessDeniedException", err)

	f.want("a policy that locks its author out", "MalformedPolicyDocumentException", put(deny(`"kms:Decrypt"`, all, none)))
	f.want("an operator unknown here", "MalformedPolicyDocumentException", put(root, deny(`"kms:*"`, all, `{"IpAddress":{"aws:SourceIp":"1.2.3.4"}}`)))
	f.want("a condition key unknown here", "MalformedPolicyDocumentException", put(root, deny(`"kms:*"`, all, `{"StringEquals":{"aws:SourceVpc":"y"}}`)))
	f.want("an element unknown here", "MalformedPolicyDocumentException", put(strings.Replace(root, `"Action"`, `"NotAction"`, 1)))
	f.want("no statement", "MalformedPolicyDocumentException", put())
	f.want("32 KB", "LimitExceededException", put(root, deny(`"`+strings.Repeat("x", 32<<10)+`"`, all, none)))
	p, err := f.client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &f.key})
	f.must(err)
	if *p.Policy != `{"Version":"2012-10-17","Statement":[`+root+`]}` {
		t.Errorf("the policy became %s", *p.Policy)
	}
}

func TestGrants(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	const grantee, retirer = "arn:aws:iam::111122223333:user/grantee", "arn:aws:iam::111122223333:user/retirer"
	f.srv.SetIAM(grantee)
	f.srv.SetIAM(retirer)
	as := func(who string) *kms.Client { return f.srv.Client(region, who, once) }
	open := func(ec map[string]string) error { return f.decrypt(as("grantee"), f.key, blob, ec) }
	grant := func(c *kms.Client, con *types.GrantConstraints, ops ...types.GrantOperation) (*kms.CreateGrantOutput, error) {
		return c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String(grantee), RetiringPrincipal: aws.String(retirer), Operations: ops, Constraints: con})
	}
	equals := func(ec map[string]string) *types.GrantConstraints {
		return &types.GrantConstraints{EncryptionContextEquals: ec}
	}
	f.want("without a grant", "AccessDeniedException", open(ec))
	subset := &types.GrantConstraints{EncryptionContextSubset: map[string]string{"Department": "IT"}}
	for _, c := range []struct {
		what string
		con  *types.GrantConstraints
		op   types.GrantOperation
		want string
	}{
		{"no constraint", nil, "Decrypt", ""},
		{"another operation", nil, "Encrypt", "AccessDeniedException"},
		{"the context", equals(ec), "Decrypt", ""},
		{"less than the context", equals(map[string]string{"Department": "IT"}), "Decrypt", "AccessDeniedException"},
		{"a part of the context", subset, "Decrypt", ""},
		{"a part, in another case", &types.GrantConstraints{EncryptionContextSubset: map[string]string{"department": "IT"}}, "Decrypt", "AccessDeniedException"},
	} {
		g, err := grant(f.client, c.con, c.op)
		f.must(err)
		f.want(c.what, c.want, open(ec))
		_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: g.GrantId})
		f.must(err)
		f.want(c.what+", revoked", "AccessDeniedException", open(ec))
	}
	_, err := grant(f.client, nil, "Sign")
	f.want("an operation of other keys", "ValidationException", err)
	many := map[string]string{}
	for i := range 9 {
		many[fmt.Sprint(i)] = "x"
	}
	_, err = grant(f.client, equals(many), "Decrypt")
	f.want("nine pairs", "ValidationException", err)
	_, err = grant(f.client, equals(map[string]string{"a": strings.Repeat("x", 385)}), "Decrypt")
	f.want("385 characters", "ValidationException", err)
	_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: aws.String(strings.Repeat("0", 64))})
	f.want("no such grant", "NotFoundException", err)
	_, err = f.client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &f.key, GrantId: aws.String("x")})
	f.want("no grant ID", "InvalidGrantIdException", err)
	_, err = f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec, GrantTokens: []string{"x"}})
	f.want("no grant token", "InvalidGrantTokenException", err)

	// Retiring: the retiring principal, and the grantee where the grant says so.
	g, err := grant(f.client, nil, "Decrypt")
	f.must(err)
	_, err = as("grantee").RetireGrant(ctx, &kms.RetireGrantInput{KeyId: &f.key, GrantId: g.GrantId})
	f.want("retired by the grantee", "AccessDeniedException", err)
	_, err = as("retirer").RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: g.GrantToken})
	f.want("retired by its token", "", err)
	f.want("after that", "AccessDeniedException", open(ec))
	g, err = grant(f.client, nil, "Decrypt", "RetireGrant")
	f.must(err)
	_, err = as("grantee").RetireGrant(ctx, &kms.RetireGrantInput{KeyId: &f.key, GrantId: g.GrantId})
	f.want("retired by a grantee who may", "", err)

	// A name makes a retry of a retry.
	named := func() string {
		g, err := f.client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String(grantee), Name: aws.String("n"), Operations: []types.GrantOperation{"Encrypt"}})
		f.must(err)
		return *g.GrantId
	}
	if a, b := named(), named(); a != b {
		t.Error("the same grant with the same name was made twice")
	}
	list, err := f.client.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &f.key})
	f.must(err)
	if len(list.Grants) != 1 || *list.Grants[0].GranteePrincipal != grantee || *list.Grants[0].KeyId != f.key {
		t.Errorf("the grants are %+v", list.Grants)
	}

	// Who may make grants by a grant gives no more than that.
	_, err = grant(f.client, subset, "Decrypt", "CreateGrant")
	f.must(err)
	_, err = grant(as("grantee"), nil, "Decrypt")
	f.want("a looser grant", "AccessDeniedException", err)
	_, err = grant(as("grantee"), subset, "Encrypt")
	f.want("another operation", "AccessDeniedException", err)
	_, err = grant(as("grantee"), &types.GrantConstraints{EncryptionContextSubset: ec}, "Decrypt")
	f.want("a stricter grant", "", err)
}

func TestDryRun(t *testing.T) {
	f := setup(t)
	blob := f.encrypt(f.client, f.key)
	dry := aws.Bool(true)
	f.srv.SetIAM("arn:aws:iam::111122223333:user/nobody")
	for who, want := range map[string]string{"admin": "DryRunOperationException", "nobody": "AccessDeniedException"} {
		c := f.srv.Client(region, who, once)
		_, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &f.key, KeySpec: "AES_256", DryRun: dry})
		f.want(who+", GenerateDataKey", want, err)
		_, err = c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &f.key, KeySpec: "AES_256", DryRun: dry})
		f.want(who+", GenerateDataKeyWithoutPlaintext", want, err)
		_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &f.key, Plaintext: []byte("x"), DryRun: dry})
		f.want(who+", Encrypt", want, err)
		_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec, DryRun: dry})
		f.want(who+", Decrypt", want, err)
		_, err = c.Decrypt(ctx, &kms.DecryptInput{KeyId: &f.key, DryRun: dry, DryRunModifiers: []types.DryRunModifierType{"IGNORE_CIPHERTEXT"}})
		f.want(who+", Decrypt without a ciphertext", want, err)
		_, err = c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: ec, DestinationKeyId: &f.key, DryRun: dry})
		f.want(who+", ReEncrypt", want, err)
		_, err = c.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &f.key, GranteePrincipal: aws.String("arn:aws:iam::111122223333:user/g"), Operations: []types.GrantOperation{"Decrypt"}, DryRun: dry})
		f.want(who+", CreateGrant", want, err)
	}
	_, err := f.client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, DryRun: dry})
	f.want("with another context", "InvalidCiphertextException", err)
	if g, err := f.client.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &f.key}); err != nil || len(g.Grants) != 0 {
		t.Errorf("a dry run made a grant: %v", err)
	}
}
