package vault

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func noFlags(string) string { return "" }

// inFolder makes a folder the working folder, with a home beside it.
func inFolder(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"VAULTPACK_VAULT", "VAULTPACK_LOCAL_KEY", "VAULTPACK_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "SUDO_UID"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Chdir(dir)
	return dir
}

// A configuration that somebody else can have written is refused.
func TestConfigOfOthers(t *testing.T) {
	dir := inFolder(t)
	file := filepath.Join(dir, ConfigName)
	write := func(mode os.FileMode) {
		t.Helper()
		os.Remove(file)
		if err := os.WriteFile(file, []byte("vault: theirs\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(0o644)
	if c, err := LoadConfig(noFlags); err != nil || c.Vault.Value != filepath.Join(dir, "theirs") {
		t.Fatalf("one's own: %v, %v", c, err)
	}
	write(0o666)
	if _, err := LoadConfig(noFlags); err == nil || !strings.Contains(err.Error(), "can be written by everybody") {
		t.Errorf("writable by everybody: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	write(0o644)
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(noFlags); err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 12345)") {
		t.Errorf("another user's: %v", err)
	}
	t.Setenv("SUDO_UID", "12345")
	if _, err := LoadConfig(noFlags); err != nil {
		t.Errorf("that of the user who called sudo: %v", err)
	}
}

func TestContextOfConfig(t *testing.T) {
	dir := inFolder(t)
	for n, ok := range map[int]bool{1: true, maxContext: true, maxContext + 1: false} {
		text := "context:\n"
		for i := range n {
			text += fmt.Sprintf("  name%d: value\n", i)
		}
		if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := LoadConfig(noFlags); (err == nil) != ok || err == nil && len(c.Context) != n {
			t.Errorf("%d pairs: %v", n, err)
		}
	}
}

// A key is made only where it locks nobody out: not beside sealed data.
func TestKeyIsMadeBesideNoData(t *testing.T) {
	dir := inFolder(t)
	cfg, err := LoadConfig(func(name string) string {
		return map[string]string{"vault": filepath.Join(dir, "v"), "local-key": filepath.Join(dir, "key")}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "v"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "v", "README"), []byte("a note"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, made, err := Init(t.Context(), cfg); err != nil || !made {
		t.Fatalf("beside a note: made %v, %v", made, err)
	}
	info, err := os.Stat(filepath.Join(dir, "key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "v/d/keys"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "v/d/keys/x.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "already holds data") {
		t.Errorf("beside data: %v", err)
	}
}

// The section provision is init's to read, and is kept as it is.
func TestProvisionSection(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("VAULTPACK_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	if err := os.WriteFile("vaultpack.yaml", []byte("vault: s3://data/ml\nprovision:\n  admins: [a]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Admins []string }
	if err := c.Provision.Decode(&got); err != nil || len(got.Admins) != 1 || got.Admins[0] != "a" || c.ProvisionSource != c.Files[0] {
		t.Errorf("got %+v, %v from %s", got, err, c.ProvisionSource)
	}
}
