package envelope

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// A Kind is the kind of contents of a sealed file. It is bound to the
// contents: a file that is opened as a different kind does not authenticate.
type Kind string

// The kinds of format 1.
const (
	KindFile    Kind = "file" // a stream on its own
	KindPack    Kind = "pack" // many small files as a tar, or a piece of a large one
	KindIndex   Kind = "indx" // where each file of a version lies
	KindVersion Kind = "vers" // the root of a version of a dataset
)

func (k Kind) valid() bool {
	return k == KindFile || k == KindPack || k == KindIndex || k == KindVersion
}

// kindOf is Kind(b), without an allocation if that is valid.
func kindOf(b []byte) Kind {
	for _, k := range [...]Kind{KindFile, KindPack, KindIndex, KindVersion} {
		if string(b) == string(k) {
			return k
		}
	}
	return Kind(b)
}

// A KeyID names a data key. It is random and not secret.
type KeyID [16]byte

// String returns the ID in lowercase hex.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseKeyID parses the result of KeyID.String, and nothing else.
func ParseKeyID(s string) (id KeyID, err error) { return id, parseHex(id[:], s) }

// An ObjectID names one attempt to write a sealed file. It is random and not
// secret.
type ObjectID [32]byte

// String returns the ID in lowercase hex.
func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// ParseObjectID parses the result of ObjectID.String, and nothing else.
func ParseObjectID(s string) (id ObjectID, err error) { return id, parseHex(id[:], s) }

func parseHex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) || hex.EncodeToString(b) != s {
		return fmt.Errorf("%q is not an ID of %d lowercase hex digits: %w", s, 2*len(dst), ErrFormat)
	}
	copy(dst, b)
	return nil
}

const (
	magic = "vaultpk1"
	// boundSize is how much of the header the object key depends on. The rest
	// is the keyring, which may be wrapped again without sealing again.
	boundSize  = 60
	headerSize = 64
	// maxKeyring bounds what is read before anything can be authenticated.
	maxKeyring = 64 << 10
)

// A Header precedes the segments of a sealed file.
type Header struct {
	Kind     Kind
	KeyID    KeyID
	ObjectID ObjectID
	// Keyring is nil if the keyring is kept elsewhere.
	Keyring *Keyring
}

// newHeader makes the header of a new attempt to write.
func newHeader(kind Kind, key *DataKey, ring *Keyring) Header {
	h := Header{Kind: kind, KeyID: key.id, Keyring: ring}
	rand.Read(h.ObjectID[:])
	return h
}

// Size returns the number of bytes in the encoded header.
func (h Header) Size() int64 {
	if h.Keyring == nil {
		return headerSize
	}
	return headerSize + int64(len(h.Keyring.Bytes()))
}

func (h Header) appendTo(b []byte) []byte {
	b = h.appendBound(b)
	if h.Keyring == nil {
		return append(b, 0, 0, 0, 0)
	}
	ring := h.Keyring.Bytes()
	b = binary.BigEndian.AppendUint32(b, uint32(len(ring)))
	return append(b, ring...)
}

// appendBound appends the part of the header that the object key depends on.
func (h Header) appendBound(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, h.Kind...)
	b = append(b, h.KeyID[:]...)
	return append(b, h.ObjectID[:]...)
}

// ReadHeader reads the header at the start of a sealed file, and leaves src at
// the first segment. Nothing in the header is authenticated until a segment has
// been opened. For anything other than a header of format 1, ReadHeader returns
// an error that wraps ErrFormat.
func ReadHeader(src io.Reader) (Header, error) {
	if src == nil {
		return Header{}, errNilSource
	}
	var fixed [headerSize]byte
	if n, err := readFull(src, fixed[:]); err != nil && (err != io.EOF || n < headerSize) {
		if err != io.EOF {
			return Header{}, fmt.Errorf("reading the header: %w", err)
		}
		if !bytes.HasPrefix([]byte(magic), fixed[:min(n, len(magic))]) || n == 0 {
			return Header{}, fmt.Errorf("this is not a sealed file: %w", ErrFormat)
		}
		return Header{}, fmt.Errorf("the header is cut off after %d bytes: %w", n, ErrFormat)
	}
	h := Header{Kind: kindOf(fixed[8:12]), KeyID: KeyID(fixed[12:28]), ObjectID: ObjectID(fixed[28:60])}
	if string(fixed[:8]) != magic {
		return Header{}, fmt.Errorf("this is not a sealed file: %w", ErrFormat)
	}
	if !h.Kind.valid() {
		return Header{}, fmt.Errorf("unknown kind %q: %w", h.Kind, ErrFormat)
	}
	size := binary.BigEndian.Uint32(fixed[60:])
	if size > maxKeyring {
		return Header{}, fmt.Errorf("a keyring of %d bytes in the header, the limit is %d: %w", size, maxKeyring, ErrFormat)
	}
	if size == 0 {
		return h, nil
	}
	b := make([]byte, size)
	if n, err := readFull(src, b); err == io.EOF && n < len(b) {
		return Header{}, fmt.Errorf("the keyring in the header is cut off: %w", ErrFormat)
	} else if err != nil && err != io.EOF {
		return Header{}, fmt.Errorf("reading the header: %w", err)
	}
	ring, err := ParseKeyring(b)
	if err != nil {
		return Header{}, err
	}
	if ring.ID() != h.KeyID {
		return Header{}, fmt.Errorf("the keyring in the header is of data key %s, not %s: %w", ring.ID(), h.KeyID, ErrFormat)
	}
	h.Keyring = ring
	return h, nil
}
