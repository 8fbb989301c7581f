// Package s3api lets programs that speak S3's protocol read the versions of datasets: it
// lists buckets and objects and sends objects, whole or in part. Every request must be
// signed (Signature Version 4). Whatever would write is denied.
//
// A dataset is a bucket, in its newest version; NAME.vN is version N (see
// [serve.BucketName]). A file is an object, whose version ID is the number of the version. A
// symbolic link is the object that it leads to, if that is a file of the version, and is
// left out otherwise. Folders are no objects: those with files are what the keys have in
// common.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
package s3api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/serve"
)

// Region is what the server says that it is in. It accepts signatures for any.
const Region = "us-east-1"

// A Failed function is told of an object that could not be read or sent whole.
type Failed func(dataset, path string, err error)

type handler struct {
	catalog     *serve.Catalog
	credentials serve.Credentials
	failed      Failed
	now         func() time.Time
	began       time.Time
}

// New returns a handler of the requests of clients that have the credentials. It calls
// failed, also from several goroutines at one time, for what the vault or its data are to
// blame for.
func New(c *serve.Catalog, credentials serve.Credentials, failed Failed) (http.Handler, error) {
	if c == nil || failed == nil || credentials.AccessKeyID == "" || credentials.SecretAccessKey == "" {
		return nil, errors.New("s3api: a catalog, credentials and a function for failures are required")
	}
	return &handler{catalog: c, credentials: credentials, failed: failed, now: time.Now, began: time.Now()}, nil
}

// A request is one that was authorized.
type request struct {
	*http.Request
	query   url.Values
	bucket  string
	key     string
	dataset string
	number  int64 // of the version; 0 is the newest
	pinned  bool  // by the bucket's name
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var id [8]byte
	rand.Read(id[:]) // it never fails
	header := w.Header()
	header.Set("X-Amz-Request-Id", strings.ToUpper(hex.EncodeToString(id[:])))
	header.Set("Server", "vaultpack")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	header.Set("Cache-Control", "no-store")
	if err := h.serve(w, r); err != nil {
		f := of(err)
		if f != errNotModified { // it is not of the object
			for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "X-Amz-Version-Id", "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Type"} {
				header.Del(name)
			}
		}
		f.write(w, r)
	}
}

// serve answers a request, or returns why it has not.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	if err := h.authorize(r); err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return errAccessDenied
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	req := &request{Request: r, query: r.URL.Query(), bucket: bucket, key: key}
	if bucket == "" {
		return h.listBuckets(w, req)
	}
	var ok bool
	if req.dataset, req.number, ok = h.catalog.Bucket(bucket); !ok {
		return errNoBucket
	}
	req.pinned = req.number != 0
	var err error
	if key == "" {
		err = h.ofBucket(w, req)
	} else {
		err = h.getObject(w, req)
	}
	if err != nil && !of(err).expected() && r.Context().Err() == nil {
		h.failed(req.dataset, req.key, err)
	}
	return err
}

// What may stand in a query. Anything else asks for something that this server does not do.
var (
	anyQuery    = []string{"x-id"}
	listQuery   = []string{"list-type", "prefix", "delimiter", "continuation-token", "start-after", "marker", "max-keys", "encoding-type", "fetch-owner"}
	versQuery   = []string{"versions", "prefix", "delimiter", "key-marker", "version-id-marker", "max-keys", "encoding-type"}
	objectQuery = []string{"versionId", "partNumber"}
)

// asks returns errNotImplemented if the query has a name that is not allowed. Those of a
// presigned URL are.
func (r *request) asks(allowed []string) error {
	for name := range r.query {
		if !slices.Contains(allowed, name) && !slices.Contains(anyQuery, name) && !strings.HasPrefix(name, "X-Amz-") {
			return errNotImplemented
		}
	}
	return nil
}

func (h *handler) ofBucket(w http.ResponseWriter, r *request) error {
	switch {
	case r.query.Has("location"):
		return h.exists(r, func() error { return writeXML(w, http.StatusOK, location{Xmlns: xmlns}) })
	case r.query.Has("versioning"):
		return h.exists(r, func() error { return writeXML(w, http.StatusOK, versioning{Xmlns: xmlns, Status: "Enabled"}) })
	case r.Method == http.MethodHead:
		return h.exists(r, func() error {
			w.Header().Set("X-Amz-Bucket-Region", Region)
			w.WriteHeader(http.StatusOK)
			return nil
		})
	case r.query.Has("versions"):
		return h.listVersions(w, r)
	}
	return h.listObjects(w, r)
}

// exists calls then if the bucket's version can be read.
func (h *handler) exists(r *request, then func() error) error {
	if _, err := h.catalog.Version(r.Context(), r.dataset, r.number); err != nil {
		return err
	}
	return then()
}

func (h *handler) listBuckets(w http.ResponseWriter, r *request) error {
	if err := r.asks([]string{"max-buckets", "prefix", "continuation-token", "bucket-region"}); err != nil {
		return err
	}
	out := buckets{Xmlns: xmlns, Owner: owner{ID: "vaultpack", DisplayName: "vaultpack"}}
	for _, name := range h.catalog.Names() {
		if b := serve.BucketName(name); strings.HasPrefix(b, r.query.Get("prefix")) {
			out.Buckets = append(out.Buckets, bucketItem{Name: b, CreationDate: xmlTime(h.began), BucketRegion: Region})
		}
	}
	return writeXML(w, http.StatusOK, out)
}
