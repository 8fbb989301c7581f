package trainer_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/vault"
)

// A job in another Region opens with the replica of a key what the key has wrapped, if
// that is configured, and the container is told so.
func TestReplicaKeyInAJob(t *testing.T) {
	w := newWorld(t)
	client := w.kms.Client("eu-west-1", "admin")
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	primary := *made.KeyMetadata.Arn
	if _, err := client.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: &primary, ReplicaRegion: aws.String("us-east-1")}); err != nil {
		t.Fatal(err)
	}
	replica := strings.Replace(primary, ":eu-west-1:", ":us-east-1:", 1)
	use := func(arn string, opts ...awskms.Option) *awskms.Key {
		key, err := awskms.New(t.Context(), w.kms.Client("us-east-1", "admin"), arn, opts...)
		if err != nil {
			t.Fatal(err)
		}
		w.vault.Keys = &vault.Keys{Open: []envelope.KeyWrapper{key}, Wrap: []envelope.KeyWrapper{key}}
		return key
	}
	use(primary)
	w.upload("digits", 2, 100)
	if b, err := w.plan(w.job(nil)).JSON(); err != nil || strings.Contains(string(b), "--kms-related") || !strings.Contains(string(b), primary) {
		t.Errorf("the key itself: %v, %s", err, b)
	}
	use(replica, awskms.AcceptRelated())
	if b, err := w.plan(w.job(nil)).JSON(); err != nil || !strings.Contains(string(b), "--kms-related") || !strings.Contains(string(b), replica) || strings.Contains(string(b), primary) {
		t.Errorf("its replica: %v, %s", err, b)
	}
	use(replica)
	if _, err := w.launcher.Plan(t.Context(), w.job(nil)); err == nil {
		t.Error("a replica is used though that is not configured")
	}
}
