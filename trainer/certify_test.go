package trainer_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/trainer"
)

// Who may train and not sign is told so before a job is created, and how to go on.
func TestCertifyingIsNotAllowed(t *testing.T) {
	w := newWorld(t)
	client := w.kms.Client("eu-west-1", "admin")
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify})
	if err != nil {
		t.Fatal(err)
	}
	if w.vault.Signer, err = awskms.NewSigner(t.Context(), client, *made.KeyMetadata.Arn); err != nil {
		t.Fatal(err)
	}
	w.upload("digits", 8, 3000)
	w.kms.SetIAM("arn:aws:iam::111122223333:user/admin", "kms:Decrypt", "kms:GenerateDataKey", "kms:GetPublicKey")
	_, err = w.launcher.Launch(t.Context(), w.plan(w.job(nil)))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "kms:Sign") || !strings.Contains(err.Error(), "train --no-provenance") {
		t.Errorf("got %v", err)
	}
	if len(w.bodies) > 0 {
		t.Error("a job was created")
	}
	without := w.job(func(j *trainer.Job) { j.NoProvenance = true })
	if _, err := w.launcher.Launch(t.Context(), w.plan(without)); err != nil {
		t.Error(err)
	}
}
