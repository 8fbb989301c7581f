package verify_test

import (
	"testing"

	"github.com/vaultpack/vaultpack/internal/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}
