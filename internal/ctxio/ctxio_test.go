package ctxio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/ctxio"
)

// Nothing is read or written any more once the context has ended.
func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	src, dst := strings.NewReader("beforeafter"), new(bytes.Buffer)
	r, w := ctxio.Reader(ctx, src), ctxio.Writer(ctx, dst)
	if n, err := io.CopyN(w, r, 6); n != 6 || err != nil || dst.String() != "before" {
		t.Fatalf("%d bytes, %q, %v", n, dst, err)
	}
	cancel()
	if n, err := r.Read(make([]byte, 5)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n, err := w.Write([]byte("after")); n != 0 || !errors.Is(err, context.Canceled) || dst.String() != "before" || src.Len() != 5 {
		t.Errorf("wrote %d bytes, %v; %q is there, %d are left", n, err, dst, src.Len())
	}
}
