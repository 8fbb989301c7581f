// Package awskms wraps vaultpack's data keys with AWS KMS keys: a [Key] is an
// [envelope.KeyWrapper] and an [envelope.DataKeyGenerator].
//
//	client := awskms.NewClient(cfg)
//	key, err := awskms.New(ctx, client, "arn:aws:kms:eu-west-1:111122223333:key/…")
//	ring, dataKey, err := envelope.NewKeyring(ctx, ec, key)
//
// # What is called
//
//   - Only the key that [New] was given is ever called. An ARN found in a keyring
//     is compared with it and goes nowhere: Unwrap returns [envelope.ErrNoSlot] for
//     another one and makes no call. A client without this could be led to a key of
//     a stranger, who would see the call and could answer it.
//   - A key ARN is taken as it is, so that a reader needs kms:Decrypt and nothing
//     else. An alias or a bare key ID is resolved by one DescribeKey in New, and the
//     ARN that it stands for then is what slots record: whoever moves the alias
//     later moves no data key.
//   - KeyId is in every request, and the KeyId of every answer must be that ARN.
//   - Every call carries the encryption context, which must not be empty.
//   - Each call is made in the key's Region, whatever the client's is.
//
// Related multi-Region keys have one key ID and the same material. A slot of one
// is opened by another only with [AcceptRelated], and then with a call to the key
// that was configured, never to the one that the slot names.
//
// # Permissions
//
//	method           permission                                   on
//	New              kms:DescribeKey; none for a key ARN          the key
//	GenerateDataKey  kms:GenerateDataKey                          the key
//	Wrap             kms:Encrypt                                  the key
//	Unwrap           kms:Decrypt                                  the key
//	Rewrap           kms:ReEncryptFrom, kms:ReEncryptTo           the old key, the new key
//
// A key in another account needs them in its key policy and in the caller's own
// identity policy.
//
// # Plaintext
//
// Buffers of this package that have held a data key are overwritten. Those of the
// SDK, of encoding and of TLS are not within its reach. Logging of bodies
// (aws.LogRequestWithBody, aws.LogResponseWithBody) is turned off for its calls,
// since both hold data keys.
package awskms
