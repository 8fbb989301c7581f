package s3store_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// What is no answer to a listing is none without contents. A server that does not know
// a parameter gives another listing; one that is no S3 gives a page.
func TestListingsOfOtherAnswers(t *testing.T) {
	answers := map[string]string{
		"nothing":         "",
		"a page":          "<!DOCTYPE html><html><head><title>Log in</title></head><body/></html>",
		"a page of HTML":  "<!doctype html><HTML><p>Log in<br>",
		"JSON":            `{"uploads": []}`,
		"an error":        "<Error><Code>NotImplemented</Code></Error>",
		"cut off":         "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<List",
		"a comment":       "<!-- " + strings.Repeat("x", 5000) + " -->",
		"another listing": "<ListBucketResult><Name>bucket</Name><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
	}
	roots := map[string]string{"objects": "ListBucketResult", "folders": "ListBucketResult", "old versions": "ListVersionsResult", "unfinished uploads": "ListMultipartUploadsResult"}
	var answer string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) }))
	defer server.Close()
	s := openS3(t, "s3://bucket/p", s3store.Settings{Endpoint: server.URL, SSE: s3store.SSENone, Attempts: 1, MaxBackoff: time.Millisecond,
		LoadOptions: (&s3test.Server{Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
	for what, list := range map[string]func() error{
		"objects": func() (err error) {
			for _, err = range s.List(t.Context(), "d/") {
			}
			return err
		},
		"folders":            func() error { _, err := s.Folders(t.Context(), ""); return err },
		"old versions":       func() error { _, err := s.CountOld(t.Context(), "d/"); return err },
		"unfinished uploads": func() error { _, err := s.CountStale(t.Context(), "d/", 0); return err },
	} {
		for name, a := range answers {
			if answer = a; name == "another listing" && roots[what] == "ListBucketResult" {
				continue
			}
			if err := list(); err == nil || !strings.Contains(err.Error(), "what answered is no S3") {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
		answer = "<?xml version=\"1.0\"?>\n<" + roots[what] + ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></` + roots[what] + ">"
		if err := list(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
