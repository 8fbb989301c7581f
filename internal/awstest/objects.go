package awstest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/crc64nvme"
)

// An object is an S3 object, or a multipart upload of one.
type object struct {
	data   []byte
	header http.Header // what HEAD returns
	parts  map[int][]byte
	tag    sync.Once
	tagged string
}

func (o *object) etag() string {
	o.tag.Do(func() { // every listing asks for it
		sum := md5.Sum(o.data)
		o.tagged = `"` + hex.EncodeToString(sum[:]) + `"`
	})
	return o.tagged
}

// sums are the checksums that this S3 supports, by the suffixes of their headers.
var sums = map[string]func() hash.Hash{
	"Crc64nvme": func() hash.Hash { return crc64nvme.New() },
	"Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"Sha256":    sha256.New,
}

const sumHeader = "X-Amz-Checksum-"

// checkSums compares a body with the checksums in its request. It rejects by name
// those that the server refuses.
func (s *Server) checkSums(h http.Header, body []byte) error {
	for name, values := range h {
		kind, ok := strings.CutPrefix(name, sumHeader)
		if !ok || kind == "Type" || kind == "Algorithm" || kind == "Mode" {
			continue
		}
		if slices.Contains(s.Refuses, strings.ToLower(kind)) || sums[kind] == nil {
			return fail(http.StatusBadRequest, "InvalidRequest", "Value for %s header is invalid.", strings.ToLower(name))
		}
		sum := sums[kind]()
		sum.Write(body)
		if got := base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != values[0] {
			return fail(http.StatusBadRequest, "BadDigest", "The %s you specified did not match what we received.", kind)
		}
	}
	return nil
}

// objectOp names what a request does to an object.
func objectOp(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPut && q.Has("uploadId"):
		return "UploadPart"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	}
	return map[string]string{http.MethodPut: "PutObject", http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject"}[r.Method]
}

// kept returns the headers of a request that the server stores with the object and returns
// later.
func kept(h http.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		if strings.HasPrefix(name, "X-Amz-Server-Side-Encryption") || strings.HasPrefix(name, sumHeader) && name != sumHeader+"Algorithm" {
			out[name] = values
		}
	}
	return out
}

// object answers a request about an object of the bucket.
func (s *Server) object(w http.ResponseWriter, r *http.Request, b *Bucket, key string, body []byte) (string, error) {
	if b.objects == nil {
		b.objects, b.uploads = map[string]*object{}, map[string]*object{}
	}
	op, q, o := objectOp(r), r.URL.Query(), b.objects[key]
	switch op {
	case "PutObject", "CreateMultipartUpload":
		if sse := r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"); sse != "" && !strings.Contains(sse, ":key/") {
			return "", fail(http.StatusBadRequest, "KMS.NotFoundException", "Invalid keyId %s", sse)
		}
	}
	up := b.uploads[q.Get("uploadId")]
	if q.Get("uploadId") != "" && up == nil {
		return "", fail(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist.")
	}
	switch op {
	case "PutObject":
		if match := r.Header.Get("If-Match"); r.Header.Get("If-None-Match") == "*" && o != nil || match != "" && (o == nil || o.etag() != match) {
			return "", fail(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		}
		if err := s.checkSums(r.Header, body); err != nil {
			return "", err
		}
		b.objects[key] = &object{data: body, header: kept(r.Header)}
		w.Header().Set("ETag", b.objects[key].etag())
	case "CreateMultipartUpload":
		id := strconv.Itoa(len(b.uploads) + 1)
		b.uploads[id] = &object{header: kept(r.Header), parts: map[int][]byte{}}
		return "<InitiateMultipartUploadResult><UploadId>" + id + "</UploadId></InitiateMultipartUploadResult>", nil
	case "UploadPart":
		n, err := strconv.Atoi(q.Get("partNumber"))
		if err == nil {
			err = s.checkSums(r.Header, body)
		}
		if err != nil {
			return "", err
		}
		up.parts[n] = body
		w.Header().Set("ETag", (&object{data: body}).etag())
	case "CompleteMultipartUpload":
		return s.complete(b, key, q.Get("uploadId"), r.Header, body)
	case "AbortMultipartUpload":
		delete(b.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case "DeleteObject":
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case "GetObject", "HeadObject":
		return "", o.serve(w, r)
	}
	return "", nil
}

// complete makes an object of its parts. Its checksum may be that of the whole or,
// with SHA-256, that of the parts' checksums.
func (s *Server) complete(b *Bucket, key, id string, h http.Header, body []byte) (string, error) {
	up := b.uploads[id]
	var in struct {
		Part []struct {
			PartNumber     int
			ChecksumSHA256 string
		}
	}
	if err := xml.Unmarshal(body, &in); err != nil || len(in.Part) != len(up.parts) {
		return "", fail(http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.")
	}
	for _, p := range in.Part {
		if sum := sha256.Sum256(up.parts[p.PartNumber]); p.ChecksumSHA256 != "" && p.ChecksumSHA256 != base64.StdEncoding.EncodeToString(sum[:]) {
			return "", fail(http.StatusBadRequest, "InvalidPart", "The checksum of a part is another.")
		}
		up.data = append(up.data, up.parts[p.PartNumber]...)
	}
	if err := s.checkSums(h, up.data); err != nil {
		return "", err
	}
	maps.Copy(up.header, kept(h))
	delete(b.uploads, id)
	b.objects[key] = up
	return "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>", nil
}

// serve answers with an object, or a range of it.
func (o *object) serve(w http.ResponseWriter, r *http.Request) error {
	if o == nil {
		return fail(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	for name, values := range o.header {
		if !strings.HasPrefix(name, sumHeader) || r.Header.Get("X-Amz-Checksum-Mode") != "" && r.Header.Get("Range") == "" {
			w.Header()[name] = values
		}
	}
	w.Header().Set("ETag", o.etag())
	w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
	data, status := o.data, http.StatusOK
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, to, _ := strings.Cut(text, "-")
		lo, err := strconv.Atoi(from)
		hi := len(data) - 1
		if n, err := strconv.Atoi(to); err == nil {
			hi = min(hi, n)
		}
		if err != nil || lo >= len(data) {
			return fail(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", lo, hi, len(data)))
		data, status = data[lo:hi+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.Copy(w, bytes.NewReader(data))
	}
	return nil
}

// list is what there is below a prefix: ListObjectsV2, in one page.
func (b *Bucket) list(q url.Values) string {
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	name := func(key string) string {
		if q.Get("encoding-type") == "url" {
			return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
		}
		return escape(key)
	}
	var text strings.Builder
	folders := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if folder, _, ok := strings.Cut(rest, delimiter); ok && delimiter != "" {
			folders[prefix+folder+delimiter] = true
			continue
		}
		o := b.objects[key]
		fmt.Fprintf(&text, "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>%s</ETag><Size>%d</Size></Contents>", name(key), escape(o.etag()), len(o.data))
	}
	for _, f := range slices.Sorted(maps.Keys(folders)) {
		fmt.Fprintf(&text, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", name(f))
	}
	encoding := ""
	if q.Has("encoding-type") {
		encoding = "<EncodingType>url</EncodingType>"
	}
	return "<ListBucketResult>" + encoding + text.String() + "<IsTruncated>false</IsTruncated></ListBucketResult>"
}
