package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
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

// A configuration that someone else can have written is refused.
func TestConfigOfOthers(t *testing.T) {
	dir := inFolder(t)
	file := filepath.Join(dir, FileName)
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
	if c, err := Load(noFlags); err != nil || c.Vault.Value != filepath.Join(dir, "theirs") {
		t.Fatalf("one's own: %v, %v", c, err)
	}
	write(0o666)
	if _, err := Load(noFlags); err == nil || !strings.Contains(err.Error(), "can be written by everyone") {
		t.Errorf("writable by everybody: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	write(0o644)
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(noFlags); err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 12345)") {
		t.Errorf("another user's: %v", err)
	}
	t.Setenv("SUDO_UID", "12345")
	if _, err := Load(noFlags); err != nil {
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
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(noFlags); (err == nil) != ok || err == nil && len(c.Context) != n {
			t.Errorf("%d pairs: %v", n, err)
		}
	}
}

// A key is made only where it locks nobody out: not beside sealed data.
func TestKeyIsMadeBesideNoData(t *testing.T) {
	dir := inFolder(t)
	cfg, err := Load(func(name string) string {
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
	c, err := Load(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Admins []string }
	if err := c.Provision.Decode(&got); err != nil || len(got.Admins) != 1 || got.Admins[0] != "a" || c.ProvisionSource != c.Files[0] {
		t.Errorf("got %+v, %v from %s", got, err, c.ProvisionSource)
	}
}

// Nobody else decides what a configuration says: not by a link to one's own, not by
// a folder above the file, the link or what it leads to, not by the files it names.
func TestConfigThroughLinks(t *testing.T) {
	dir := inFolder(t)
	mkdir := func(name string, mode os.FileMode) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(p, 0o755), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	own, sticky := mkdir("own", 0o755), mkdir("sticky", 0o777|os.ModeSticky)
	mkdir("shared", 0o777)
	text := []byte("vault: v\nlocal_key: ~/k\nrecipients: [r.pub]\n")
	for _, file := range []string{filepath.Join(own, FileName), filepath.Join(mkdir("shared/in", 0o755), FileName), filepath.Join(sticky, "file.yaml")} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mkdir("a/work", 0o755)
	link("../own/"+FileName, "a/"+FileName)
	mkdir("b/work", 0o755)
	link("../shared/hop", "b/"+FileName)
	link("../own/"+FileName, "shared/hop")
	mkdir("shared/work", 0o755)
	link("../own/"+FileName, "shared/"+FileName)
	mkdir("sticky/work", 0o755)
	link("../own/"+FileName, "sticky/"+FileName)
	mkdir("c", 0o755)
	link("../shared/in", "c/in")
	for folder, want := range map[string]string{
		"own": "", "a/work": "", "sticky/work": "", // one's own link to one's own file
		"b/work":      "shared can be written by everyone",
		"shared/work": "shared can be written by everyone",
		"shared/in":   "shared can be written by everyone",
		"c/in":        "shared can be written by everyone",
	} {
		t.Chdir(filepath.Join(dir, folder))
		c, err := Load(noFlags)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("in %s: %v; want an error with %q", folder, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("in %s: %v", folder, err)
			continue
		}
		if c.Vault.Value != filepath.Join(own, "v") || c.Recipients[0].Value != filepath.Join(own, "r.pub") || c.LocalKey.Value != filepath.Join(dir, "home/k") {
			t.Errorf("in %s: vault %s, recipient %s, key %s; want them beside the file itself, and in the home", folder, c.Vault.Value, c.Recipients[0].Value, c.LocalKey.Value)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	// In a folder like /tmp, it is the owner of the link that counts.
	if err := os.Lchown(filepath.Join(sticky, FileName), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(sticky, "work"))
	if _, err := Load(noFlags); err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 12345)") {
		t.Errorf("another user's link in a sticky folder: %v", err)
	}
}

// Keys that a configuration names are such as nobody else can write, and a secret is
// one's own, however it was named.
func TestKeysOfOthers(t *testing.T) {
	dir := inFolder(t)
	id, err := envelope.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	secret, public := filepath.Join(dir, "key"), filepath.Join(dir, "pub")
	shared := filepath.Join(dir, "shared")
	if err := errors.Join(os.WriteFile(secret, id.EncodeSecret(), 0o600), os.WriteFile(public, id.Recipient().Encode(), 0o644),
		os.Mkdir(shared, 0o755), os.Chmod(shared, 0o777), os.Symlink(public, filepath.Join(shared, "pub")), os.Symlink(secret, filepath.Join(shared, "key"))); err != nil {
		t.Fatal(err)
	}
	file, flag := filepath.Join(dir, FileName), "flag --identity"
	read := func(name, source string) error {
		var err error
		if s := (Setting{Value: name, Source: source}); strings.HasSuffix(name, "pub") {
			_, err = ReadRecipient(s)
		} else {
			_, err = readIdentity(s)
		}
		return err
	}
	for _, name := range []string{public, secret} {
		if err := errors.Join(read(name, file), read(name, flag)); err != nil {
			t.Errorf("one's own: %v", err)
		}
		if err := read(filepath.Join(shared, filepath.Base(name)), file); err == nil || !strings.Contains(err.Error(), "can be written by everyone") {
			t.Errorf("by a link that others can change: %v", err)
		}
	}
	if err := read(filepath.Join(shared, "pub"), flag); err != nil {
		t.Errorf("named by hand: %v", err)
	}
	if err := os.Chmod(public, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := read(public, file); err == nil {
		t.Error("a recipient that everybody can write was taken from a configuration")
	}
	for _, mode := range []os.FileMode{0o640, 0o620, 0o610, 0o604, 0o601} {
		if err := os.Chmod(secret, mode); err != nil {
			t.Fatal(err)
		}
		if err := read(secret, file); err == nil || read(secret, flag) == nil || !strings.Contains(err.Error(), "chmod 600 "+secret) {
			t.Errorf("a secret of mode %v: %v", mode, err)
		}
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	for _, name := range []string{public, secret} {
		if err := os.Chown(name, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if err := read(name, file); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
			t.Errorf("another user's %s: %v", filepath.Base(name), err)
		}
	}
	if err := read(secret, flag); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("another user's secret, named by hand: %v", err)
	}
}

// Without a home directory everything works that is named.
func TestNoHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("VAULTPACK_HOME", "")
	t.Chdir(t.TempDir())
	for want, flags := range map[string]map[string]string{
		"":  {"vault": "v", "local-key": "k"},
		"a": {"vault": "s3://bucket/p", "kms-key": "alias/a"},
	} {
		c, err := Load(func(name string) string { return flags[name] })
		if err != nil || want != "" && c.KMSKeys[0].Value != "alias/"+want {
			t.Errorf("%v: %v", flags, err)
		}
	}
	for _, flags := range []map[string]string{{}, {"vault": "v"}, {"local-key": "k"}} {
		if _, err := Load(func(name string) string { return flags[name] }); err == nil {
			t.Errorf("%v is enough without a home directory", flags)
		}
	}
}
