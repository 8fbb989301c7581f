package envelope

import (
	"os/exec"
	"strings"
	"testing"
)

// Embedding this package costs the standard library, golang.org/x/crypto, and
// golang.org/x/sys, which that needs.
func TestDependencies(t *testing.T) {
	const module, self = "github.com/vaultpack/vaultpack/", "github.com/vaultpack/vaultpack/envelope"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", self).Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Fields(string(out))
	for _, path := range seen {
		if path != self && !strings.HasPrefix(path, self+"/internal/") && !strings.HasPrefix(path, module+"internal/") &&
			!strings.HasPrefix(path, "golang.org/x/crypto/") && !strings.HasPrefix(path, "golang.org/x/sys/") {
			t.Errorf("this package must not depend on %s", path)
		}
	}
	if !strings.Contains(string(out), "golang.org/x/crypto/argon2") {
		t.Fatalf("the list lacks what is known to be in it: %q", seen)
	}
}
