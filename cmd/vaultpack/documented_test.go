package main

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/trainer/container/opener"
)

// A pageCommand is one that a page shows, without its first word.
type pageCommand struct {
	page, text string
	args       []string
}

// documentedCommands are those of README.md and docs: in code, after "vaultpack" or
// "go run ./cmd/vaultpack".
func documentedCommands(t *testing.T) (all []pageCommand) {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	check(t, err)
	for _, page := range append(pages, "../../README.md") {
		b, err := os.ReadFile(page)
		check(t, err)
		seen := map[string]bool{}
		for _, code := range codeOf(string(b)) {
			for _, text := range commandsOf(code) {
				if args := words(text); len(args) > 0 && !seen[text] {
					seen[text] = true
					all = append(all, pageCommand{filepath.Base(page), text, args})
				}
			}
		}
	}
	return all
}

// codeOf is what a page has in code: lines of fenced blocks, joined where they continue,
// and spans.
func codeOf(page string) (code []string) {
	blocks := regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```")
	for _, m := range blocks.FindAllStringSubmatch(page, -1) {
		code = append(code, strings.Split(strings.ReplaceAll(m[1], "\\\n", " "), "\n")...)
	}
	text := blocks.ReplaceAllString(page, "")
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		code = append(code, strings.Join(strings.Fields(strings.ReplaceAll(m[1], `\|`, "|")), " "))
	}
	return code
}

var ofVaultpack = regexp.MustCompile(`^(?:[A-Z_]+=\S+ +)*(?:go run \./cmd/)?vaultpack +([a-z-].*)$`)

// commandsOf are the commands of vaultpack in a line: each alternative of a|b, and
// without the brackets of what may be left out.
func commandsOf(line string) (commands []string) {
	line, _, _ = strings.Cut(line, "   ") // then comes what it does
	line, _, _ = strings.Cut(line, " # ")
	for _, part := range regexp.MustCompile(` \| | && |; | > `).Split(line, -1) {
		m := ofVaultpack.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			continue
		}
		commands = append(commands, alternatives(m[1])...)
	}
	return commands
}

// alternatives are the commands that one with a|b and [c] stands for, in turn.
func alternatives(text string) (all []string) {
	text = strings.NewReplacer("[flags]", "", "[@VERSION]", "").Replace(text)
	n := 1
	for _, w := range strings.Fields(text) {
		n = max(n, strings.Count(w, "|")+1)
	}
	for i := range n {
		var out []string
		for _, w := range strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(text)) {
			choices := strings.Split(w, "|")
			out = append(out, choices[min(i, len(choices)-1)])
		}
		all = append(all, strings.Join(out, " "))
	}
	return all
}

// words are those of a command line, of which some are in quotes.
func words(text string) (args []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(text, -1) {
		args = append(args, m[1]+m[2]+m[3])
	}
	return args
}

// Every command that a page shows is one: its name and its flags are known.
func TestDocumentedCommandsAreKnown(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	all := documentedCommands(t)
	if len(all) < 60 {
		t.Errorf("only %d commands were found", len(all))
	}
	for _, d := range all {
		if d.args[0] == opener.Command {
			continue // it has flags of its own, in package opener
		}
		app := newApp(newConsole(process()))
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		got := false
		var stub func(cmds []*cli.Command)
		stub = func(cmds []*cli.Command) {
			for _, cmd := range cmds {
				stub(cmd.Subcommands)
				switch {
				case len(cmd.Subcommands) > 0 && len(cmd.Flags) > 0: // it does something by itself, and else chooses
					cmd.Action = func(c *cli.Context) error { got = !c.Args().Present() || cmd.ArgsUsage != ""; return nil }
				case len(cmd.Subcommands) == 0:
					cmd.Action = func(*cli.Context) error { got = true; return nil }
				}
			}
		}
		stub(app.Commands)
		args, _, err := flagsFirst(app, append([]string{"vaultpack"}, d.args...))
		if err == nil {
			err = app.RunContext(t.Context(), args)
		}
		help := slices.Contains(d.args, "--help") || slices.Equal(d.args, []string{"keys"})
		if err != nil || !got && !help {
			t.Errorf("%s: vaultpack %s: %v", d.page, d.text, err)
		}
	}
}

// What the README shows works as it is written, in its order: on this machine, and
// with an AWS.
func TestDocumentedCommandsWork(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	s := awstest.New("eu-central-1")
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c := kms.NewFromConfig(s.Config())
	key, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{})
	check(t, err)
	_, err = c.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/ml"), TargetKeyId: key.KeyMetadata.KeyId})
	check(t, err)
	s.AddBucket("my-bucket", awstest.Bucket{})

	local := newPlace(t)
	cloud := newPlace(t)
	for _, p := range []*place{local, cloud} {
		p.env = append(p.env, "AWS_ENDPOINT_URL="+h.URL, "AWS_REGION="+s.Region, "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x",
			"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CA_BUNDLE=", "VAULTPACK_VAULT=")
		write(t, filepath.Join(p.home, "scans", "train", "0001.json"), []byte("{}"))
		write(t, filepath.Join(p.home, "scans", "labels", "1.csv"), []byte("1"))
		write(t, filepath.Join(p.home, "scans", "a.tmp"), []byte("a"))
		write(t, filepath.Join(p.home, "report.pdf"), []byte("a report"))
		program(t, filepath.Join(p.home, "train.sh"), "#!/bin/sh\nls $1/train/0001.json\n")
	}
	// Versions to name. The first push of the README makes one more.
	for i := range 7 {
		write(t, filepath.Join(local.home, "scans", "train", "n.json"), fmt.Appendf(nil, "%d", i))
		local.run(exitDone, "push", "-q", "./scans")
	}
	// These are tried elsewhere, or ask for more than a page can show.
	skip := regexp.MustCompile(`^(serve|browse|train|process|jobs|logs|stop)\b|[…<>]|\b(ARN|JOB|DATASET|NAME|ROLE)\b|pg_dump|/mnt/|testdata|^keys shred|^keys rewrap|\./snapshot|^push -|^doctor`)
	ran := 0
	for _, d := range documentedCommands(t) {
		if d.page != "README.md" || len(d.args) == 1 || skip.MatchString(d.text) {
			continue
		}
		p, args := local, d.args
		switch {
		case strings.Contains(d.text, "s3://"), d.args[0] == "init", d.args[0] == "policy":
			p = cloud
			if d.args[0] == "init" && !slices.Contains(args, "--check") && !slices.Contains(args, "--plan") {
				args = append(slices.Clone(args), "--yes", "--adopt")
			}
		}
		if args[0] == "restore" {
			check(t, os.RemoveAll(filepath.Join(p.home, "out"))) // each row is of its own
		}
		ran++
		if code, out := p.try(args...); code != exitDone {
			t.Errorf("README.md: vaultpack %s: exit code %d\n%s", d.text, code, out)
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands ran", ran)
	}
}
