package peers

import (
	"bytes"
	"context"
	"io"
	"testing"

	"filippo.io/age"
	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	esdk "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
	"github.com/minio/sio"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"github.com/vaultpack/vaultpack/envelope"
)

// A peer seals all of plain into dst, and opens all of sealed into dst. Those
// without streams return slices; they are handed to dst without a copy.
type peer struct {
	name string
	seal func(dst io.Writer, plain []byte) error
	open func(dst io.Writer, sealed []byte) error
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// key is the key of all that take one.
var key = bytes.Repeat([]byte{7}, 32)

var vaultpack = func() peer {
	_, key, err := envelope.NewKeyring(context.Background(), nil, envelope.GenerateLocalKey())
	if err != nil {
		panic(err)
	}
	return peer{"vaultpack",
		func(dst io.Writer, plain []byte) error {
			w, err := envelope.NewWriter(dst, envelope.KindFile, key)
			return copyIn(w, plain, err)
		},
		func(dst io.Writer, sealed []byte) error {
			r, err := envelope.NewReader(bytes.NewReader(sealed), envelope.KindFile, key)
			return copyOut(dst, r, err)
		}}
}()

func peers() []peer {
	identity := must(age.GenerateX25519Identity())
	sioConfig := sio.Config{Key: key, CipherSuites: []byte{sio.AES_256_GCM}}
	tink := must(subtle.NewAESGCMHKDF(key, "SHA256", 32, 1<<20, 0))
	return []peer{
		{"age",
			func(dst io.Writer, plain []byte) error {
				w, err := age.Encrypt(dst, identity.Recipient())
				return copyIn(w, plain, err)
			},
			func(dst io.Writer, sealed []byte) error {
				r, err := age.Decrypt(bytes.NewReader(sealed), identity)
				return copyOut(dst, r, err)
			}},
		{"sio",
			func(dst io.Writer, plain []byte) error {
				w, err := sio.EncryptWriter(dst, sioConfig)
				return copyIn(w, plain, err)
			},
			func(dst io.Writer, sealed []byte) error {
				r, err := sio.DecryptReader(bytes.NewReader(sealed), sioConfig)
				return copyOut(dst, r, err)
			}},
		{"tink",
			func(dst io.Writer, plain []byte) error {
				w, err := tink.NewEncryptingWriter(dst, nil)
				return copyIn(w, plain, err)
			},
			func(dst io.Writer, sealed []byte) error {
				r, err := tink.NewDecryptingReader(bytes.NewReader(sealed), nil)
				return copyOut(dst, r, err)
			}},
		awsESDK(),
	}
}

func awsESDK() peer {
	ctx := context.Background()
	client := must(esdk.NewClient(esdktypes.AwsEncryptionSdkConfig{}))
	keyring := must(must(mpl.NewClient(mpltypes.MaterialProvidersConfig{})).CreateRawAesKeyring(ctx, mpltypes.CreateRawAesKeyringInput{
		KeyNamespace: "bench",
		KeyName:      "bench",
		WrappingKey:  key,
		WrappingAlg:  mpltypes.AesWrappingAlgAlgAes256GcmIv12Tag16,
	}))
	// The default suite adds an ECDSA signature over all of the message, which
	// none of the others has; this is the same suite without it.
	suite := mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey
	return peer{"awsesdk",
		func(dst io.Writer, plain []byte) error {
			out, err := client.Encrypt(ctx, esdktypes.EncryptInput{Plaintext: plain, Keyring: keyring, AlgorithmSuiteId: &suite})
			if err != nil {
				return err
			}
			_, err = dst.Write(out.Ciphertext)
			return err
		},
		func(dst io.Writer, sealed []byte) error {
			out, err := client.Decrypt(ctx, esdktypes.DecryptInput{Ciphertext: sealed, Keyring: keyring})
			if err != nil {
				return err
			}
			_, err = dst.Write(out.Plaintext)
			return err
		}}
}

// copyIn gives the stream all plaintext at once, which suits every one best.
func copyIn(w io.WriteCloser, plain []byte, err error) error {
	if err != nil {
		return err
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	return w.Close()
}

// copyOut uses a large buffer, or WriteTo where there is one.
func copyOut(dst io.Writer, r io.Reader, err error) error {
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(dst, r, copyBuf)
	return err
}

var copyBuf = make([]byte, 1<<20)

func TestPeersRoundTrip(t *testing.T) {
	for _, p := range append(peers(), vaultpack) {
		for _, size := range []int{0, 1, 1 << 20, 3<<20 + 5} {
			plain := plainArena.Bytes(size)
			var sealed, opened bytes.Buffer
			if err := p.seal(&sealed, plain); err != nil {
				t.Errorf("%s, %d bytes: %v", p.name, size, err)
				continue
			}
			if err := p.open(&opened, sealed.Bytes()); err != nil || !bytes.Equal(opened.Bytes(), plain) {
				t.Errorf("%s, %d bytes: not the same bytes after sealing and opening (%v)", p.name, size, err)
			}
		}
	}
}
