package awskms_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

func Example() {
	ctx := context.Background()
	// Against AWS: cfg from config.LoadDefaultConfig, client from awskms.NewClient(cfg).
	srv := kmstest.NewServer()
	client := srv.Client("eu-west-1", "alice")
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		log.Fatal(err)
	}

	key, err := awskms.New(ctx, client, *made.KeyMetadata.Arn)
	if err != nil {
		log.Fatal(err)
	}
	binding := envelope.EncryptionContext{"project": "scans"}
	ring, dataKey, err := envelope.NewKeyring(ctx, binding, key) // one GenerateDataKey
	if err != nil {
		log.Fatal(err)
	}
	again, err := ring.Unwrap(ctx, binding, key) // one Decrypt
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.ID() == dataKey.ID(), ring.Slots()[0].Kind)

	_, err = ring.Unwrap(ctx, envelope.EncryptionContext{"project": "other"}, key)
	fmt.Println(err)
	// Output:
	// true aws-kms
	// authentication failed: the data was changed, or the key is wrong
}

// What to do about an error depends on its reason.
func ExampleError() {
	ctx := context.Background()
	srv := kmstest.NewServer()
	client := srv.Client("eu-west-1", "alice")
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		log.Fatal(err)
	}
	key, err := awskms.New(ctx, client, *made.KeyMetadata.Arn)
	if err != nil {
		log.Fatal(err)
	}
	srv.SetIAM("arn:aws:iam::111122223333:user/alice") // nothing is allowed

	_, _, err = envelope.NewKeyring(ctx, nil, key)
	var kmsErr *awskms.Error
	if errors.As(err, &kmsErr) {
		fmt.Println(kmsErr.Op, "is", kmsErr.Reason, errors.Is(err, fs.ErrPermission))
	}
	// Output: GenerateDataKey is not allowed true
}
