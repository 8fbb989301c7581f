package mount_test

import (
	"os"
	"testing"

	"github.com/vaultpack/vaultpack/internal/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	leaktest.Main(m)
}
