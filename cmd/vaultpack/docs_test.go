package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"github.com/vaultpack/vaultpack/internal/race"
)

// The commands of docs/KEYS.md do what the page says, in their order.
func TestKeysPage(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	page, err := os.ReadFile("../../docs/KEYS.md")
	check(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 9 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	dir := t.TempDir()
	team, colleague := filepath.Join(dir, "team"), filepath.Join(dir, "colleague")
	check(t, os.Mkdir(team, 0o755))
	sh := func(in, script string) (string, error) {
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir, cmd.Env = in, append(os.Environ(), "XDG_STATE_HOME=", "HOME="+filepath.Join(dir, "home"))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	reads := func(in string, want bool, args string) {
		t.Helper()
		if out, err := sh(in, "vaultpack cat scans a "+args); (err == nil && out == "contents\n") != want {
			t.Errorf("reading in %s %s: %q, %v; want it read: %v", in, args, out, err, want)
		}
	}
	for i, b := range blocks {
		script := string(b[1])
		if out, err := sh(team, script); err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		} else if strings.Contains(script, "keys reseal") && !strings.Contains(out, "vaultpack rm scans@2") {
			t.Errorf("reseal does not name the versions to remove:\n%s", out)
		}
		switch {
		case strings.Contains(script, "restore scans out"):
			reads(colleague, true, "")
		case i == len(blocks)-1:
			reads(colleague, false, "")
			reads(team, false, "--local-key ../lost.key")
			reads(team, true, "")
			reads(colleague, true, "--identity ../safe/recovery.key")
		}
	}
	out, err := sh(team, "vaultpack keys list scans")
	if err != nil || strings.Count(out, "data key") != 1 {
		t.Errorf("%v, and in the end:\n%s", err, out)
	}
}

// The commands of docs/SIGNERS.md do what the page says, in their order: in HOMEs of the
// team and of the colleague.
func TestSignersPage(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	page, err := os.ReadFile("../../docs/SIGNERS.md")
	check(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(page, -1)
	dir := t.TempDir()
	team := filepath.Join(dir, "team")
	check(t, os.Mkdir(team, 0o755))
	sh := func(in, home, script string) (string, error) {
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir, cmd.Env = in, append(os.Environ(), "XDG_STATE_HOME=", "HOME="+filepath.Join(dir, home))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	refused := func(in, home, script string, code int, says string) {
		t.Helper()
		out, err := sh(in, home, script)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(out, says) {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	for _, b := range blocks {
		script, in, home := string(b[1]), team, "home-team"
		if strings.HasPrefix(script, "cd ../colleague") {
			in, home = team, "home-colleague"
			refused(filepath.Join(dir, "colleague"), "other", "mkdir x; echo > x/y; vaultpack push x -d scans --signing-key ../team/laptop.pub", exitFailed, "")
		}
		out, err := sh(in, home, script)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		if strings.Contains(script, "signers remove") {
			openSSHKey(t, filepath.Join(dir, "id_ed25519"))
			ssh := "vaultpack signers add scans ../id_ed25519.pub && echo ssh > scans/s && vaultpack push scans --signing-key ../id_ed25519"
			if out, err := sh(team, "home-team", ssh); err != nil {
				t.Errorf("with an OpenSSH key: %v\n%s", err, out)
			}
			refused(filepath.Join(dir, "colleague"), "home-colleague", "echo again > scans/c; vaultpack push scans", exitFailed, "is not a signer of")
		}
		if strings.Contains(script, "signers init") {
			// Whoever knew the dataset refuses it, until its user says otherwise.
			colleague := filepath.Join(dir, "colleague")
			if out, err := sh(team, "home-team", "vaultpack keys add scans --recipient ../colleague/my.key.pub"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			refused(colleague, "home-colleague", "vaultpack verify scans", exitAuthentication, "vaultpack trust forget scans")
			refused(colleague, "home-new", "vaultpack verify scans", exitAuthentication, "#DIGEST")
			// Who has begun them reads what was there before: the newest version leads to it.
			if out, err := sh(team, "home-team", "vaultpack verify scans && vaultpack verify scans@1 && vaultpack versions scans && vaultpack gc scans"); err != nil {
				t.Errorf("who has begun the new signers: %v\n%s", err, out)
			}
		}
	}
}

// openSSHKey makes the two files of a key, as ssh-keygen does.
func openSSHKey(t *testing.T, file string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(key, "me")
	check(t, err)
	line, err := ssh.NewPublicKey(public)
	check(t, err)
	check(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	check(t, os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(line), 0o644))
}

// Help fits a terminal of 80 columns, whatever the command, and says something of each
// flag.
func TestHelpFitsTheTerminal(t *testing.T) {
	command, output := inProcess(t, t.TempDir())
	var all func(prefix []string, cmds []*cli.Command)
	all = func(prefix []string, cmds []*cli.Command) {
		for _, cmd := range cmds {
			args := append(slices.Clip(prefix), cmd.Name)
			all(args, cmd.Subcommands)
			command(append(slices.Clip(args), "--help")...)
			help := output()
			for line := range strings.Lines(help) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth && !strings.Contains(line, "[command options]") {
					t.Errorf("%v: %d columns: %s", args, n, line)
				}
			}
			if words := strings.Join(strings.Fields(help), " "); strings.Contains(words, "(default: 0)") {
				t.Errorf("%v: 0 is no number to give by default:\n%s", args, help)
			}
			for _, f := range cmd.Flags {
				if name := "--" + f.Names()[0]; !strings.Contains(help, "\n   "+name) {
					t.Errorf("%v: the help does not list %s", args, name)
				}
			}
		}
	}
	app := newApp(newConsole(process()))
	visible := slices.DeleteFunc(app.Commands, func(c *cli.Command) bool { return c.Hidden || c.Name == "help" })
	all(nil, visible)
	command("--help")
	if !strings.Contains(output(), "encrypt-and-upload") {
		t.Error(output())
	}
}
