package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/vault"
)

// signsInKMS reports whether versions are signed with a key in AWS KMS.
func signsInKMS(c *config.Config) bool {
	return !c.DefaultSigning && strings.HasPrefix(c.Signing.Value, "arn:")
}

// signingKey checks for the key that versions are signed with, and asks KMS whether this
// caller may sign with it. Reading needs no signing key.
func (d *doctor) signingKey(ctx context.Context) Finding {
	c := d.Config
	if signsInKMS(c) {
		return d.signingKeyInKMS(ctx, c.Signing.Value)
	}
	key, err := config.SigningKey(ctx, c, d.keys)
	switch {
	case errors.Is(err, vault.ErrNoSigner) && c.Signing.Value == "":
		return warning("vaultpack keys new signing FILE, and signing_key: FILE in "+config.FileName, "there is none: versions can be read from here, and not made")
	case errors.Is(err, vault.ErrNoSigner):
		return ok("there is none yet; the first upload makes one in %s", c.Signing.Value)
	case err != nil:
		return failed("correct signing_key in "+settingsFile(c)+", or restore the file from a backup; vaultpack config shows where it is set", "%v", err)
	}
	return ok("versions are signed with %s", key.Public().ID())
}

func (d *doctor) signingKeyInKMS(ctx context.Context, name string) Finding {
	key, err := awskms.NewSigner(ctx, d.kms, name)
	if err != nil {
		return d.noSigning(err, "kms:GetPublicKey", name)
	}
	arn := key.ARN()
	_, err = d.kms.Sign(ctx, &kms.SignInput{KeyId: &arn, Message: make([]byte, 32), MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256, DryRun: aws.Bool(true)}, inRegion(arn))
	if err != nil && awserr.Code(err) != "DryRunOperationException" {
		return d.noSigning(err, "kms:Sign", arn)
	}
	return ok("versions are signed with %s, in KMS", key.Public().ID())
}

// noSigning returns the finding if KMS does not let this caller sign.
func (d *doctor) noSigning(err error, action, key string) Finding {
	var denied *provision.DeniedError
	switch {
	case isIdentity(err):
		return unknownCaller(err)
	case !errors.As(provision.Explain(err, action, key), &denied):
		return failed("correct signing_key in "+settingsFile(d.Config)+": the ARN of a key of the spec ECC_NIST_P256 for SIGN_VERIFY", "%s: %s", action, said(err))
	}
	f := lacking([]string{denied.Action}, "not allowed; needed by uploads, and by nothing that reads (%s)", said(err))
	f.Fix = "allow " + denied.Action + " in the policy of the key that signs, and in the caller's where the key's leaves it to the account (see: vaultpack policy --for uploader --part signing-key)"
	return f
}
