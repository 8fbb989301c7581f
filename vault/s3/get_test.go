package s3store_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// A server may send something else than it was asked for, or than it began to send.
// Whatever it does, what is read is the object, or a prefix of it and an error.
func TestAnswersToGet(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64nvme.Checksum(data)))
	type answer func(w http.ResponseWriter, r *http.Request, try int)
	send := func(w http.ResponseWriter, etag, contentRange string, length int, body []byte) {
		h := w.Header()
		h.Set("ETag", etag)
		if contentRange != "" {
			h.Set("Content-Range", contentRange)
		}
		h.Set("Content-Length", fmt.Sprint(length))
		if contentRange != "" {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(body)
	}
	// rest is the honest answer for what is asked for from the byte from on.
	from := func(r *http.Request) (n int) {
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &n)
		return n
	}
	rest := func(w http.ResponseWriter, r *http.Request, etag string) {
		n := from(r)
		send(w, etag, fmt.Sprintf("bytes %d-%d/%d", n, len(data)-1, len(data)), len(data)-n, data[n:])
	}
	half := len(data) / 2
	tests := map[string]struct {
		off, n int64
		answer answer
		ok     bool
	}{
		"whole": {0, -1, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("X-Amz-Checksum-Crc64nvme", sum)
			send(w, `"a"`, "", len(data), data)
		}, true},
		"another object": {0, -1, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("X-Amz-Checksum-Crc64nvme", sum)
			send(w, `"a"`, "", len(data), bytes.ToUpper(data))
		}, false},
		"a range": {5, 7, func(w http.ResponseWriter, r *http.Request, _ int) {
			if got := r.Header.Get("Range"); got != "bytes=5-11" {
				t.Errorf("it asks for %q", got)
			}
			send(w, `"a"`, fmt.Sprintf("bytes 5-11/%d", len(data)), 7, data[5:12])
		}, true},
		"another range": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 6-12/%d", len(data)), 7, data[6:13])
		}, false},
		"an earlier range": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 4-10/%d", len(data)), 7, data[4:11])
		}, false},
		"a range of another length": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 5-11/%d", len(data)), 6, data[5:11])
		}, false},
		"a longer range": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 5-12/%d", len(data)), 8, data[5:13])
		}, false},
		"a range said to be shorter": {5, -1, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 5-9/%d", len(data)), len(data)-5, data[5:])
		}, false},
		"less than the rest": {5, -1, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 5-9/%d", len(data)), 5, data[5:10])
		}, false},
		"less than the range": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes 5-9/%d", len(data)), 5, data[5:10])
		}, false},
		"the end of the object": {int64(len(data)) - 5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, fmt.Sprintf("bytes %d-%d/%d", len(data)-5, len(data)-1, len(data)), 5, data[len(data)-5:])
		}, true},
		"all for a range": {5, 7, func(w http.ResponseWriter, _ *http.Request, _ int) {
			send(w, `"a"`, "", len(data), data)
		}, false},
		"broken off once": {0, -1, func(w http.ResponseWriter, r *http.Request, try int) {
			if try == 1 {
				send(w, `"a"`, "", len(data), data[:half])
				return
			}
			if got := r.Header.Get("If-Match"); got != `"a"` || from(r) != half {
				t.Errorf("it goes on with %s of the object %q", r.Header.Get("Range"), got)
			}
			rest(w, r, `"a"`)
		}, true},
		"broken off, then another object": {0, -1, func(w http.ResponseWriter, r *http.Request, try int) {
			if try == 1 {
				send(w, `"a"`, "", len(data), data[:half])
				return
			}
			rest(w, r, `"b"`)
		}, false},
		"broken off for ever": {0, -1, func(w http.ResponseWriter, r *http.Request, try int) {
			if try > 50 {
				t.Errorf("it asks %d times", try)
			}
			n := from(r)
			if try == 1 {
				send(w, `"a"`, "", len(data), data[:1])
				return
			}
			send(w, `"a"`, fmt.Sprintf("bytes %d-%d/%d", n, len(data)-1, len(data)), len(data)-n, data[n:n+1])
		}, false},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			try := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if try++; try > 100 {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				c.answer(w, r, try)
			}))
			defer server.Close()
			s := openS3(t, "s3://bucket/p", s3store.Settings{Endpoint: server.URL, SSE: s3store.SSENone, Attempts: 3, MaxBackoff: time.Millisecond,
				LoadOptions: (&s3test.Server{Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
			end := int64(len(data))
			if c.n >= 0 {
				end = min(end, c.off+c.n)
			}
			want := string(data[c.off:end])
			var got []byte
			r, err := s.Get(t.Context(), "d/o", c.off, c.n)
			if err == nil {
				got, err = io.ReadAll(r)
				r.Close()
			}
			switch {
			case c.ok && (err != nil || string(got) != want):
				t.Errorf("%d bytes, %v", len(got), err)
			case !c.ok && err == nil:
				t.Errorf("%d bytes are taken", len(got))
			case !c.ok && name != "another object" && !strings.HasPrefix(want, string(got)):
				t.Errorf("%d bytes that are not the object's, %v", len(got), err)
			}
		})
	}
}
