package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags of a command in front of its arguments, and returns how many
// arguments follow --. People also write flags after arguments, where version 2 of the
// library cannot read them: it leaves parsing to package flag, which stops at the first
// argument and drops the --. A flag without its value is an error, since package flag
// would take the next word as its value.
func flagsFirst(app *cli.App, args []string) (sorted []string, behind int, err error) {
	if len(args) == 0 {
		return args, 0, nil
	}
	s := &sorter{out: args[:1:1], rest: args[1:], flags: app.Flags}
	var cmd *cli.Command
	for len(s.rest) > 0 && cmd == nil {
		arg := s.shift()
		switch {
		case !strings.HasPrefix(arg, "-"):
			s.out = append(s.out, arg)
			if cmd = app.Command(arg); cmd == nil {
				return append(s.out, s.rest...), 0, nil
			}
		default:
			if err := s.flag(arg); err != nil {
				return nil, 0, err
			}
		}
	}
	if cmd == nil {
		return s.out, 0, nil
	}
	return s.command(cmd)
}

// A sorter sorts the arguments of a command line into flags and others.
type sorter struct {
	out, rest []string
	flags     []cli.Flag // flags of the command named so far
	machine   bool       // it is called by programs, which leave values empty
}

func (s *sorter) shift() string {
	arg := s.rest[0]
	s.rest = s.rest[1:]
	return arg
}

// command sorts the arguments that follow the name of a command.
func (s *sorter) command(cmd *cli.Command) (sorted []string, behind int, err error) {
	var positional []string
	s.flags, s.machine = cmd.Flags, cmd.Hidden
	for len(s.rest) > 0 {
		arg := s.shift()
		i := slices.IndexFunc(cmd.Subcommands, func(sub *cli.Command) bool { return sub.HasName(arg) })
		switch {
		case i >= 0 && len(positional) == 0:
			cmd = cmd.Subcommands[i]
			s.out, s.flags = append(s.out, arg), cmd.Flags
		case arg == "--":
			positional, behind, s.rest = append(positional, s.rest...), len(s.rest), nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			positional = append(positional, arg)
		default:
			if err := s.flag(arg); err != nil {
				return nil, 0, err
			}
		}
	}
	if len(positional) > 0 {
		s.out = append(append(s.out, "--"), positional...)
	}
	return s.out, behind, nil
}

// flag takes a flag and its value, if it has one.
func (s *sorter) flag(arg string) error {
	s.out = append(s.out, arg)
	name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	f := flagOf(s.flags, name)
	if f == nil {
		return nil // package flag reports it
	}
	if _, isBool := f.(*cli.BoolFlag); isBool {
		return nil
	}
	if !joined && len(s.rest) > 0 {
		value = s.shift()
		s.out = append(s.out, value)
	}
	if s.machine {
		return nil
	}
	switch {
	case value == "":
		return usagef("%s needs a value", dashes(name))
	case !joined && strings.HasPrefix(value, "-") && value != "-" && !isNegative(f, value):
		return usagef("%s needs a value, and %q looks like another flag; to use it as the value, write %s=%s", dashes(name), value, dashes(name), value)
	}
	return nil
}

func flagOf(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// isNegative reports whether a value is a negative number for a flag that takes a number;
// the command itself checks its range.
func isNegative(f cli.Flag, value string) bool {
	switch f.(type) {
	case *cli.IntFlag, *cli.Int64Flag, *cli.DurationFlag:
		return len(value) > 1 && value[1] >= '0' && value[1] <= '9'
	}
	return false
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// asksForJSON reports whether --json is among the flags, so that errors of the command
// line itself are also reported as JSON.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "-json", "--json=true":
			return true
		}
	}
	return false
}

var flagInError = regexp.MustCompile(`(not defined: |an argument: |for flag |for )-([A-Za-z][\w-]+)`)

// flagError rewords an error of package flag.
func flagError(cmd *cli.Command, err error) error {
	text := flagInError.ReplaceAllString(err.Error(), "${1}--$2")
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		text = "there is no flag " + dashes(strings.TrimLeft(name, "-"))
		var names []string
		for _, f := range cmd.Flags {
			names = append(names, f.Names()...)
		}
		if near := nearest(strings.TrimLeft(name, "-"), names); near != "" {
			text += " (did you mean " + dashes(near) + "?)"
		}
		if cmd.Name == "process" && strings.TrimLeft(name, "-") == "local" {
			text = "a processing job does not run on this machine; to make a dataset of another here, open it, run the command and push what it has written: vaultpack open DATASET ./input -- COMMAND && vaultpack push ./output -d OUTPUT"
		}
	}
	return errors.New(text)
}

// noCommand is the error for an unknown command.
func noCommand(prefix, name string, cmds []*cli.Command) error {
	var names []string
	for _, cmd := range cmds {
		if !cmd.Hidden {
			names = append(names, cmd.Names()...)
		}
	}
	meant := ""
	if near := nearest(name, names); near != "" {
		meant = fmt.Sprintf("did you mean %q? ", prefix+near)
	}
	return usagef("there is no command %q; %ssee: vaultpack %s--help", prefix+name, meant, prefix)
}

// chooseCommand is the action of a command that only holds subcommands, if none of them
// was named: it prints the help, or returns an error if the name is unknown.
func chooseCommand(c *cli.Context) error {
	if c.Args().Present() {
		return noCommand(c.Command.Name+" ", c.Args().First(), c.Command.Subcommands)
	}
	return cli.ShowSubcommandHelp(c)
}

// nearest returns the name that was probably meant, or "".
func nearest(typed string, names []string) string {
	best, at := "", 3
	for _, name := range names {
		d := distance(typed, name)
		if len(typed) > 2 && strings.HasPrefix(name, typed) {
			d = 1
		}
		if d < at && d < max(len(name), len(typed)) && len(name) > 1 {
			best, at = name, d
		}
	}
	return best
}

// distance returns how many letters have to be inserted, removed, changed, or swapped
// with their neighbors.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// program returns how the user called vaultpack, for suggested commands.
func (c *console) program() string {
	if strings.Contains(c.name, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/vaultpack"
	}
	return quoted(c.name)
}

var bareCommand = regexp.MustCompile(`(^|[^/\w.-])vaultpack ((?:init|encrypt-and-upload|push|ls|restore|pull|open|mount|cat|stream|serve|browse|verify|versions|diff|tag|rm|gc|keys|signers|statement|provenance|models|model|checkpoints|trust|encrypt|decrypt|inspect|train|process|jobs|logs|stop|plan|work|commit|policy|doctor|config|completion|man)\b)`)

// called replaces the commands in a text by what the user has to type: packages do not
// know the name under which the program was called.
func (c *console) called(text string) string {
	return bareCommand.ReplaceAllStringFunc(text, func(s string) string {
		m := bareCommand.FindStringSubmatch(s)
		return m[1] + c.program() + " " + m[2]
	})
}

// placing are the common flags that locate the vault and its keys.
var placing = []string{"vault", "kms-key", "sse", "local-key", "signing-key", "identity", "passphrase-file"}

// placed returns the ones that were given, as typed.
func placed(c *cli.Context) (flags []string) {
	for _, name := range placing {
		if v := lineageString(c, name); v != "" {
			flags = append(flags, "--"+name, v)
		}
	}
	return flags
}

// next returns a command that works as printed, on the vault that this command uses.
func (c *console) next(args ...string) string {
	words := []string{c.program()}
	for _, arg := range append(args, c.flags...) {
		words = append(words, quoted(arg))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted returns a word as it must be written in a shell.
func quoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var inBraces = regexp.MustCompile(`\{([^{}]*)\}`)

// hint returns what to do next about an error. Its commands are written as they must be
// typed here.
func (c *console) hint(err error) string {
	return inBraces.ReplaceAllStringFunc(hint(err), func(s string) string {
		words := strings.Fields(strings.Trim(s, "{}"))
		for i, w := range words {
			if w == "DATASET" && c.dataset != "" {
				words[i] = c.dataset
			}
		}
		return c.next(words...)
	})
}
