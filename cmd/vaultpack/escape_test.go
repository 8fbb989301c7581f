package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/internal/printable"
)

// What comes from outside neither moves the cursor nor looks like a line of
// vaultpack's own.
func TestNothingRawIsPrinted(t *testing.T) {
	const hostile = "\x1b]0;PWNED\x07\x1b[2J\u009b2J\u202ecod.exe\r\x7f\xff\u2028"
	type named string
	var out, errs bytes.Buffer
	con := &console{out: bufio.NewWriter(&out), err: &errs}
	forged := errors.New(hostile + "\nvaultpack: all is well")
	con.printf("%s %v %s %v", hostile, forged, named(hostile+"\nforged"), []string{hostile})
	con.warnf("%s %v", hostile+"\nforged", fmt.Errorf("listing: %w", forged))
	con.failed(hostile, forged)
	con.warning(forged)
	con.end(usageError{forged})
	con.flush()
	for _, text := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(text, "\x1b\x07\u009b\u202e\r\x7f\u2028") || strings.Contains(text, "\xff") {
			t.Errorf("raw: %q", text)
		}
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, "forged") || strings.HasPrefix(l, "vaultpack: all") {
				t.Errorf("forged: %q", l)
			}
		}
	}
	const plain = "Zoë's 100 % — tab\there, 日本 👍"
	if got := printable.Line("%s\n%d", plain, 7); got != plain+"\n7" {
		t.Errorf("%q", got)
	}
}

func TestFlagsFirst(t *testing.T) {
	app := newApp(newConsole(process()))
	tests := []struct {
		typed, want string
		behind      int
	}{
		{"push src -d x", "push -d x -- src", 0},
		{"push src -d -q", "! -d needs a value", 0},
		{"push src --dataset", "! --dataset needs a value", 0},
		{"push src --dataset=", "! --dataset needs a value", 0},
		{"push src --dataset -- x", "! --dataset needs a value", 0},
		{"push src --exclude=-x", "push --exclude=-x -- src", 0},
		{"--vault -q push src", "! --vault needs a value", 0},
		{"gc d --grace -1h", "gc --grace -1h -- d", 0},
		{"decrypt -o -", "decrypt -o -", 0},
		{"push - -d x", "push -d x -- -", 0},
		{"keys add d --recipient r", "keys add --recipient r -- d", 0},
		{"train --local d -- sh -c x", "train --local -- d sh -c x", 3},
		{"train d -- --wait -- x", "train -- d --wait -- x", 3},
		{"train d --", "train -- d", 0},
	}
	for _, tt := range tests {
		out, behind, err := flagsFirst(app, append([]string{"vaultpack"}, strings.Fields(tt.typed)...))
		if why, fails := strings.CutPrefix(tt.want, "! "); fails {
			if err == nil || !strings.HasPrefix(err.Error(), why) || exitCode(err) != exitUsage {
				t.Errorf("%s: %q, %v", tt.typed, out, err)
			}
		} else if err != nil || strings.Join(out[1:], " ") != tt.want || behind != tt.behind {
			t.Errorf("%s: %q, %v", tt.typed, out, err)
		}
	}
	if _, _, err := flagsFirst(app, []string{"vaultpack", "push", "--dataset", "", "src"}); err == nil {
		t.Error("an empty value is taken")
	}
}

func TestNearest(t *testing.T) {
	for typed, want := range map[string]string{"resotre": "restore", "verfy": "verify", "enc": "encrypt-and-upload", "xyzzy": "", "l": "ls", "config": "config"} {
		if got := nearest(typed, []string{"restore", "verify", "ls", "encrypt-and-upload", "rm", "config"}); got != want {
			t.Errorf("%s: %q, want %q", typed, got, want)
		}
	}
}

// Suggested commands are words of a shell, and name what this one was given.
func TestNext(t *testing.T) {
	con := &console{flags: []string{"--vault", "my vault", "--local-key", "it's"}}
	if got := con.next("ls", "d"); !strings.HasSuffix(got, ` ls d --vault 'my vault' --local-key 'it'\''s'`) {
		t.Error(got)
	}
	for _, cmd := range newApp(con).Commands {
		var walk func(*cli.Command)
		walk = func(cmd *cli.Command) {
			if strings.Contains(cmd.Description, "-output ") && !strings.Contains(cmd.Description, "--output") {
				t.Errorf("%s: a flag with one dash", cmd.Name)
			}
			for _, l := range strings.Split(cmd.Description, "\n") {
				if len([]rune(l)) > 100 {
					t.Errorf("%s: a line of %d characters", cmd.Name, len(l))
				}
			}
			for _, sub := range cmd.Subcommands {
				walk(sub)
			}
		}
		walk(cmd)
	}
}

// Commands in the texts of packages are printed as the program was called.
func TestCommandsAreAsCalled(t *testing.T) {
	con := &console{world: world{name: "./my vaultpack"}}
	for text, want := range map[string]string{
		"create it with: vaultpack init --vault x":   `create it with: './my vaultpack' init --vault x`,
		"vaultpack config shows, and vaultpack ls d": `'./my vaultpack' config shows, and './my vaultpack' ls d`,
		"see: /bin/vaultpack gc d":                   "see: /bin/vaultpack gc d",
		"what vaultpack stores; vaultpack keysmith":  "what vaultpack stores; vaultpack keysmith",
		"a.vaultpack rm":                             "a.vaultpack rm",
	} {
		if got := con.called(text); got != want {
			t.Errorf("%q is printed as %q", text, got)
		}
	}
}
