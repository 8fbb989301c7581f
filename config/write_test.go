package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/config"
)

func TestWriteConfig(t *testing.T) {
	change := config.Change{Vault: "s3://data/ml", KMSKeys: []string{"arn:1"}, Region: "eu-central-1",
		Provision: map[string]any{"name": "ml", "admins": []string{"a"}}}
	for name, test := range map[string]struct{ old, want string }{
		"none": {"", `vault: s3://data/ml
kms_keys:
  - arn:1
s3:
  region: eu-central-1
provision:
  admins:
    - a
  name: ml
`},
		"comments": {`# ours
vault: s3://data/ml/   # the team's
kms_keys: # both
  - arn:0   # old
s3:
  # not on Sundays
  storage_class: STANDARD_IA
  region: us-east-1 # wrong
context:
  project: scans # public
provision:
  # who decides
  admins: [b]
  users: [c] # gone
`, `# ours
vault: s3://data/ml/ # the team's
kms_keys: # both
  - arn:1
s3:
  # not on Sundays
  storage_class: STANDARD_IA
  region: eu-central-1 # wrong
context:
  project: scans # public
provision:
  # who decides
  admins:
    - a
  name: ml
`},
		"comments alone": {"# nothing yet\n", `# nothing yet
vault: s3://data/ml
kms_keys:
  - arn:1
s3:
  region: eu-central-1
provision:
  admins:
    - a
  name: ml
`},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "vaultpack.yaml")
			if test.old != "" {
				if err := os.WriteFile(file, []byte(test.old), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if written, err := config.Write(file, change); err != nil || !written {
				t.Fatalf("written %v, %v", written, err)
			}
			got, err := os.ReadFile(file)
			if err != nil || string(got) != test.want {
				t.Errorf("got, %v:\n%s\nwant:\n%s", err, got, test.want)
			}
			if info, err := os.Stat(file); test.old != "" && (err != nil || info.Mode().Perm() != 0o600) {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
			if written, err := config.Write(file, change); err != nil || written {
				t.Errorf("the second time: written %v, %v", written, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "vaultpack.yaml")
	if err := os.WriteFile(file, []byte("vault: ./local\nkms_keys: [arn:1, arn:2]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Write(file, change); !errors.Is(err, config.ErrOtherVault) {
		t.Errorf("a file about another vault: %v", err)
	}
}
