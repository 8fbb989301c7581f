package faultproxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
)

// A recorder is a test that only notes its errors.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(s string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(s, args...))
}

// A fault that is not met, or less often than scripted, fails the test, and one
// that is hits just the requests that it names.
func TestFaultsAreMet(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "served") }))
	defer server.Close()
	for _, c := range []struct {
		fault faultproxy.Fault
		want  string // the statuses of five requests
		met   bool
	}{
		{faultproxy.Fault{Op: "GetObject"}, "500 200 200 200 200", true},
		{faultproxy.Fault{Op: "GetObject", First: 2, Times: 2}, "200 500 500 200 200", true},
		{faultproxy.Fault{Path: "/b/3"}, "200 200 200 500 200", true},
		{faultproxy.Fault{Times: -1}, "500 500 500 500 500", true},
		{faultproxy.Fault{Op: "GetObject", First: 4, Times: 3}, "200 200 200 500 500", false},
		{faultproxy.Fault{Op: "GetObject", First: 6, Times: -1}, "200 200 200 200 200", false},
		{faultproxy.Fault{Op: "PutObject"}, "200 200 200 200 200", false},
	} {
		c.fault.Do = faultproxy.Refuse(500, "InternalError")
		rec := &recorder{TB: t}
		p := faultproxy.New(rec, server.URL, server.Client().Transport, &c.fault)
		var got []string
		for i := range 5 {
			resp, err := http.Get(fmt.Sprintf("%s/b/%d", p.URL, i))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if resp.Body.Close(); err != nil || (resp.StatusCode == 200) != (string(b) == "served") {
				t.Errorf("status %d with %q, %v", resp.StatusCode, b, err)
			}
			got = append(got, fmt.Sprint(resp.StatusCode))
		}
		if p.Count("GetObject") != 5 {
			t.Errorf("the operations were %q", p.Ops())
		}
		for _, f := range rec.cleanups {
			f()
		}
		if strings.Join(got, " ") != c.want || (len(rec.errors) == 0) != c.met {
			t.Errorf("%+v: statuses %q, complaints %q", c.fault, got, rec.errors)
		}
	}
}
