package envelope

import (
	"context"
	"io"
)

// Seal starts a sealed file on its own: it makes a data key, wraps it with each
// of the keys, writes the header with the keyring to dst, and returns a Writer
// for the plaintext. The wrapped key is bound to ec, which must be passed to Open
// again; it may be nil. ctx is passed to the keys only. For options, see
// [Writer.Use].
func Seal(ctx context.Context, dst io.Writer, ec EncryptionContext, keys ...KeyWrapper) (*Writer, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if dst == nil {
		return nil, errNilDestination // before a key service is asked
	}
	ring, key, err := NewKeyring(ctx, ec, keys...)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return newWriter(dst, KindFile, key, ring, nil)
}

// SealFrom seals all of src into a file of its own, as [Seal], ReadFrom and Close
// do, and returns the number of bytes read. After an error, or a panic of src or
// dst, dst does not hold a complete file. Cancelling ctx does not stop the reading
// of src: make src end.
func SealFrom(ctx context.Context, dst io.Writer, src io.Reader, ec EncryptionContext, keys ...KeyWrapper) (int64, error) {
	if err := begin(ctx); err != nil {
		return 0, err
	}
	if src == nil {
		return 0, errNilSource
	}
	w, err := Seal(ctx, dst, ec, keys...)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	n, err := w.ReadFrom(src)
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

// Open opens a file that Seal has written, with any one of the keys. ctx is
// passed to the keys only. For options, see [Reader.Use].
func Open(ctx context.Context, src io.Reader, ec EncryptionContext, keys ...KeyWrapper) (*Reader, error) {
	h, key, err := unwrapHeader(ctx, src, ec, keys)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return newReader(src, h, key, nil)
}

// OpenAt opens a file that Seal has written, for reading at any offset. size is
// the size of the sealed file. ctx is passed to the keys only. For options, see
// [ReaderAt.Use].
func OpenAt(ctx context.Context, src io.ReaderAt, size int64, ec EncryptionContext, keys ...KeyWrapper) (*ReaderAt, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if src == nil {
		return nil, errNilSource
	}
	h, key, err := unwrapHeader(ctx, io.NewSectionReader(src, 0, size), ec, keys)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return newReaderAt(src, size, h, key, nil)
}

func unwrapHeader(ctx context.Context, src io.Reader, ec EncryptionContext, keys []KeyWrapper) (Header, *DataKey, error) {
	if err := begin(ctx); err != nil {
		return Header{}, nil, err
	}
	if err := checkKeys(keys); err != nil {
		return Header{}, nil, err
	}
	h, err := ReadHeader(src)
	if err != nil {
		return h, nil, err
	}
	if h.Kind != KindFile || h.Keyring == nil {
		return h, nil, ErrNoKeyring
	}
	key, err := h.Keyring.Unwrap(ctx, ec, keys...)
	return h, key, err
}
