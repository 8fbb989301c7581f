package codec

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Limits on what is read from a list. Anyone who holds a data key can seal a few
// kilobytes that decompress to gigabytes, or numbers that take far more memory than
// their text, so each is checked before memory is allocated for it. FORMAT.md states
// them.
const (
	MaxList    = 64 << 20 // an index part, decompressed and not, in bytes
	MaxPending = 2 * MaxList
	maxWindow  = 8 << 20 // of the compression, in bytes

	maxEntries        = 64 << 10 // of an index part
	MaxPendingEntries = 8 * maxEntries
	maxExtents        = 1 << 20 // of all entries together
	maxHosts          = 1 << 10
	maxSource         = 1 << 10
)

// A listKind is a format of lists with its limits.
type listKind struct {
	format         string
	bytes, entries int
}

func kindOf(format string) listKind {
	if format == PendingFormat {
		return listKind{format, MaxPending, MaxPendingEntries}
	}
	return listKind{format, MaxList, maxEntries}
}

// Beyond returns the error for a list that exceeds a limit. The list is authentic, so its
// author holds the key; it must not be used, just as if it did not authenticate.
func Beyond(what string, bound int) error {
	return fmt.Errorf("the list has %s, and the bound is %d: %w", what, bound, envelope.ErrAuthentication)
}

// A lineReader reads the lines of a compressed list one by one, so that only one of them
// is in memory.
type lineReader struct {
	zstd *zstd.Decoder
	src  *bufio.Reader
	long []byte // a line that is longer than src's buffer
	kind listKind
	n    int // bytes so far
}

var decoders = sync.Pool{New: func() any {
	// One decoder at a time, without goroutines that would have to be stopped.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic("codec: zstd: " + err.Error()) // constant options
	}
	return d
}}

func newLineReader(kind listKind, list []byte) (*lineReader, error) {
	d := decoders.Get().(*zstd.Decoder)
	if err := d.Reset(bytes.NewReader(list)); err != nil {
		decoders.Put(d)
		return nil, fmt.Errorf("decompressing the list: %w", err)
	}
	return &lineReader{zstd: d, src: bufio.NewReaderSize(d, 256<<10), kind: kind}, nil
}

func (r *lineReader) close() {
	r.zstd.Reset(nil)
	decoders.Put(r.zstd)
}

// next returns the next line without its newline, valid until the next call; io.EOF after
// the last.
func (r *lineReader) next() ([]byte, error) {
	r.long = r.long[:0]
	for {
		part, err := r.src.ReadSlice('\n')
		if r.n += len(part); r.n > r.kind.bytes {
			return nil, Beyond("more bytes", r.kind.bytes)
		}
		switch {
		case err == nil && len(r.long) == 0:
			return part[:len(part)-1], nil
		case err == nil:
			r.long = append(r.long, part...)
			return r.long[:len(r.long)-1], nil
		case err == bufio.ErrBufferFull:
			r.long = append(r.long, part...)
		case err == io.EOF && len(r.long)+len(part) > 0:
			r.long = append(r.long, part...)
			return r.long, nil // the last one without a newline
		case err == io.EOF:
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("decompressing the list: %w", err)
		}
	}
}

// readHeader reads the first line. Its packs are read one by one, since an element can
// take far more memory than its text.
func readHeader(line []byte) (h Header, packs []*tree.Object, err error) {
	if err := checkLine(line); err != nil {
		return h, nil, err
	}
	err = readObject(line, map[string]func(*json.Decoder) error{
		"format":  func(d *json.Decoder) error { return d.Decode(&h.Format) },
		"dataset": func(d *json.Decoder) error { return d.Decode(&h.Dataset) },
		"source": func(d *json.Decoder) error {
			if err := d.Decode(&h.Source); err != nil || len(h.Source) <= maxSource {
				return err
			}
			return Beyond("a longer source", maxSource)
		},
		"hosts": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var host string
				if err := d.Decode(&host); err != nil {
					return err
				}
				if len(h.Hosts) == maxHosts || len(host) > maxSource {
					return Beyond("more or longer hosts", maxHosts)
				}
				h.Hosts = append(h.Hosts, host)
				return nil
			})
		},
		"packs": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var j objectJSON
				if err := d.Decode(&j); err != nil {
					return err
				}
				o, err := j.object()
				if err != nil {
					return err
				}
				packs = append(packs, &o)
				return nil
			})
		},
	})
	return h, packs, err
}

// readObject reads a JSON object, each field with its function, and skips fields without
// one.
func readObject(b []byte, fields map[string]func(*json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := readDelim(d, '{'); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		read := fields[name.(string)] // keys of objects are strings
		if read == nil {
			read = skipValue
		}
		if err := read(d); err != nil {
			return err
		}
	}
	if err := readDelim(d, '}'); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the object")
	}
	return nil
}

// skipValue skips a value, token by token.
func skipValue(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// readArray reads a JSON array, or null, calling element for each of its elements.
func readArray(d *json.Decoder, element func() error) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return fmt.Errorf("%v is no array", t)
	}
	for d.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return readDelim(d, ']')
}

func readDelim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err != nil {
		return noMoreInput(err)
	}
	if t != want {
		return fmt.Errorf("%v where %v belongs", t, want)
	}
	return nil
}

func noMoreInput(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkLine rejects a line whose numbers or strings would take more memory than the
// limits allow, before any of them is read.
func checkLine(line []byte) error {
	const (
		numbers = 4*maxExtents + 64
		text    = 8 * tree.MaxPath // for a path with every byte escaped, including its quotes
	)
	if len(line) > numbers && bytes.Count(line, []byte(",")) > numbers {
		return Beyond("an entry of more numbers", numbers)
	}
	for rest := line; len(rest) > text; {
		i := bytes.IndexByte(rest, '"')
		if i < 0 {
			return nil
		}
		n := stringLen(rest[i+1:])
		if n > text {
			return Beyond("a longer text", text)
		}
		rest = rest[min(i+n+2, len(rest)):]
	}
	return nil
}

// stringLen returns the length of a JSON string up to its closing quote, or to the end.
func stringLen(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return len(b)
}
