//go:build !linux

package vault_test

import (
	"os"
	"testing"
)

func asNobody(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
}
