package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A sink implements as much of S3 as an upload needs, and discards the contents of
// packs: the speed at which a client feeds it is the client's own limit. It checks
// neither signatures nor checksums. It keeps what vaultpack reads back.
type sink struct {
	mu      sync.Mutex
	etags   int
	objects map[string]*sunk
	uploads map[string]*sunk
}

// A sunk is an object, or one being uploaded.
type sunk struct {
	size     int64
	body     []byte
	etag     string
	sse, key string
	at       time.Time
}

func newSink() *sink { return &sink{objects: map[string]*sunk{}, uploads: map[string]*sunk{}} }

// kept reports whether the object is read back: everything in a vault except packs.
func kept(key string) bool {
	return slices.ContainsFunc([]string{"/keys/", "/index/", "/versions/", "/pending/"}, func(s string) bool { return strings.Contains(key, s) })
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var body bytes.Buffer
	dst := io.Discard
	if r.Method == http.MethodPut && kept(key) {
		dst = &body
	}
	n, err := io.Copy(dst, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		id := strconv.Itoa(len(s.uploads) + 1)
		s.uploads[id] = s.begin(r)
		answer(w, struct {
			XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
			UploadId string
		}{UploadId: id})
	case r.Method == http.MethodPost && q.Has("uploadId"):
		s.objects[key] = s.uploads[q.Get("uploadId")]
		answer(w, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
			ETag    string
		}{ETag: `"e"`})
	case r.Method == http.MethodPut && q.Has("partNumber"):
		up := s.uploads[q.Get("uploadId")]
		if up == nil {
			refuse(w, http.StatusNotFound, "NoSuchUpload")
			return
		}
		up.size += n
		w.Header().Set("ETag", `"e"`)
	case r.Method == http.MethodPut && (r.Header.Get("If-None-Match") == "*" && o != nil || r.Header.Get("If-Match") != "" && (o == nil || r.Header.Get("If-Match") != o.etag)):
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut:
		o := s.begin(r)
		o.size, o.body = n, body.Bytes()
		s.objects[key] = o
		w.Header().Set("ETag", o.etag)
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && q.Has("uploads"):
		answer(w, struct {
			XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		}{})
	case r.Method == http.MethodGet && key == "":
		s.list(w, q.Get("prefix"), q.Get("delimiter"))
	case o == nil || r.Method == http.MethodGet && o.body == nil:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("ETag", o.etag)
		w.Header().Set("X-Amz-Server-Side-Encryption", o.sse)
		w.Header().Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", o.key)
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", strconv.FormatInt(o.size, 10))
			w.Header().Set("Last-Modified", o.at.Format(http.TimeFormat))
			return
		}
		http.ServeContent(w, r, "", o.at, bytes.NewReader(o.body))
	}
}

func (s *sink) begin(r *http.Request) *sunk {
	s.etags++
	return &sunk{etag: fmt.Sprintf("%q", strconv.Itoa(s.etags)), at: time.Now().UTC(),
		sse: r.Header.Get("X-Amz-Server-Side-Encryption"), key: r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")}
}

// list answers with everything in one page.
func (s *sink) list(w http.ResponseWriter, prefix, delimiter string) {
	type contents struct {
		Key          string
		Size         int64
		LastModified string
	}
	type common struct{ Prefix string }
	page := struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		IsTruncated    bool
		Contents       []contents
		CommonPrefixes []common
	}{}
	folders := map[string]bool{}
	for key, o := range s.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if folder, _, deeper := strings.Cut(rest, "/"); delimiter != "" && deeper {
			folders[prefix+folder+"/"] = true
			continue
		}
		page.Contents = append(page.Contents, contents{key, o.size, o.at.Format(time.RFC3339)})
	}
	for f := range folders {
		page.CommonPrefixes = append(page.CommonPrefixes, common{f})
	}
	slices.SortFunc(page.Contents, func(a, b contents) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(page.CommonPrefixes, func(a, b common) int { return strings.Compare(a.Prefix, b.Prefix) })
	answer(w, page)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}
