// Package vectortest loads the public test vectors of Cobblestone-256.
package vectortest

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"slices"
	"testing"
)

// A Vector is one of them.
type Vector struct {
	ID        int      `json:"tcId"`
	Comment   string   `json:"comment"`
	Key       hexBytes `json:"key"`
	Context   hexBytes `json:"ctx"`
	Message   hexBytes `json:"ct"`
	AEADKey   hexBytes `json:"aeadKey"`
	BaseNonce hexBytes `json:"baseNonce"`
	Length    *int64   `json:"msgLength"`
	SHA512    hexBytes `json:"msgSha512"`
	Result    string   `json:"result"`
	Flags     []string `json:"flags"`
}

// Has reports whether the vector has the flag.
func (v Vector) Has(flag string) bool { return slices.Contains(v.Flags, flag) }

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// Load reads the vectors, whose file lies at path, and fails the test unless
// all that are known to be there are found.
func Load(t testing.TB, path string) []Vector {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []struct{ Tests []Vector }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var all []Vector
	for _, g := range file.TestGroups {
		all = append(all, g.Tests...)
	}
	if len(all) != 35 || file.NumberOfTests != len(all) {
		t.Fatalf("found %d vectors, the file says %d, want 35", len(all), file.NumberOfTests)
	}
	for i := range all {
		z, err := zlib.NewReader(bytes.NewReader(all[i].Message))
		if err != nil {
			t.Fatal(err)
		}
		if all[i].Message, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// CheckReleased compares what a path released with what the vector allows.
func (v Vector) CheckReleased(t testing.TB, got []byte) {
	t.Helper()
	if v.Length == nil {
		if len(got) != 0 {
			t.Errorf("released %d bytes, want none", len(got))
		}
		return
	}
	if sum := sha512.Sum512(got); int64(len(got)) != *v.Length || !bytes.Equal(sum[:], v.SHA512) {
		t.Errorf("released %d bytes, want the %d of the vector", len(got), *v.Length)
	}
}
