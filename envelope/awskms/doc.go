// Package awskms wraps vaultpack's data keys with AWS KMS keys: a [Key] is an
// [envelope.KeyWrapper] and an [envelope.DataKeyGenerator].
//
//	client := awskms.NewClient(cfg)
//	key, err := awskms.New(ctx, client, "arn:aws:kms:eu-west-1:111122223333:key/…")
//	ring, dataKey, err := envelope.NewKeyring(ctx, ec, key)
//
// # What is called
//
//   - Only the key that was passed to [New] is ever called. An ARN found in a keyring
//     is only compared with it: for another ARN, Unwrap returns [envelope.ErrNoSlot]
//     and makes no call. Otherwise a client could be led to call a stranger's key, and
//     the stranger would see the call and could answer it.
//   - A key ARN is used as it is, so that a reader needs only kms:Decrypt. [New]
//     resolves an alias or a bare key ID by one DescribeKey, and slots record the
//     resulting ARN: moving the alias later moves no data key.
//   - Every request has a KeyId, and the KeyId of every response must be that ARN.
//   - Every call carries the encryption context, which must not be empty.
//   - Each call is made in the key's Region, whatever the client's Region is.
//
// Related multi-Region keys have the same key ID and the same key material. A key
// opens a slot of a related key only with [AcceptRelated], and then by a call to
// the configured key, never to the key that the slot names.
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
// This package overwrites its buffers that have held a data key. It cannot
// overwrite those of the SDK, of encoders and of TLS. It turns off logging of
// bodies (aws.LogRequestWithBody, aws.LogResponseWithBody) for its calls, since
// bodies hold data keys.
package awskms
