// Package codec encodes what a dataset keeps in its sealed objects: lists of entries, the
// roots of versions, the marks that replace some, and leases. Everything read is limited
// and checked before it is trusted; docs/FORMAT.md states how.
package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// The formats of a list of entries: zstd-compressed lines of JSON, the first of them a
// Header and each further one an entry. The format's name keeps one kind of list from
// being mistaken for the other.
const (
	IndexFormat   = "vaultpack-index/1"
	PendingFormat = "vaultpack-pending/1"
	PageFormat    = "vaultpack-page/1" // of a plan
)

type Header struct {
	Format  string       `json:"format"`
	Dataset string       `json:"dataset"`
	Packs   []objectJSON `json:"packs"`
	Hosts   []string     `json:"hosts,omitempty"`
	// Source is present only in a pending list, and identifies the upload that the list belongs
	// to.
	Source string `json:"source,omitempty"`
}

type objectJSON struct {
	ID     string `json:"id"`
	KeyID  string `json:"key_id"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

func objectOf(o tree.Object) objectJSON {
	return objectJSON{o.ID.String(), o.KeyID.String(), o.Pin.Size, hex.EncodeToString(o.Pin.Digest[:])}
}

func (j objectJSON) object() (o tree.Object, err error) {
	if n := len(j.ID) + len(j.KeyID) + len(j.Digest); n > 64+32+64 {
		return o, fmt.Errorf("an object is named by %d characters", n)
	}
	if o.ID, err = envelope.ParseObjectID(j.ID); err != nil {
		return o, err
	}
	if o.KeyID, err = envelope.ParseKeyID(j.KeyID); err != nil {
		return o, err
	}
	o.Pin.Size = j.Size
	o.Pin.Digest, err = parseDigest(j.Digest)
	return o, err
}

func parseDigest(s string) (d [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("malformed digest %.80q", s)
	}
	return [32]byte(b), nil
}

// entryJSON is a line of a list. Strings that are not UTF-8 are in base64, since JSON
// cannot hold them.
type entryJSON struct {
	Path    string     `json:"path"`
	Path64  []byte     `json:"path64,omitempty"`
	Size    int64      `json:"size,omitempty"`
	Mode    uint32     `json:"mode"` // as in POSIX: 12 bits
	ModTime [2]int64   `json:"mtime"`
	Link    string     `json:"link,omitempty"`
	Link64  []byte     `json:"link64,omitempty"`
	Sum     string     `json:"sha256,omitempty"`
	Extents [][3]int64 `json:"extents,omitempty"` // pack in the header's list, offset, length
	Sums    []string   `json:"sums,omitempty"`    // of each extent, in base64 without padding
	At      []int64    `json:"at,omitempty"`      // their offsets in the file, unless they cover all of it
	Seen    []int64    `json:"seen,omitempty"`    // host in the header's list, inode, change time
	Recent  bool       `json:"recent,omitempty"`
	Flaw    tree.Flaw  `json:"flaw,omitempty"`
	More    bool       `json:"more,omitempty"` // of a plan: a later file belongs to the same sample
	ETag    string     `json:"etag,omitempty"` // of a plan of a bucket: the state of the object
	Version string     `json:"version,omitempty"`
}

// sumEncoding is the encoding of keyed sums in a list.
var sumEncoding = base64.RawStdEncoding.Strict()

// decodeSums sets the sums of the extents: one for each, or none.
func decodeSums(e *tree.Entry, sums []string) error {
	if len(sums) > 0 && len(sums) != len(e.Extents) {
		return fmt.Errorf("the index entry %q has %d sums for %d extents", e.Path, len(sums), len(e.Extents))
	}
	for i, s := range sums {
		sum := &e.Extents[i].Sum
		if len(s) != sumEncoding.EncodedLen(len(sum)) {
			return fmt.Errorf("the index entry %q has a malformed sum", e.Path)
		}
		if _, err := sumEncoding.Decode(sum[:], []byte(s)); err != nil {
			return fmt.Errorf("the index entry %q has a malformed sum", e.Path)
		}
	}
	return nil
}

func toUTF8(s string) (string, []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return "", []byte(s)
}

func fromUTF8(s string, raw []byte) string {
	if raw != nil {
		return string(raw)
	}
	return s
}

// EncodeList encodes the compressed list of entries in the given format.
func EncodeList(format, dataset, source string, entries []*tree.Entry) ([]byte, error) {
	return encodeList(format, dataset, source, entries, func(int, *entryJSON) {})
}

// encodeList is EncodeList; plan adds what a plan says of an entry.
func encodeList(format, dataset, source string, entries []*tree.Entry, plan func(i int, j *entryJSON)) ([]byte, error) {
	l := lister{header: Header{Format: format, Dataset: dataset, Packs: []objectJSON{}, Source: source},
		packs: map[envelope.ObjectID]int64{}, hosts: map[string]int64{}}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	for i, e := range entries {
		j := l.line(e)
		plan(i, &j)
		if err := enc.Encode(j); err != nil {
			return nil, err
		}
	}
	first, err := json.Marshal(l.header)
	if err != nil {
		return nil, err
	}
	kind := kindOf(format)
	if n := len(first) + 1 + body.Len(); n > kind.bytes || len(entries) > kind.entries || l.extents > maxExtents {
		return nil, fmt.Errorf("a list of %d files has %d bytes and %d extents, the limits are %d files, %d bytes and %d extents: use another pack size",
			len(entries), n, l.extents, kind.entries, kind.bytes, maxExtents)
	}
	return encoder().EncodeAll(slices.Concat(first, []byte("\n"), body.Bytes()), nil), nil
}

// A lister makes the lines of a list, and the header with what they refer to.
type lister struct {
	header  Header
	packs   map[envelope.ObjectID]int64 // in the header's list
	hosts   map[string]int64
	extents int // of all lines
}

// line returns the line of an entry.
func (l *lister) line(e *tree.Entry) entryJSON {
	j := entryJSON{Size: e.Size, Mode: fsys.PosixMode(e.Mode), ModTime: [2]int64{e.ModTime.Unix(), int64(e.ModTime.Nanosecond())},
		Recent: e.Recent, Flaw: e.Flaw}
	j.Path, j.Path64 = toUTF8(e.Path)
	j.Link, j.Link64 = toUTF8(e.Link)
	if e.Sum != nil {
		j.Sum = hex.EncodeToString(e.Sum)
	}
	l.place(&j, e)
	if e.Seen.Host != "" {
		n, ok := l.hosts[e.Seen.Host]
		if !ok && len(l.hosts) < maxHosts {
			n, ok = int64(len(l.header.Hosts)), true
			l.hosts[e.Seen.Host] = n
			l.header.Hosts = append(l.header.Hosts, e.Seen.Host)
		}
		if ok { // for more machines than are recorded, only size and time are compared
			j.Seen = []int64{n, int64(e.Seen.Inode), e.Seen.ChangeTime.Unix(), int64(e.Seen.ChangeTime.Nanosecond())}
		}
	}
	return j
}

// place records in the line where the entry's contents are stored.
func (l *lister) place(j *entryJSON, e *tree.Entry) {
	whole := int64(0)
	l.extents += len(e.Extents)
	for _, x := range e.Extents {
		n, ok := l.packs[x.Pack.ID]
		if !ok {
			n = int64(len(l.header.Packs))
			l.packs[x.Pack.ID] = n
			l.header.Packs = append(l.header.Packs, objectOf(*x.Pack))
		}
		j.Extents = append(j.Extents, [3]int64{n, x.Offset, x.Length})
		if x.HasSum() {
			j.Sums = append(j.Sums, sumEncoding.EncodeToString(x.Sum[:]))
		}
		if x.At == whole {
			whole += x.Length
		}
	}
	if len(j.Sums) != len(j.Extents) {
		j.Sums = nil
	}
	if e.IsFile() && whole != e.Size {
		for _, x := range e.Extents {
			j.At = append(j.At, x.At)
		}
	}
}

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("codec: zstd: " + err.Error()) // constant options
	}
	return e
})

// DecodeList reads the output of EncodeList. The bytes have been authenticated, so any
// error was made by the program that wrote them.
func DecodeList(format, dataset string, b []byte) (header Header, entries []*tree.Entry, err error) {
	return decodeList(format, dataset, b, func(*entryJSON) {})
}

// decodeList is DecodeList; plan takes what a plan says of each entry.
func decodeList(format, dataset string, b []byte, plan func(*entryJSON)) (header Header, entries []*tree.Entry, err error) {
	kind := kindOf(format)
	lines, err := newLineReader(kind, b)
	if err != nil {
		return header, nil, err
	}
	defer lines.close()
	line, err := lines.next()
	if err == io.EOF {
		return header, nil, errors.New("the list is empty")
	}
	if err != nil {
		return header, nil, err
	}
	header, packs, err := readHeader(line)
	if err != nil {
		return header, nil, fmt.Errorf("reading the list's header: %w", err)
	}
	if header.Format != format || header.Dataset != dataset {
		return header, nil, fmt.Errorf("a list %.100q of dataset %.100q where %q of %q belongs: %w",
			header.Format, header.Dataset, format, dataset, envelope.ErrAuthentication)
	}
	var j entryJSON // its slices are reused for each line
	extents := 0
	for {
		line, err := lines.next()
		if err == io.EOF {
			return header, entries, nil
		}
		if err != nil {
			return header, nil, err
		}
		if len(entries) == kind.entries {
			return header, nil, Beyond("more entries", kind.entries)
		}
		e, err := decodeEntry(&j, line, packs, header.Hosts)
		if err != nil {
			return header, nil, err
		}
		if n := len(entries); n > 0 && entries[n-1].Path >= e.Path {
			return header, nil, fmt.Errorf("the list is not sorted at %q", e.Path)
		}
		if extents += len(e.Extents); extents > maxExtents {
			return header, nil, Beyond("more extents", maxExtents)
		}
		entries = append(entries, e)
		plan(&j)
	}
}

func decodeEntry(j *entryJSON, line []byte, packs []*tree.Object, hosts []string) (*tree.Entry, error) {
	if err := checkLine(line); err != nil {
		return nil, err
	}
	if !j.quickLine(line) {
		*j = entryJSON{}
		if err := json.Unmarshal(line, j); err != nil {
			return nil, fmt.Errorf("reading the list: %w", err)
		}
	}
	e := &tree.Entry{Path: fromUTF8(j.Path, j.Path64), Size: j.Size, Mode: fsys.GoMode(j.Mode),
		ModTime: time.Unix(j.ModTime[0], j.ModTime[1]), Link: fromUTF8(j.Link, j.Link64), Recent: j.Recent, Flaw: j.Flaw}
	if err := Check(e); err != nil { // first, so that an error does not quote a huge path
		return nil, err
	}
	if j.Sum != "" {
		sum, err := parseDigest(j.Sum)
		if err != nil {
			return nil, err
		}
		e.Sum = sum[:]
	}
	at := int64(0)
	if len(j.Extents) > maxExtents {
		return nil, Beyond("more extents", maxExtents)
	}
	if len(j.Extents) > 0 {
		e.Extents = make([]tree.Extent, 0, len(j.Extents))
	}
	for i, x := range j.Extents {
		if x[0] < 0 || x[0] >= int64(len(packs)) {
			return nil, fmt.Errorf("the index entry %q is in no pack of the list", e.Path)
		}
		if len(j.At) == len(j.Extents) {
			at = j.At[i]
		}
		e.Extents = append(e.Extents, tree.Extent{Pack: packs[x[0]], Offset: x[1], Length: x[2], At: at})
		at += x[2]
	}
	if err := decodeSums(e, j.Sums); err != nil {
		return nil, err
	}
	if s := j.Seen; len(s) == 4 && s[0] >= 0 && s[0] < int64(len(hosts)) {
		e.Seen = tree.Seen{Host: hosts[s[0]], Inode: uint64(s[1]), ChangeTime: time.Unix(s[2], s[3])}
	}
	return e, Check(e)
}
