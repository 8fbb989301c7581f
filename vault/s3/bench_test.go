package s3store_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// A sink answers as S3 does, and keeps nothing but the sizes of parts: what it
// is sent with is the client's own ceiling.
type sink struct{ size atomic.Int64 }

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Length", strconv.FormatInt(s.size.Load(), 10))
	case q.Has("uploads"):
		s.size.Store(0)
		io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPost:
		io.WriteString(w, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
	case q.Has("partNumber"):
		w.Header().Set("ETag", `"e"`)
		s.size.Add(n)
	default:
		s.size.Store(n)
	}
}

func BenchmarkS3Sink(b *testing.B) {
	const size = 1 << 30
	segment := make([]byte, 1<<20)
	server := httptest.NewTLSServer(&sink{})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	plain := httptest.NewServer(&sink{})
	b.Cleanup(func() { server.Close(); plain.Close() })
	for name, url := range map[string]string{"http": plain.URL, "https": server.URL} {
		s := openS3(b, "s3://bucket", s3store.Settings{Endpoint: url, SSE: s3store.SSENone, LoadOptions: (&s3test.Server{
			CA: ca, Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				err := s.Put(b.Context(), "x", func(w io.Writer) error {
					for range size / len(segment) {
						if _, err := w.Write(segment); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkS3 sends and gets an object of 1 GiB, as the store does it and with
// the SDK's plain calls, from and to memory, on one MinIO without SSE.
func BenchmarkS3(b *testing.B) {
	const size = 1 << 30
	for name, https := range map[string]bool{"http": false, "https": true} {
		server := s3test.MinIO(b, https)
		set := settings(server)
		set.SSE, set.KMSKey = s3store.SSENone, ""
		bucket, key := server.Bucket(b), "plain"
		s, client := openS3(b, "s3://"+bucket, set), server.Client(b)
		data := make([]byte, size)
		segment := data[:1<<20]
		for _, c := range []struct {
			name string
			op   func() error
		}{
			{"put/plain", func() error {
				_, err := client.PutObject(b.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
				return err
			}},
			{"put/store", func() error {
				return s.Put(b.Context(), "store", func(w io.Writer) error {
					for range size / len(segment) {
						if _, err := w.Write(segment); err != nil {
							return err
						}
					}
					return nil
				})
			}},
			{"get/plain", func() error {
				out, err := client.GetObject(b.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
				if err != nil {
					return err
				}
				defer out.Body.Close()
				_, err = io.Copy(io.Discard, out.Body)
				return err
			}},
			{"get/store", func() error {
				r, err := s.Get(b.Context(), "store", 0, -1)
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.Copy(io.Discard, r)
				return err
			}},
			{"get/store ranges", func() error {
				for off := int64(0); off < size; off += 64 << 20 {
					r, err := s.Get(b.Context(), "store", off, 64<<20)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, r)
					r.Close()
					if err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			if https && c.name == "put/plain" {
				key = "store" // MinIO refuses the SDK's single chunk of 1 GiB
				continue
			}
			b.Run(name+"/"+c.name, func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					if err := c.op(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
