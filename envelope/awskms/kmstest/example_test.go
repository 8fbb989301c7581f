package kmstest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

// A test of one's own code: make a key, let the code under test use a client of
// the server, break something, and look at what was called.
func Example() {
	ctx := context.Background()
	srv := kmstest.NewServer()
	client := srv.Client("eu-west-1", "alice")
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		log.Fatal(err)
	}
	key := made.KeyMetadata.Arn

	// Here would be the code under test.
	codeUnderTest := func() error {
		_, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("secret"),
			EncryptionContext: map[string]string{"table": "people"}})
		return err
	}

	srv.Fail("Encrypt", 1, kmstest.Fault{Code: "KMSInternalException"}) // the SDK tries again
	fmt.Println(codeUnderTest(), srv.Unmet())
	for _, call := range srv.Calls("Encrypt") {
		fmt.Printf("%s %v %q\n", call.Operation, call.EncryptionContext, call.Error)
	}

	if _, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(*key)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(codeUnderTest() != nil)
	// Output:
	// <nil> 0
	// Encrypt map[table:people] "KMSInternalException"
	// Encrypt map[table:people] ""
	// true
}
