package envelope_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"

	"github.com/vaultpack/vaultpack/envelope"
)

func ExampleSeal() {
	ctx := context.Background()
	key := envelope.GenerateLocalKey() // kept in a file with key.EncodeSecret
	binding := envelope.EncryptionContext{"project": "scans"}

	var sealed bytes.Buffer
	w, err := envelope.Seal(ctx, &sealed, binding, key)
	if err != nil {
		log.Fatal(err)
	}
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
	word := make([]byte, 5)
	if _, err := r.ReadAt(word, 6); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q of %d bytes\n", word, r.Size())
	// Output: "words" of 38 bytes
}
