package envelope_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/envelopetest"
)

func Example() {
	ctx := context.Background()
	key := envelope.GenerateLocalKey() // kept in a file with key.EncodeSecret
	binding := envelope.EncryptionContext{"project": "scans"}

	var sealed bytes.Buffer
	w, err := envelope.Seal(ctx, &sealed, binding, key)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Abort() // after Close it does nothing
	if _, err := io.WriteString(w, "patient 17: all well"); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil { // only now is the file complete
		log.Fatal(err)
	}

	r, err := envelope.Open(ctx, &sealed, binding, key)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(r)
	fmt.Println(string(text), err)
	// Output: patient 17: all well <nil>
}

// A file is sealed under a temporary name, so that the final name never holds
// half of one.
func ExampleSeal_file() {
	sealFile := func(ctx context.Context, from, to string, keys ...envelope.KeyWrapper) (err error) {
		src, err := os.Open(from)
		if err != nil {
			return err
		}
		defer src.Close()
		tmp, err := os.CreateTemp(filepath.Dir(to), ".sealing-*")
		if err != nil {
			return err
		}
		defer func() {
			tmp.Close()
			if err != nil {
				os.Remove(tmp.Name())
			}
		}()
		if _, err := envelope.SealFrom(ctx, tmp, src, nil, keys...); err != nil {
			return err
		}
		if err := tmp.Sync(); err != nil {
			return err
		}
		return os.Rename(tmp.Name(), to)
	}

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	plain, sealed := filepath.Join(dir, "scan.dcm"), filepath.Join(dir, "scan.dcm.vpk")
	os.WriteFile(plain, make([]byte, 3_000_000), 0o600)
	key := envelope.GenerateLocalKey()
	fmt.Println("sealed:", sealFile(context.Background(), plain, sealed, key))

	f, err := os.Open(sealed)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	r, err := envelope.Open(context.Background(), f, nil, key)
	if err != nil {
		log.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	fmt.Println("opened:", n, err)
	// Output:
	// sealed: <nil>
	// opened: 3000000 <nil>
}

// A stream goes to S3 as it is sealed, through a pipe. The function upload
// stands for the SDK's uploader, which reads its Body to the end:
//
//	uploader.Upload(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &name, Body: body})
//
// The context ends both halves: the uploader watches it, and closes the pipe.
func ExampleSeal_upload() {
	upload := func(ctx context.Context, body io.Reader) (int64, error) { return io.Copy(io.Discard, body) }

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	source := strings.NewReader(strings.Repeat("a row of a table\n", 100_000))
	key := envelope.GenerateLocalKey()

	body, pipe := io.Pipe()
	go func() {
		// With an error the uploader fails too, and leaves no object.
		pipe.CloseWithError(func() error {
			_, err := envelope.SealFrom(ctx, pipe, source, nil, key)
			return err
		}())
	}()
	stop := context.AfterFunc(ctx, func() { body.CloseWithError(ctx.Err()) })
	defer stop()
	n, err := upload(ctx, body)
	body.CloseWithError(err) // an uploader that gave up leaves nobody waiting
	fmt.Println(n > source.Size(), err)
	// Output: true <nil>
}

// Any range opens by itself. The source can be a file, or range requests behind
// an io.ReaderAt.
func ExampleOpenAt() {
	ctx := context.Background()
	key := envelope.GenerateLocalKey()
	var sealed bytes.Buffer
	w, err := envelope.Seal(ctx, &sealed, nil, key)
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(w, "a few words in the middle of much else")
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := envelope.OpenAt(ctx, bytes.NewReader(sealed.Bytes()), int64(sealed.Len()), nil, key)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	word := make([]byte, 5)
	if _, err := r.ReadAt(word, 6); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q of %d bytes\n", word, r.Size())
	// Output: "words" of 38 bytes
}

// One data key, wrapped for a daily key, a person and a recovery key in a safe:
// each of them opens alone.
func ExampleNewKeyring() {
	ctx := context.Background()
	binding := envelope.EncryptionContext{envelope.ContextDataset: "scans"}
	daily := envelope.GenerateLocalKey()
	person, err := envelope.NewPassphrase([]byte("correct horse battery staple"))
	if err != nil {
		log.Fatal(err)
	}
	inTheSafe, err := envelope.GenerateIdentity()
	if err != nil {
		log.Fatal(err)
	}
	// Only the public half is needed to wrap.
	recovery, err := envelope.ParseRecipient(inTheSafe.Recipient().Encode())
	if err != nil {
		log.Fatal(err)
	}

	ring, key, err := envelope.NewKeyring(ctx, binding, daily, person, recovery)
	if err != nil {
		log.Fatal(err)
	}
	defer key.Wipe() // sealing with NewWriter(dst, envelope.KindFile, key) goes here
	for _, k := range []envelope.KeyWrapper{daily, person, inTheSafe, recovery} {
		opened, err := ring.Unwrap(ctx, binding, k)
		var none *envelope.NoKeyError
		fmt.Println(err == nil && opened.ID() == key.ID(), errors.As(err, &none))
	}
	// Output:
	// true false
	// true false
	// true false
	// false true
}

// vaultService is a key service of one's own: two methods. This one stands for a
// client; the key itself would be in the service.
type vaultService struct {
	name string
	call func(ctx context.Context, op string, data, bound []byte) ([]byte, error)
}

func (s *vaultService) Wrap(ctx context.Context, dataKey []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	wrapped, err := s.call(ctx, "encrypt", dataKey, ec.Canonical())
	return envelope.Slot{Kind: "acme", Key: s.name, Wrapped: wrapped}, err
}

func (s *vaultService) Unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	if slot.Kind != "acme" || slot.Key != s.name {
		return nil, envelope.ErrNoSlot // without a call: it is not for this key
	}
	return s.call(ctx, "decrypt", slot.Wrapped, ec.Canonical())
}

func ExampleKeyWrapper() {
	ctx := context.Background()
	service := &vaultService{name: "keys/training-data", call: fakeService()}
	var sealed bytes.Buffer
	w, err := envelope.Seal(ctx, &sealed, nil, service)
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(w, "hello")
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	r, err := envelope.Open(ctx, &sealed, nil, service)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(r)
	fmt.Println(string(text), r.Header().Keyring.Slots()[0].Key, err)
	// Output: hello keys/training-data <nil>
}

// fakeService is a table of what was wrapped.
func fakeService() func(context.Context, string, []byte, []byte) ([]byte, error) {
	kept := map[string][]byte{}
	return func(_ context.Context, op string, data, bound []byte) ([]byte, error) {
		if op == "encrypt" {
			token := make([]byte, 16)
			rand.Read(token)
			kept[string(token)+string(bound)] = bytes.Clone(data)
			return token, nil
		}
		if dataKey, ok := kept[string(data)+string(bound)]; ok {
			return bytes.Clone(dataKey), nil
		}
		return nil, envelope.ErrAuthentication
	}
}

// Tests of code that uses this package need no key service: envelopetest has one
// that counts its calls and fails on demand.
func ExampleKeyWrapper_test() {
	ctx := context.Background()
	service := envelopetest.NewKeyService("test")
	denied := errors.New("access denied")

	service.Fail(denied)
	_, err := envelope.Seal(ctx, io.Discard, nil, service)
	fmt.Println(errors.Is(err, denied))

	service.Fail(nil)
	_, err = envelope.Seal(ctx, io.Discard, nil, service)
	fmt.Println(err, service.Calls().Generate)
	// Output:
	// true
	// <nil> 1
}
