package awsload

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/smithy-go/logging"
)

// The SDK writes nothing to standard error by itself.
func TestNoLogger(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, file)
	}
	cfg, err := Settings{Region: "eu-central-1"}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, silent := cfg.Logger.(logging.Nop); !silent {
		t.Errorf("the SDK logs by a %T", cfg.Logger)
	}
}
