// Package kmstest is a fake AWS KMS for tests. It speaks the wire protocol (AWS
// JSON 1.1, X-Amz-Target: TrentService.*), really encrypts, and refuses what KMS
// is documented to refuse: disabled and deleted keys, other contexts, what a key
// policy denies or does not allow.
//
//	srv := kmstest.NewServer()
//	client := srv.Client("eu-west-1", "alice") // in process
//	http.ListenAndServe("127.0.0.1:4599", srv) // or for other processes: AWS_ENDPOINT_URL_KMS
//
// One Server serves every Region: the Region of a request is the one that it was
// signed for. Signatures are not checked, and there are no secret keys; only the access key
// ID identifies the caller, see [Server.SetPrincipal]. Use it only for tests.
//
// README.md lists case by case what is implemented, what the AWS documentation says about it,
// and which test shows it. In short, what it does not do:
//
//   - Asymmetric and HMAC keys exist as metadata only; no imported material, no
//     custom key stores.
//   - IAM is one list of actions for each principal ([Server.SetIAM]), all actions
//     where none is set. Of key policies: Effect, Principal, Action with wildcards,
//     Resource, and conditions with StringEquals, StringNotEquals and StringLike
//     on kms:EncryptionContext:NAME, kms:ViaService and kms:CallerAccount. A
//     policy with anything else is refused rather than half understood.
//   - Nothing is eventually consistent: every change is effective at once, a
//     replica is never in the state Creating, rotation is over when it returns.
//     [Server.SetKeyState] and [Server.Fail] make what is missing here.
//   - kms:ViaService is what the request's header X-Kmstest-Via-Service says.
//   - Requests are not throttled unless [Server.Fail] says so.
package kmstest
