package provision_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/provision"
)

// A grant that lets somebody use the key beside its policy is warned of with each plan, and
// stays; one that lets nobody use it is not, and where grants may not be looked at, that is said.
func TestGrants(t *testing.T) {
	s := awstest.New("eu-central-1")
	target := provision.Target{Bucket: "data", Prefix: "ml/"}
	p := in(t, s, target)
	mustRun(t, p)
	key, signing := p.Outputs().KMSKeyARN, p.Outputs().SigningKey
	client := s.KMS.Client(s.Region, "admin")
	granted := func(key, to string, ops ...types.GrantOperation) {
		if _, err := client.CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: aws.String(s.IAM(to)), Operations: ops}); err != nil {
			t.Fatal(err)
		}
	}
	// with makes grants of a key, which its policy lets nobody do.
	with := func(key string, make func()) {
		policy, err := client.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &key})
		if err != nil {
			t.Fatal(err)
		}
		open := `{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Principal":{"AWS":"` + s.IAM("root") + `"},"Action":"kms:*","Resource":"*"}]}`
		for i, text := range []*string{&open, policy.Policy} {
			if _, err := client.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: text}); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				make()
			}
		}
	}
	with(key, func() {
		granted(key, "user/harmless", types.GrantOperationDescribeKey, types.GrantOperationRetireGrant)
		granted(key, "user/reads", types.GrantOperationDecrypt, types.GrantOperationDescribeKey)
		granted(key, "role/grants", types.GrantOperationCreateGrant, types.GrantOperationGenerateDataKey)
	})
	with(signing, func() {
		granted(signing, "user/checks", types.GrantOperationVerify, types.GrantOperationGetPublicKey)
		granted(signing, "user/forges", types.GrantOperationSign)
	})
	pl, err := in(t, s, target).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(pl.Warnings, "\n")
	if len(pl.Steps) != 0 || len(pl.Warnings) != 3 || !strings.Contains(all, s.IAM("user/forges")+" use it, whatever its policy says (Sign)") || !strings.Contains(all, s.IAM("user/reads")+" use it, whatever its policy says (Decrypt)") ||
		!strings.Contains(all, "revoke-grant --key-id "+key+" --grant-id ") || !strings.Contains(all, "CreateGrant, GenerateDataKey") {
		t.Errorf("%d steps, and the warnings:\n%s", len(pl.Steps), all)
	}
	if grants, err := client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: &key}); err != nil || len(grants.Grants) != 3 {
		t.Errorf("%d grants are left, %v", len(grants.Grants), err)
	}
	s.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "ListGrants" {
			return awstest.Fate{Status: 400, Code: "AccessDeniedException", Message: "not authorized to perform: kms:ListGrants"}
		}
		return awstest.Fate{}
	}
	pl, err = in(t, s, target).Plan(t.Context())
	if err != nil || len(pl.Warnings) != 0 || !strings.Contains(strings.Join(pl.Notes, "\n"), "grants let someone use it besides its policy could not be looked at") {
		t.Errorf("%v, %+v", err, pl)
	}
}
