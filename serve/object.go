package serve

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"io/fs"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// ErrFolder is returned for a folder where a file was expected. It wraps fs.ErrNotExist.
var ErrFolder error = notFile{}

type notFile struct{}

func (notFile) Error() string        { return "it is a folder" }
func (notFile) Is(target error) bool { return target == fs.ErrNotExist }

// OpenFile opens the file at a path. A link leads to it.
func OpenFile(v *view.View, path string) (*view.File, error) {
	opened, err := v.Open(path)
	if err != nil {
		return nil, err
	}
	f, ok := opened.(*view.File)
	if !ok {
		opened.Close()
		return nil, ErrFolder
	}
	return f, nil
}

// Target returns the entry of the file that an entry is, or leads to as a link. It is nil of
// a folder, and of a link that leads to none, or nowhere.
func Target(v *view.View, e *tree.Entry) (*tree.Entry, error) {
	switch {
	case e.IsFile():
		return e, nil
	case e.IsDir():
		return nil, nil
	}
	f, err := OpenFile(v, e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ELOOP), errors.Is(err, fs.ErrInvalid):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return f.Entry(), nil
}

// ETag returns a strong entity tag: it is another one for other contents. It is made of the
// recorded sums of the contents, so that it stays the same from version to version. Where
// there are none, it is made of where the contents lie. Its hyphen says that it is no MD5.
func ETag(v *dataset.Version, e *tree.Entry) string {
	s := sha256.New()
	number := func(n int64) { s.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	s.Write([]byte("vaultpack/etag/1\n"))
	number(e.Size)
	s.Write(e.Sum)
	if e.Sum == nil {
		for _, x := range e.Extents {
			number(x.Length)
			s.Write(x.Pack.KeyID[:])
			if x.HasSum() {
				s.Write(x.Sum[:])
				continue
			}
			s.Write(x.Pack.ID[:])
			number(x.Offset)
			s.Write([]byte(v.Digest()))
		}
	}
	return `"` + hex.EncodeToString(s.Sum(nil)[:16]) + `-1"`
}

// Modified returns when a file was modified, or else when the version was made, in whole
// seconds.
func Modified(v *dataset.Version, e *tree.Entry) time.Time {
	t := e.ModTime
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		t = v.Created
	}
	return t.UTC().Truncate(time.Second)
}

// What the header of a request can say against a whole response.
var (
	ErrRange        = errors.New("the range is not in the object")
	ErrPrecondition = errors.New("a precondition does not hold")
	ErrNotModified  = errors.New("not modified")
)

// A Portion is what is sent of a file.
type Portion struct {
	First, Length int64
	Part          bool // it was asked for by its place
}

// Range returns what the headers Range and If-Range ask for of size bytes (RFC 9110, section
// 14.2). As in S3, a list of ranges, and what cannot be read, is ignored. The error is
// ErrRange.
func Range(h http.Header, tag string, size int64) (Portion, error) {
	whole := Portion{Length: size}
	if match := h.Get("If-Range"); match != "" && match != tag {
		return whole, nil
	}
	spec, ok := strings.CutPrefix(h.Get("Range"), "bytes=")
	from, to, hyphen := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !hyphen || strings.Contains(spec, ",") {
		return whole, nil
	}
	if from == "" {
		n, err := position(to)
		switch {
		case err != nil:
			return whole, nil
		case n == 0 || size == 0:
			return whole, ErrRange
		}
		length := min(int64(n), size)
		return Portion{First: size - length, Length: length, Part: true}, nil
	}
	first, err := position(from)
	last := uint64(max(size-1, 0))
	if to != "" && err == nil {
		last, err = position(to)
	}
	switch {
	case err != nil || to != "" && last < first:
		return whole, nil
	case int64(first) >= size:
		return whole, ErrRange
	}
	return Portion{First: int64(first), Length: min(int64(last), size-1) - int64(first) + 1, Part: true}, nil
}

// position reads a number of a range. One that is too large for a file is as good as the
// largest: clients ask for "from 100 to the largest number that there is", and if that were
// ignored, as what cannot be read is, some would take the start of the file for it.
func position(digits string) (uint64, error) {
	n, err := strconv.ParseUint(digits, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return n, nil
	}
	return n, err
}

// Conditions returns ErrPrecondition or ErrNotModified where a header says so. As in S3,
// If-Match is stronger than If-Unmodified-Since, and If-None-Match than If-Modified-Since.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func Conditions(h http.Header, tag string, modified time.Time) error {
	since := func(name string) (time.Time, bool) {
		t, err := http.ParseTime(h.Get(name))
		return t, err == nil
	}
	if match := h.Get("If-Match"); match != "" {
		if !hasTag(match, tag) {
			return ErrPrecondition
		}
	} else if t, ok := since("If-Unmodified-Since"); ok && modified.After(t) {
		return ErrPrecondition
	}
	if match := h.Get("If-None-Match"); match != "" {
		if hasTag(match, tag) {
			return ErrNotModified
		}
	} else if t, ok := since("If-Modified-Since"); ok && !modified.After(t) {
		return ErrNotModified
	}
	return nil
}

// hasTag reports whether a list of tags has the one. Clients send it without quotes, too.
func hasTag(list, tag string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.Trim(t, `"`) == strings.Trim(tag, `"`) {
			return true
		}
	}
	return false
}
