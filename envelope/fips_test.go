package envelope

import (
	"context"
	"crypto/fips140"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Under GODEBUG=fips140=only every way in says what is refused, and why.
func TestFIPSOnly(t *testing.T) {
	if !fips140.Enforced() {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestFIPSOnly$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFIPSOnly") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	ctx := context.Background()
	pass, err := NewPassphrase([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func() error{
		"Seal": func() error {
			_, err := Seal(ctx, io.Discard, nil, GenerateLocalKey())
			return err
		},
		"a local key":  func() error { _, err := GenerateLocalKey().Wrap(ctx, make([]byte, 32), nil); return err },
		"a passphrase": func() error { _, err := pass.Wrap(ctx, make([]byte, 32), nil); return err },
		"an identity":  func() error { _, err := GenerateIdentity(); return err },
		"a Writer": func() error {
			w, err := NewWriter(io.Discard, KindFile, makeDataKey(KeyID{}, make([]byte, 32)))
			if err != nil {
				return err
			}
			return w.Close()
		},
	}
	for what, way := range ways {
		if err := way(); err == nil || !strings.Contains(err.Error(), "GODEBUG=fips140=only refuses") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
