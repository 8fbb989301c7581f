package kmstest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Client returns an SDK client that calls the server in process, in the Region
// and as the principal of the access key ID.
func (s *Server) Client(region, accessKeyID string, optFns ...func(*kms.Options)) *kms.Client {
	return kms.New(kms.Options{
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(accessKeyID, "not a secret", ""),
		BaseEndpoint: aws.String("http://kmstest.invalid"),
		HTTPClient:   &http.Client{Transport: s},
	}, optFns...)
}

// RoundTrip handles a request in process.
func (s *Server) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if req.Body == nil {
		req = req.Clone(req.Context())
		req.Body = http.NoBody
	}
	defer req.Body.Close()
	w := &recorder{header: http.Header{}, code: http.StatusOK}
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler {
				panic(e)
			}
			if resp, err = nil, req.Context().Err(); err == nil {
				err = io.ErrUnexpectedEOF
			}
		}
	}()
	s.ServeHTTP(w, req)
	return &http.Response{
		Status: http.StatusText(w.code), StatusCode: w.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: req,
	}, nil
}

// A recorder is an [http.ResponseWriter] in memory.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
