package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/vaultpack/vaultpack/internal/s3test"
)

// A host stands in for the test that s3test starts a server for: it ends when
// close is called.
type host struct {
	testing.TB // for what s3test does not use
	dir        string
	cleanups   []func()
}

// A hostError is the error that a host fails with.
type hostError struct{ err error }

func (h *host) Helper()          {}
func (h *host) TempDir() string  { return h.dir }
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(args ...any) {
	panic(hostError{fmt.Errorf("%s", fmt.Sprint(args...))})
}
func (h *host) Fatalf(format string, args ...any) { panic(hostError{fmt.Errorf(format, args...)}) }
func (h *host) Skipf(format string, args ...any)  { h.Fatalf(format, args...) }

func (h *host) close() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	os.RemoveAll(h.dir)
}

// minio starts a server with a bucket, over http.
func (b *bench) minio() (server *s3test.Server, bucket string, stop func(), err error) {
	dir, err := os.MkdirTemp(b.dir, "minio-")
	if err != nil {
		return nil, "", nil, err
	}
	h := &host{dir: dir}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case hostError:
			h.close()
			err = r.err
		default:
			h.close()
			panic(r)
		}
	}()
	server = s3test.MinIO(h, false)
	return server, server.Bucket(h), h.close, nil
}
