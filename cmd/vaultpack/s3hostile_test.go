package main

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// serveWith answers for an object with other bytes, in perfect order: whole and in
// ranges, with an ETag that fits. Of nil there is no such object.
func serveWith(b []byte) faultproxy.Action {
	return serveAs(fmt.Sprintf(`"%x"`, md5.Sum(b)), b, 1)
}

// serveAs is serve with the ETag, and the answer ends after a share of its body.
func serveAs(etag string, b []byte, share float64) faultproxy.Action {
	return func(x *faultproxy.Exchange) {
		h := http.Header{"Last-Modified": {"Tue, 24 Nov 2026 10:00:00 GMT"}, "X-Amz-Server-Side-Encryption": {"aws:kms"}}
		if b == nil {
			x.Answer(&faultproxy.Response{Status: http.StatusNotFound, Header: h})
			return
		}
		status, body := http.StatusOK, b
		var from, to int
		if n, _ := fmt.Sscanf(x.Request.Header.Get("Range"), "bytes=%d-%d", &from, &to); n > 0 {
			if n == 1 || to >= len(b) {
				to = len(b) - 1
			}
			if from > to {
				x.Answer(&faultproxy.Response{Status: http.StatusRequestedRangeNotSatisfiable, Header: h})
				return
			}
			status, body = http.StatusPartialContent, b[from:to+1]
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(b)))
		}
		h.Set("Etag", etag)
		h.Set("Content-Length", fmt.Sprint(len(body)))
		x.Answer(&faultproxy.Response{Status: status, Header: h, Body: body[:int(share*float64(len(body)))]})
	}
}

// inTurn answers the first request, and those after it, in different ways.
func inTurn(first, then faultproxy.Action) faultproxy.Action {
	var n atomic.Int64
	return func(x *faultproxy.Exchange) {
		if n.Add(1) == 1 {
			first(x)
		} else {
			then(x)
		}
	}
}

// listing changes the names in a listing.
func listing(change func(contents []string) []string) faultproxy.Action {
	contents := regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)
	return faultproxy.Change(func(r *faultproxy.Response) {
		body := string(r.Body)
		at := contents.FindAllStringIndex(body, -1)
		if len(at) == 0 {
			return
		}
		all := contents.FindAllString(body, -1)
		r.Body = []byte(body[:at[0][0]] + strings.Join(change(all), "") + body[at[len(at)-1][1]:])
		r.Header.Del("Content-Length")
	})
}

// segmentsOf cuts a sealed pack into its header and segments.
func segmentsOf(b []byte) (header []byte, segments [][]byte) {
	full := int(envelope.SealedSize(1<<20)) - envelope.HeaderSize - int(envelope.SealedSize(0)-envelope.HeaderSize)
	header = b[:envelope.HeaderSize]
	for rest := b[envelope.HeaderSize:]; len(rest) > 0; {
		n := min(full, len(rest))
		segments, rest = append(segments, rest[:n]), rest[n:]
	}
	return header, segments
}

// A deception is what a hostile store does to one object.
type deception struct {
	name   string
	do     faultproxy.Action
	inTurn bool // the object is there too
}

// deceptions are those for an object of which others of its kind are given.
func deceptions(good []byte, others map[string][]byte) (all []deception) {
	add := func(name string, b []byte) {
		if !bytes.Equal(b, good) {
			all = append(all, deception{name, serveWith(b), false})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		other := others[name]
		add("is "+name, other)
		all = append(all, deception{"is itself and then " + name, inTurn(serveWith(good), serveWith(other)), true},
			deception{"is " + name + " and then itself", inTurn(serveWith(other), serveWith(good)), true})
		// The same object, so its ETag says, and of the same size.
		same := slices.Concat(other, good)[:len(good)]
		all = append(all, deception{"breaks off and goes on as " + name, inTurn(serveAs("e", good, 0.5), serveAs("e", same, 1)), false})
		n := min(len(good), len(other)) / 2
		add("begins as "+name, slices.Concat(other[:n], good[n:]))
		add("ends as "+name, slices.Concat(good[:n], other[n:]))
		add("has the header of "+name, slices.Concat(other[:min(n, 64)], good[min(n, 64):]))
	}
	for _, n := range []int{0, 1, len(good) / 2, len(good) - 1} {
		add(fmt.Sprintf("is cut at %d", n), good[:n])
	}
	add("has a byte more", append(bytes.Clone(good), 0))
	add("is there twice", slices.Concat(good, good))
	flipped := bytes.Clone(good)
	flipped[len(good)/3] ^= 4
	add("has a bit flipped", flipped)
	all = append(all, deception{"is gone", serveWith(nil), false})
	if !bytes.HasPrefix(good, []byte("vaultpk1pack")) {
		return all
	}
	header, segs := segmentsOf(good)
	if len(segs) > 2 {
		add("is cut after a segment", slices.Concat(header, segs[0]))
		add("lacks its first segment", slices.Concat(header, slices.Concat(segs[1:]...)))
		add("has segments swapped", slices.Concat(header, segs[1], segs[0], slices.Concat(segs[2:]...)))
		add("has a segment twice", slices.Concat(header, segs[0], segs[0], slices.Concat(segs[2:]...)))
		for name, other := range others {
			if _, theirs := segmentsOf(other); len(theirs) > 2 {
				add("has a segment of "+name, slices.Concat(header, segs[0], theirs[1], slices.Concat(segs[2:]...)))
			}
		}
	}
	return all
}

// Whatever a store makes of the objects that it is asked for, what comes back is
// the version that was asked for, or authentication fails, and never is a byte
// written that the version does not have.
func TestHostileStore(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	sources := map[string]string{} // by DATASET@VERSION
	args := []string{"--pack-size", "3MiB"}
	for _, d := range []string{"one", "two"} {
		for v := 1; v <= 2; v++ {
			ref := fmt.Sprintf("%s@%d", d, v)
			src := filepath.Join(c.home, ref)
			sources[ref] = src
			// The same names and sizes everywhere, so that one could stand in for
			// another.
			for i := range 3 {
				write(t, filepath.Join(src, fmt.Sprintf("file%d", i)), fmt.Appendf(nil, "%s, file %d", ref, i))
			}
			write(t, filepath.Join(src, "large"), treetest.Bytes(5<<19, byte(len(sources))))
			c.upload(append([]string{src, "-d", d}, args...)...)
		}
	}
	store := c.store()
	byKind := map[string]map[string][]byte{}
	for name := range c.objects() {
		r, err := store.Get(t.Context(), name, 0, -1)
		check(t, err)
		b, err := io.ReadAll(r)
		check(t, err)
		kind := path.Base(path.Dir(name))
		if byKind[kind] == nil {
			byKind[kind] = map[string][]byte{}
		}
		byKind[kind][name] = b
	}
	if len(byKind["keys"]) != 2 || len(byKind["versions"]) != 4 || len(byKind["index"]) != 4 || len(byKind["packs"]) != 4 {
		t.Fatalf("objects: %d, %d, %d, %d", len(byKind["keys"]), len(byKind["versions"]), len(byKind["index"]), len(byKind["packs"]))
	}

	const ref = "one@2"
	v, err := c.open("one").Version(t.Context(), 2)
	check(t, err)
	cases := 0
	for _, name := range c.named(v) {
		kind := path.Base(path.Dir(name))
		others := maps.Clone(byKind[kind])
		good := others[name]
		delete(others, name)
		for _, d := range deceptions(good, others) {
			cases++
			t.Run(kind+" "+d.name, func(t *testing.T) {
				c := c.elsewhere(t)
				c.through(faultproxy.New(t, server.URL, server.Transport(), &fault{Op: "GetObject", Path: "/data/" + name, Times: -1, Do: d.do}).URL)
				out := filepath.Join(c.home, "out")
				code, output := c.try("restore", ref, out)
				nothingWrong(t, sources[ref], out)
				switch {
				case code == 0 && d.inTurn: // it was asked for once, or only the right part of it
					treetest.Equal(t, sources[ref], out)
				case code != exitAuthentication:
					t.Errorf("exit code %d\n%s", code, output)
				}
				if kind != "packs" {
					return
				}
				stdout, code := c.cat(ref, "large")
				want := string(read(t, filepath.Join(sources[ref], "large")))
				if !strings.HasPrefix(want, stdout) || code != exitAuthentication && (code != 0 || len(stdout) != len(want)) {
					t.Errorf("cat: exit code %d, %d bytes that are right: %v", code, len(stdout), strings.HasPrefix(want, stdout))
				}
			})
		}
	}
	t.Logf("%d deceptions", cases)

	// The list of versions is the store's word.
	root := func(n int) string { return fmt.Sprintf("one/versions/%010d.vpk", n) }
	hide := func(names ...string) fault {
		return fault{Op: "ListObjectsV2", Times: -1, Do: listing(func(all []string) []string {
			return slices.DeleteFunc(all, func(s string) bool {
				return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(s, n) })
			})
		})}
	}
	gone := func(n int) fault { return fault{Op: "GetObject", Path: root(n), Times: -1, Do: serveWith(nil)} }
	invent := fault{Op: "ListObjectsV2", Times: -1, Do: listing(func(all []string) []string {
		last := all[len(all)-1]
		if !strings.Contains(last, root(2)) {
			return all
		}
		return append(all, strings.Replace(last, root(2), root(3), 1))
	})}
	for _, r := range []struct {
		name   string
		args   []string
		faults []fault
		code   int
		ref    string // whose data comes, if any does
	}{
		{"the newest is hidden", []string{"one"}, []fault{hide(root(2))}, 0, "one@1"},
		{"the newest is hidden and remembered", []string{"one", "--at-least", "2"}, []fault{hide(root(2))}, exitAuthentication, ""},
		{"the newest is hidden and named", []string{"one@2"}, []fault{{Op: "GetObject", Path: root(2), Times: -1, Do: serveWith(byKind["versions"][root(2)])}}, 0, "one@2"},
		{"the newest is gone and remembered", []string{"one@2", "--at-least", "2"}, []fault{hide(root(2))}, exitAuthentication, ""},
		{"the newest is gone and named", []string{"one@2"}, []fault{hide(root(2)), gone(2)}, exitFailed, ""},
		{"the newest is listed and gone", []string{"one"}, []fault{gone(2)}, exitAuthentication, ""},
		{"all are hidden", []string{"one"}, []fault{hide(root(1), root(2))}, exitFailed, ""},
		{"all are hidden and remembered", []string{"one", "--at-least", "1"}, []fault{hide(root(1), root(2))}, exitAuthentication, ""},
		{"a third is invented from the second", []string{"one"},
			[]fault{invent, {Op: "GetObject", Path: root(3), Times: -1, Do: serveWith(byKind["versions"][root(2)])}}, exitAuthentication, ""},
		{"the first poses as the second", []string{"one", "--at-least", "2"},
			[]fault{{Op: "GetObject", Path: root(2), Times: -1, Do: serveWith(byKind["versions"][root(1)])}}, exitAuthentication, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := c.elsewhere(t)
			var faults []*fault
			for i := range r.faults {
				faults = append(faults, &r.faults[i])
			}
			c.through(faultproxy.New(t, server.URL, server.Transport(), faults...).URL)
			out := filepath.Join(c.home, "out")
			code, output := c.try(append([]string{"restore", "--json"}, append(r.args, out)...)...)
			if code != r.code {
				t.Fatalf("exit code %d, want %d\n%s", code, r.code, output)
			}
			if r.ref == "" {
				nothingWrong(t, t.TempDir(), out) // there is nothing at all
				return
			}
			treetest.Equal(t, sources[r.ref], out)
		})
	}
}

// cat runs vaultpack cat to its end.
func (c *cloud) cat(ref, name string) (stdout string, code int) {
	c.t.Helper()
	cmd := c.command("cat", ref, name)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
