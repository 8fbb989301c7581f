package provision

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// harmless lists the operations that a grant can allow without letting anybody use the key.
var harmless = []types.GrantOperation{types.GrantOperationDescribeKey, types.GrantOperationRetireGrant, types.GrantOperationGetPublicKey, types.GrantOperationVerify}

// lookAtGrants warns about grants that let somebody use the key in addition to its
// policy. They are not vaultpack's, and vaultpack never revokes them: whoever made one
// may rely on it. Grants for AWS services are listed as notes: SageMaker makes one for
// the volumes of each job.
func (p *Provisioner) lookAtGrants(ctx context.Context, k *managedKey) error {
	services := map[string]bool{}
	pages := kms.NewListGrantsPaginator(p.kms, &kms.ListGrantsInput{KeyId: &k.arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil && ctx.Err() == nil {
			p.notef("%s: whether grants let someone use it besides its policy could not be looked at: %v", k.resource(), Explain(err, "kms:ListGrants", k.resource()))
			return nil
		}
		if err != nil {
			return err
		}
		for _, g := range page.Grants {
			grantee := aws.ToString(g.GranteePrincipal)
			if s, ok := strings.CutSuffix(grantee, ".amazonaws.com"); ok && !strings.Contains(grantee, ":") {
				services[s] = true
				continue
			}
			var uses []string
			for _, op := range g.Operations {
				if !slices.Contains(harmless, op) {
					uses = append(uses, string(op))
				}
			}
			if len(uses) > 0 {
				p.warnf("%s: a grant lets %s use it, whatever its policy says (%s); it is not vaultpack's and stays. If nobody needs it: aws kms revoke-grant --key-id %s --grant-id %s",
					k.resource(), grantee, strings.Join(uses, ", "), k.arn, aws.ToString(g.GrantId))
			}
		}
	}
	for _, s := range slices.Sorted(maps.Keys(services)) {
		p.notef("%s: grants let the AWS service %s use it, as for the volumes of training jobs", k.resource(), s)
	}
	return nil
}
