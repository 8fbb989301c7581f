package kmstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
)

// Asymmetric keys that sign: of one spec, and with one algorithm.
const (
	p256        = "ECC_NIST_P256"
	signVerify  = "SIGN_VERIFY"
	ecdsaSHA256 = "ECDSA_SHA_256"
	rawMessage  = "RAW"
	digest      = "DIGEST"
)

// newSigningVersion makes material of an asymmetric key, with its DER in place of the secret.
func newSigningVersion() version {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the reader does not fail
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err)
	}
	id := sha256.Sum256(der)
	return version{ID: hex.EncodeToString(id[:]), Secret: der}
}

// signer resolves the key of an operation with an asymmetric key, and checks who may use
// it, what it is for, and its state, in this order.
func (r *request) signer(id string, tokens []string) (*key, *ecdsa.PrivateKey, error) {
	k, err := r.find(id, true)
	if err != nil {
		return nil, nil, err
	}
	if err := r.checkTokens(tokens); err != nil {
		return nil, nil, err
	}
	if err := r.authorize("kms:"+r.op, k, nil); err != nil {
		return nil, nil, err
	}
	if k.Spec == symmetric && r.op == "GetPublicKey" {
		return nil, nil, fail("UnsupportedOperationException", "%s is a symmetric key, which has no public key.", k.ARN)
	}
	if k.Usage != signVerify {
		return nil, nil, fail("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.ARN, k.Usage, r.op)
	}
	if err := k.usable(); err != nil {
		return nil, nil, err
	}
	secret, err := x509.ParseECPrivateKey(r.st.Materials[k.ID].Versions[0].Secret)
	if err != nil {
		return nil, nil, fail("UnsupportedOperationException", "kmstest has no keys of the spec %s that sign", k.Spec)
	}
	return k, secret, nil
}

type signIn struct {
	KeyId, MessageType, SigningAlgorithm string
	Message, Signature                   []byte
	GrantTokens                          []string
	DryRun                               bool
}

// hash returns what is signed for the message.
func (in *signIn) hash() ([]byte, error) {
	switch {
	case len(in.Message) > 4096:
		return nil, invalid("Value at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096")
	case in.SigningAlgorithm != ecdsaSHA256:
		return nil, fail("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", in.SigningAlgorithm, p256)
	case in.MessageType == digest && len(in.Message) != sha256.Size:
		return nil, invalid("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)
	case in.MessageType == digest:
		return in.Message, nil
	case !slices.Contains([]string{"", rawMessage}, in.MessageType):
		return nil, invalid("Value '%s' at 'messageType' failed to satisfy constraint", in.MessageType)
	}
	sum := sha256.Sum256(in.Message)
	return sum[:], nil
}

func (r *request) sign(in *signIn) (any, error) {
	k, secret, err := r.signer(in.KeyId, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	hash, err := in.hash()
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	sig, err := ecdsa.SignASN1(rand.Reader, secret, hash)
	if err != nil {
		return nil, fail("KMSInternalException", "%v", err)
	}
	return map[string]any{"KeyId": k.ARN, "Signature": sig, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

func (r *request) verify(in *signIn) (any, error) {
	k, secret, err := r.signer(in.KeyId, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	hash, err := in.hash()
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(&secret.PublicKey, hash, in.Signature) {
		return nil, fail("KMSInvalidSignatureException", "")
	}
	return map[string]any{"KeyId": k.ARN, "SignatureValid": true, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

func (r *request) getPublicKey(in *struct {
	KeyId       string
	GrantTokens []string
}) (any, error) {
	k, secret, err := r.signer(in.KeyId, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&secret.PublicKey)
	if err != nil {
		return nil, fail("KMSInternalException", "%v", err)
	}
	return map[string]any{"KeyId": k.ARN, "PublicKey": der, "KeySpec": k.Spec, "CustomerMasterKeySpec": k.Spec, "KeyUsage": k.Usage,
		"SigningAlgorithms": []string{ecdsaSHA256}}, nil
}
