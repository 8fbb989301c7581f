// Package testkit makes the test vectors in testdata/testkit: sealed files with at
// most one fault each, and the result that a reader of vaultpack's format 1 must
// get. It is a second implementation of the format, for tests only.
package testkit

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Possible results of opening a vector.
const (
	Success        = "success"
	Format         = "format error"
	Authentication = "authentication failure"
	NoKey          = "no key"
	NoKeyring      = "no keyring"
)

// A Vector is one file of the testkit.
type Vector struct {
	Name    string
	Expect  string
	Comment string
	// Kind is the kind of file that the reader is asked to open.
	Kind string
	// KeyID and DataKey open the file; without them the other keys do, with Context.
	KeyID, DataKey []byte
	LocalKeys      []string
	Passphrases    []string
	Identities     []string
	Context        []string // name=value
	// Payload is the SHA-256 of what a reader that works segment by segment
	// releases before the error, and ChunkPayload that of one that works chunk by
	// chunk.
	Payload, ChunkPayload [32]byte

	Body []byte

	// Plain is what was sealed, and Released and ChunksReleased are the lengths of
	// the two payloads. A parsed Vector has none of these.
	Plain                    []byte
	Released, ChunksReleased int
}

// Encode returns the vector as a file.
func (v *Vector) Encode() []byte {
	var b bytes.Buffer
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	line("expect", v.Expect)
	line("comment", v.Comment)
	line("kind", v.Kind)
	if v.DataKey != nil {
		line("data key", hex.EncodeToString(v.KeyID)+" "+hex.EncodeToString(v.DataKey))
	}
	for _, k := range v.LocalKeys {
		line("local key", k)
	}
	for _, p := range v.Passphrases {
		line("passphrase", p)
	}
	for _, i := range v.Identities {
		line("identity", i)
	}
	for _, c := range v.Context {
		line("context", c)
	}
	line("payload", hex.EncodeToString(v.Payload[:]))
	if v.ChunkPayload != v.Payload {
		line("chunk payload", hex.EncodeToString(v.ChunkPayload[:]))
	}
	if len(v.Body) > 4096 {
		line("compressed", "zlib")
		b.WriteByte('\n')
		z, _ := zlib.NewWriterLevel(&b, zlib.BestCompression)
		z.Write(v.Body)
		z.Close()
	} else {
		b.WriteByte('\n')
		b.Write(v.Body)
	}
	return b.Bytes()
}

// Parse reads what Encode writes. An unknown key is an error: the vector would not
// be tested for what it says.
func Parse(name string, file []byte) (*Vector, error) {
	head, body, ok := bytes.Cut(file, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("%s: no empty line", name)
	}
	v := &Vector{Name: name, Body: body}
	chunks, compressed := false, false
	for line := range strings.SplitSeq(string(head), "\n") {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%s: malformed line %q", name, line)
		}
		var err error
		sum := func(dst *[32]byte) {
			var b []byte
			if b, err = hex.DecodeString(value); err == nil && len(b) != len(dst) {
				err = fmt.Errorf("%d bytes", len(b))
			}
			copy(dst[:], b)
		}
		switch key {
		case "expect":
			v.Expect = value
		case "comment":
			v.Comment = value
		case "kind":
			v.Kind = value
		case "data key":
			id, secret, _ := strings.Cut(value, " ")
			if v.KeyID, err = hex.DecodeString(id); err == nil {
				v.DataKey, err = hex.DecodeString(secret)
			}
		case "local key":
			v.LocalKeys = append(v.LocalKeys, value)
		case "passphrase":
			v.Passphrases = append(v.Passphrases, value)
		case "identity":
			v.Identities = append(v.Identities, value)
		case "context":
			v.Context = append(v.Context, value)
		case "payload":
			sum(&v.Payload)
		case "chunk payload":
			chunks = true
			sum(&v.ChunkPayload)
		case "compressed":
			if compressed = true; value != "zlib" {
				err = fmt.Errorf("unknown compression")
			}
		default:
			err = fmt.Errorf("unknown key")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %q: %w", name, line, err)
		}
	}
	if !chunks {
		v.ChunkPayload = v.Payload
	}
	if compressed {
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if v.Body, err = io.ReadAll(z); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return v, nil
}

// All makes the vectors one after another: some hold several MiB.
func All() iter.Seq[*Vector] {
	return func(yield func(*Vector) bool) {
		for _, table := range [][]entry{successes(), headers(), keyrings(), slots(), passphrases(), recipients(), chunks(), segments(), schemes()} {
			for _, e := range table {
				if !yield(e.make()) {
					return
				}
			}
		}
	}
}

// An entry of a table: build starts from a whole file of one short segment,
// opened with its data key, and turns it into what the entry says.
type entry struct {
	name, expect, comment string
	build                 func(b *build)
}

// A build is a vector under construction.
type build struct {
	stream
	v                        *Vector
	magic, kind              string
	keyID, objectID, dataKey []byte
	keyring                  string
	ringLen                  int64 // -1: that of keyring
	scheme                   scheme
	parts                    [][]byte // sealed segments
	plain                    []byte
	local                    localKey
	context                  []pair
	after                    func(file []byte) []byte
	released, chunksReleased int
}

func (e entry) make() *Vector {
	b := &build{
		stream: stream{name: e.name}, v: &Vector{Name: e.name, Expect: e.expect, Comment: e.comment},
		magic: "vaultpk1", kind: "file", ringLen: -1, scheme: rightScheme(),
		released: -1, chunksReleased: -1,
	}
	b.keyID, b.objectID, b.dataKey, b.local = b.bytes(16), b.bytes(32), b.bytes(32), b.bytes(32)
	b.v.Kind, b.v.KeyID, b.v.DataKey = "file", b.keyID, b.dataKey
	e.build(b)
	v := b.v
	if b.parts == nil {
		b.seal(100)
	}
	v.Body = b.file()
	v.Plain = b.plain
	if b.released < 0 && e.expect == Success {
		b.released = len(b.plain)
	}
	v.Released = max(b.released, 0)
	v.ChunksReleased = max(b.chunksReleased, v.Released)
	v.Payload = sha256.Sum256(b.plain[:v.Released])
	v.ChunkPayload = sha256.Sum256(b.plain[:v.ChunksReleased])
	return v
}

// header returns the file up to the segments.
func (b *build) header() []byte {
	h := b.bound()
	n := b.ringLen
	if n < 0 {
		n = int64(len(b.keyring))
	}
	h = append(h, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(h, b.keyring...)
}

func (b *build) bound() []byte {
	return slicesConcat([]byte(b.magic), []byte(b.kind), b.keyID, b.objectID)
}

func (b *build) file() []byte {
	f := slicesConcat(append([][]byte{b.header()}, b.parts...)...)
	if b.after != nil {
		f = b.after(f)
	}
	return f
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// segment seals one segment with number i: plain if it is not nil, otherwise size
// bytes of key stream. It also returns the plaintext.
func (b *build) segment(i uint64, plain []byte, size int) (sealed, opened []byte) {
	key := expand(b.dataKey, b.scheme.objectLabel+string(b.bound()), 32)
	if b.scheme.objectKey != nil {
		key = b.scheme.objectKey(b.dataKey, b.header())
	}
	return b.scheme.message(key, b.scheme.segmentLabel+string(b.scheme.number(i)), b.bytes(saltSize), plain, size)
}

// seal makes the parts of a file that holds size bytes.
func (b *build) seal(size int) {
	for i := uint64(0); ; i++ {
		n := min(size, segmentSize)
		var plain []byte
		if n <= 1000 {
			plain = b.bytes(n)[:n:n]
			if plain == nil {
				plain = []byte{}
			}
		}
		sealed, opened := b.segment(i, plain, n)
		b.parts = append(b.parts, sealed)
		b.plain = append(b.plain, opened...)
		if size -= n; n < segmentSize {
			return
		}
	}
}

// release sets how much is released before the error.
func (b *build) release(segments, chunks int) { b.released, b.chunksReleased = segments, chunks }

// fullContext returns the context with the pair of the key ID.
func (b *build) fullContext() []pair {
	return append(b.context[:len(b.context):len(b.context)], pair{"vaultpack:key-id", hex.EncodeToString(b.keyID)})
}

// wrap makes the slot of a local key.
func (b *build) wrap(k localKey) slot {
	return k.wrap(b.bytes(saltSize), b.dataKey, canonical(b.fullContext(), false))
}

// ring puts a keyring into the header, and sets the local key and the build's
// context to open the file.
func (b *build) ring(slots ...slot) {
	b.keyring = keyringJSON(b.keyID, commitment(b.keyID, b.dataKey), slots...)
	b.openLocal(b.local)
}

func (b *build) openLocal(keys ...localKey) {
	b.v.KeyID, b.v.DataKey, b.v.LocalKeys, b.v.Context = nil, nil, nil, nil
	for _, k := range keys {
		b.v.LocalKeys = append(b.v.LocalKeys, k.text())
	}
	for _, p := range b.context {
		b.v.Context = append(b.v.Context, p.name+"="+p.value)
	}
}

// edit replaces the only occurrence of old in the keyring.
func (b *build) edit(old, new string) {
	if strings.Count(b.keyring, old) != 1 {
		panic(fmt.Sprintf("%s: %q is not once in %s", b.v.Name, old, b.keyring))
	}
	b.keyring = strings.Replace(b.keyring, old, new, 1)
}

// largeRing makes a keyring of exactly size bytes, with every slot within limits.
func (b *build) largeRing(size int) {
	s := []slot{b.wrap(b.local)}
	for range 3 {
		s = append(s, slot{"k", "x", make([]byte, 16000)})
	}
	s = append(s, slot{"k", "x", []byte{1}})
	b.ring(s...)
	s[len(s)-1].key += strings.Repeat("y", size-len(b.keyring))
	b.ring(s...)
	if len(b.keyring) != size || len(s[len(s)-1].key) > 2048 {
		panic(fmt.Sprintf("%d bytes with a key of %d", len(b.keyring), len(s[len(s)-1].key)))
	}
}
