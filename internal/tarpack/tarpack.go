// Package tarpack lays out the small files of a pack as a tar.
package tarpack

import (
	"archive/tar"
	"io"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// End is the size of the end of a tar, in bytes.
const End = 1024

const block = 512

// Size returns the most bytes that a file takes in a pack.
func Size(e *tree.Entry) int64 {
	// A hole can make a file as large as an int64 allows, which is more than any pack holds.
	size := block + (min(e.Size, 1<<62)+block-1)/block*block
	const latest = 1<<33 - 1 // range of a time in a plain header, in seconds
	t := e.ModTime.Unix()
	if long := int64(len(e.Path)); long > 100 || !isASCII(e.Path) || e.Size >= 8<<30 || t < 0 || t >= latest {
		size += block + (long+128+block-1)/block*block // a PAX header before the header
	}
	return size
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// Header returns the header of a file in a pack, and in a shard.
func Header(e *tree.Entry) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Size: e.Size, Mode: int64(e.Mode.Perm()), ModTime: e.ModTime}
}

// A Writer writes the tar of a pack: the header of each file, then its contents.
type Writer struct {
	out offset
	*tar.Writer
}

// NewWriter returns a Writer of a new pack to w.
func NewWriter(w io.Writer) *Writer {
	t := &Writer{out: offset{w: w}}
	t.Writer = tar.NewWriter(&t.out)
	return t
}

// Begin writes the file's header, and returns the offset of its contents in the pack.
func (t *Writer) Begin(e *tree.Entry) (at int64, err error) {
	err = t.WriteHeader(Header(e))
	return t.out.n, err
}

// Written returns the number of bytes written so far.
func (t *Writer) Written() int64 { return t.out.n }

// Plan returns the offsets of the files' contents in the tar that a Writer would make,
// and its size.
func Plan(files []*tree.Entry) (at []int64, size int64, err error) {
	out := &offset{w: io.Discard}
	for _, e := range files {
		// A tar.Writer accepts no second header before the contents of the first.
		if err := tar.NewWriter(out).WriteHeader(Header(e)); err != nil {
			return nil, 0, err
		}
		at = append(at, out.n)
		out.n += (e.Size + block - 1) / block * block
	}
	return at, out.n + End, nil
}

// An offset counts the bytes written.
type offset struct {
	w io.Writer
	n int64
}

func (w *offset) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}
