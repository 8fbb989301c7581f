package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"slices"
)

const (
	symmetric      = "SYMMETRIC_DEFAULT"
	encryptDecrypt = "ENCRYPT_DECRYPT"
)

// cryptographic resolves the key of a cryptographic operation, and checks who may
// use it, what it is for, and its state, in this order.
func (r *request) cryptographic(id, action string, ec map[string]string, tokens []string) (*key, error) {
	k, err := r.find(id, true)
	if err != nil {
		return nil, err
	}
	return k, r.mayUse(k, action, ec, tokens)
}

func (r *request) mayUse(k *key, action string, ec map[string]string, tokens []string) error {
	if err := r.checkTokens(tokens); err != nil {
		return err
	}
	if err := r.authorize(action, k, ec); err != nil {
		return err
	}
	if k.Spec != symmetric || k.Usage != encryptDecrypt {
		return fail("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.ARN, k.Usage, r.op)
	}
	return k.usable()
}

func algorithm(name string) error {
	if name != "" && name != symmetric {
		return fail("InvalidKeyUsageException", "the algorithm %s is not that of the key", name)
	}
	return nil
}

func dryRun(on bool) error {
	if on {
		return fail("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	}
	return nil
}

// A ciphertext blob names the key and its material; all of it except the ciphertext
// is additional data, together with the encryption context:
//
//	magic, length of the key ID, key ID, ID of the material, nonce, ciphertext
const magic = "kmstest\x01"

const materialID = 64 // hex digits

func aead(v version) cipher.AEAD {
	block, err := aes.NewCipher(v.Secret)
	if err != nil {
		panic(err) // the length is fixed
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

func additional(header []byte, ec map[string]string) []byte {
	b := slices.Clone(header)
	for _, name := range sorted(ec) {
		for _, s := range []string{name, ec[name]} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// seal encrypts under the key's newest material.
func (r *request) seal(k *key, ec map[string]string, plaintext []byte) (blob []byte, material string) {
	vs := r.st.Materials[k.ID].Versions
	v := vs[len(vs)-1]
	header := append([]byte(magic), byte(len(k.ID)))
	header = append(append(header, k.ID...), v.ID...)
	return aead(v).Seal(slices.Clone(header), nil, plaintext, additional(header, ec)), v.ID
}

// source finds the key of a ciphertext: the one named in the request, which must be
// the ciphertext's or related to it, or the one that the ciphertext names.
func (r *request) source(id string, blob []byte) (*key, error) {
	keyID, _, _, ok := parse(blob)
	if id != "" {
		k, err := r.find(id, true)
		if err == nil && ok && k.ID != keyID {
			err = fail("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
		return k, err
	}
	if !ok {
		return nil, fail("InvalidCiphertextException", "")
	}
	for _, k := range r.related(keyID) {
		if k.region() == r.region {
			return k, nil
		}
	}
	return nil, fail("AccessDeniedException", "User: %s is not authorized to perform: kms:%s on the resource associated with this ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access", r.principal, r.op)
}

func parse(blob []byte) (keyID, material string, header []byte, ok bool) {
	n := len(magic)
	if len(blob) <= n || string(blob[:n]) != magic || len(blob) < n+1+int(blob[n])+materialID {
		return "", "", nil, false
	}
	id := blob[n+1:][:blob[n]]
	end := n + 1 + len(id) + materialID
	return string(id), string(blob[n+1+len(id) : end]), blob[:end], true
}

// open decrypts with the version of the key's material that the ciphertext names.
func (r *request) open(k *key, ec map[string]string, blob []byte) (plaintext []byte, material string, err error) {
	_, material, header, _ := parse(blob)
	for _, v := range r.st.Materials[k.ID].Versions {
		if v.ID == material {
			if plaintext, err = aead(v).Open(nil, nil, blob[len(header):], additional(header, ec)); err == nil {
				return plaintext, material, nil
			}
		}
	}
	return nil, "", fail("InvalidCiphertextException", "")
}

type dataKeyIn struct {
	KeyId, KeySpec    string
	NumberOfBytes     *int
	EncryptionContext map[string]string
	GrantTokens       []string
	DryRun            bool
}

func (r *request) generateDataKey(in *dataKeyIn) (any, error) { return r.dataKey(in, true) }

func (r *request) generateDataKeyWithoutPlaintext(in *dataKeyIn) (any, error) {
	return r.dataKey(in, false)
}

func (r *request) dataKey(in *dataKeyIn, tell bool) (any, error) {
	size := map[string]int{"AES_256": 32, "AES_128": 16}[in.KeySpec]
	switch {
	case (in.KeySpec == "") == (in.NumberOfBytes == nil):
		return nil, invalid("Please specify either number of bytes or key spec.")
	case in.NumberOfBytes != nil:
		if size = *in.NumberOfBytes; size < 1 || size > 1024 {
			return nil, invalid("Value '%d' at 'numberOfBytes' failed to satisfy constraint: Member must have value between 1 and 1024", size)
		}
	case size == 0:
		return nil, invalid("Value '%s' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]", in.KeySpec)
	}
	k, err := r.cryptographic(in.KeyId, "kms:"+r.op, in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	plaintext := make([]byte, size)
	rand.Read(plaintext)
	blob, material := r.seal(k, in.EncryptionContext, plaintext)
	out := map[string]any{"KeyId": k.ARN, "CiphertextBlob": blob, "KeyMaterialId": material}
	if tell {
		out["Plaintext"] = plaintext
	}
	return out, nil
}

func (r *request) encrypt(in *struct {
	KeyId, EncryptionAlgorithm string
	Plaintext                  []byte
	EncryptionContext          map[string]string
	GrantTokens                []string
	DryRun                     bool
}) (any, error) {
	if n := len(in.Plaintext); n < 1 || n > 4096 {
		return nil, invalid("Value at 'plaintext' failed to satisfy constraint: Member must have length between 1 and 4096")
	}
	k, err := r.cryptographic(in.KeyId, "kms:Encrypt", in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	blob, _ := r.seal(k, in.EncryptionContext, in.Plaintext)
	return map[string]any{"KeyId": k.ARN, "CiphertextBlob": blob, "EncryptionAlgorithm": symmetric}, nil
}

// ignoring reports whether a dry run ignores the ciphertext.
func ignoring(dry bool, modifiers []string, id string) (bool, error) {
	switch {
	case len(modifiers) == 0:
		return false, nil
	case !dry || !slices.Equal(modifiers, []string{"IGNORE_CIPHERTEXT"}):
		return false, invalid("DryRunModifiers go with DryRun, and IGNORE_CIPHERTEXT is the only one")
	case id == "":
		return false, invalid("the key ID is required with IGNORE_CIPHERTEXT")
	}
	return true, nil
}

func checkBlob(blob []byte) error {
	if n := len(blob); n < 1 || n > 6144 {
		return invalid("Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length between 1 and 6144")
	}
	return nil
}

func (r *request) decrypt(in *struct {
	KeyId, EncryptionAlgorithm   string
	CiphertextBlob               []byte
	EncryptionContext            map[string]string
	GrantTokens, DryRunModifiers []string
	DryRun                       bool
}) (any, error) {
	ignore, err := ignoring(in.DryRun, in.DryRunModifiers, in.KeyId)
	if err != nil {
		return nil, err
	}
	var k *key
	if ignore {
		k, err = r.find(in.KeyId, true)
	} else if err = checkBlob(in.CiphertextBlob); err == nil {
		k, err = r.source(in.KeyId, in.CiphertextBlob)
	}
	if err != nil {
		return nil, err
	}
	if err := r.mayUse(k, "kms:Decrypt", in.EncryptionContext, in.GrantTokens); err != nil {
		return nil, err
	}
	if err := algorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if ignore {
		return nil, dryRun(true)
	}
	plaintext, material, err := r.open(k, in.EncryptionContext, in.CiphertextBlob)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return map[string]any{"KeyId": k.ARN, "Plaintext": plaintext, "EncryptionAlgorithm": symmetric, "KeyMaterialId": material}, nil
}

func (r *request) reEncrypt(in *struct {
	SourceKeyId, DestinationKeyId                             string
	SourceEncryptionAlgorithm, DestinationEncryptionAlgorithm string
	CiphertextBlob                                            []byte
	SourceEncryptionContext, DestinationEncryptionContext     map[string]string
	GrantTokens, DryRunModifiers                              []string
	DryRun                                                    bool
}) (any, error) {
	ignore, err := ignoring(in.DryRun, in.DryRunModifiers, in.SourceKeyId)
	if err != nil {
		return nil, err
	}
	var from *key
	if ignore {
		from, err = r.find(in.SourceKeyId, true)
	} else if err = checkBlob(in.CiphertextBlob); err == nil {
		from, err = r.source(in.SourceKeyId, in.CiphertextBlob)
	}
	if err != nil {
		return nil, err
	}
	if err := r.mayUse(from, "kms:ReEncryptFrom", in.SourceEncryptionContext, in.GrantTokens); err != nil {
		return nil, err
	}
	to, err := r.cryptographic(in.DestinationKeyId, "kms:ReEncryptTo", in.DestinationEncryptionContext, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	for _, a := range []string{in.SourceEncryptionAlgorithm, in.DestinationEncryptionAlgorithm} {
		if err := algorithm(a); err != nil {
			return nil, err
		}
	}
	if ignore {
		return nil, dryRun(true)
	}
	plaintext, was, err := r.open(from, in.SourceEncryptionContext, in.CiphertextBlob)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	blob, is := r.seal(to, in.DestinationEncryptionContext, plaintext)
	return map[string]any{"KeyId": to.ARN, "SourceKeyId": from.ARN, "CiphertextBlob": blob,
		"SourceEncryptionAlgorithm": symmetric, "DestinationEncryptionAlgorithm": symmetric,
		"SourceKeyMaterialId": was, "DestinationKeyMaterialId": is}, nil
}
