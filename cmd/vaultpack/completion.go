package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/internal/printable"
)

// shells are the shells that completion scripts exist for.
var shells = map[string]func([]*spot) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

func completionCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell completion script",
		ArgsUsage: "bash|zsh|fish",
		Description: "Load the script when the shell starts:\n\n" +
			"    in ~/.bashrc:  source <(vaultpack completion bash)\n" +
			"    in ~/.zshrc:   source <(vaultpack completion zsh)    # after compinit\n" +
			"    fish, once:    vaultpack completion fish \\\n" +
			"                     > ~/.config/fish/completions/vaultpack.fish\n\n" +
			"The script knows the commands of this version. It does not start vaultpack.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			script, known := shells[args[0]]
			if !known {
				return usagef("there is no completion for %q: use bash, zsh or fish", args[0])
			}
			text := script(spots(c.App))
			con.emit("completion", event{"shell": args[0], "text": text})
			con.printf("%s", printable.Verbatim(strings.TrimSuffix(text, "\n")))
			return nil
		},
	}
}

// A spot is a place on the command line: after the words of a command.
type spot struct {
	path  string // " keys add"; empty at the beginning
	names []string
	words []word // subcommands
	flags []word
}

// A word is possible at a spot.
type word struct {
	names []string // with dashes, if it is a flag
	usage string
	value bool // a value follows it
}

// spots returns all spots of the command line, the beginning first.
func spots(app *cli.App) (all []*spot) {
	var add func(path string, names []string, flags []cli.Flag, cmds []*cli.Command)
	add = func(path string, names []string, flags []cli.Flag, cmds []*cli.Command) {
		p := &spot{path: path, names: names}
		all = append(all, p)
		for _, f := range flags {
			w := word{usage: f.(cli.DocGenerationFlag).GetUsage(), value: f.(cli.DocGenerationFlag).TakesValue()}
			for _, name := range f.Names() {
				w.names = append(w.names, dashes(name))
			}
			p.flags = append(p.flags, w)
		}
		for _, cmd := range cmds {
			if cmd.Hidden || cmd.Name == "help" {
				continue
			}
			p.words = append(p.words, word{names: cmd.Names(), usage: cmd.Usage})
			add(path+" "+cmd.Name, cmd.Names(), cmd.VisibleFlags(), cmd.Subcommands)
		}
	}
	add("", nil, app.VisibleFlags(), app.Commands)
	for _, p := range all {
		if p.path == " completion" {
			for _, name := range slices.Sorted(maps.Keys(shells)) {
				p.words = append(p.words, word{names: []string{name}, usage: "print the script for " + name})
			}
		}
	}
	return all
}

// typed returns the ways to type the last word of a spot, after the words before it.
func (p *spot) typed() (all []string) {
	before := p.path[:strings.LastIndex(p.path, " ")]
	for _, name := range p.names {
		all = append(all, before+" "+name)
	}
	return all
}

// text returns a usage without the marks of its placeholder.
func (w word) text() string {
	return strings.Join(strings.Fields(strings.ReplaceAll(w.usage, "`", "")), " ")
}

// every returns every way to type the words.
func every(words []word) (all []string) {
	for _, w := range words {
		all = append(all, w.names...)
	}
	return all
}

// single returns a string in single quotes for the Bourne shell.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func bashCompletion(spots []*spot) string {
	var b strings.Builder
	b.WriteString("# bash completion for vaultpack\n_vaultpack() {\n" +
		"    local cur=${COMP_WORDS[COMP_CWORD]} at='' words='' flags='' i\n" +
		"    for ((i = 1; i < COMP_CWORD; i++)); do\n        case \"$at ${COMP_WORDS[i]}\" in\n        *' --') return ;;\n")
	for _, p := range spots[1:] {
		fmt.Fprintf(&b, "        %s) at=%s ;;\n", quotedEach(p.typed(), " | "), single(p.path))
	}
	b.WriteString("        esac\n    done\n    case $at in\n")
	for _, p := range spots {
		fmt.Fprintf(&b, "    %s) words=%s flags=%s ;;\n", single(p.path), single(strings.Join(every(p.words), " ")), single(strings.Join(every(p.flags), " ")))
	}
	b.WriteString("    esac\n    [[ $cur == -* ]] && words=$flags\n" +
		"    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _vaultpack vaultpack\n")
	return b.String()
}

func zshCompletion(spots []*spot) string {
	var b strings.Builder
	b.WriteString("#compdef vaultpack\n_vaultpack() {\n    local at='' i\n    local -a commands flags\n" +
		"    for ((i = 2; i < CURRENT; i++)); do\n        case \"$at ${words[i]}\" in\n        *' --') _files; return ;;\n")
	for _, p := range spots[1:] {
		fmt.Fprintf(&b, "        (%s)) at=%s ;;\n", quotedEach(p.typed(), "|"), single(p.path))
	}
	b.WriteString("        esac\n    done\n    case $at in\n")
	described := func(words []word) string {
		var all []string
		for _, w := range words {
			for _, name := range w.names {
				all = append(all, single(strings.ReplaceAll(name, ":", `\:`)+":"+w.text()))
			}
		}
		return strings.Join(all, " ")
	}
	for _, p := range spots {
		fmt.Fprintf(&b, "    (%s)\n        commands=(%s)\n        flags=(%s) ;;\n", single(p.path), described(p.words), described(p.flags))
	}
	b.WriteString("    esac\n    if [[ ${words[CURRENT]} == -* ]]; then\n        _describe -o 'flag' flags\n" +
		"    elif (( $#commands )); then\n        _describe 'command' commands\n    else\n        _files\n    fi\n}\ncompdef _vaultpack vaultpack\n")
	return b.String()
}

func fishCompletion(spots []*spot) string {
	var b strings.Builder
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	b.WriteString("# fish completion for vaultpack\nfunction __vaultpack_at\n    set -l at ''\n    set -l typed (commandline -opc)\n" +
		"    for word in $typed[2..-1]\n        switch \"$at $word\"\n            case '* --'\n                return 1\n")
	for _, p := range spots[1:] {
		fmt.Fprintf(&b, "            case %s\n                set at %s\n", quotedEach(p.typed(), " "), quote(p.path))
	}
	b.WriteString("        end\n    end\n    test \"$at\" = \"$argv[1]\"\nend\n")
	for _, p := range spots {
		at := "complete -c vaultpack -n " + quote("__vaultpack_at "+quote(p.path))
		for _, w := range p.words {
			fmt.Fprintf(&b, "%s -f -a %s -d %s\n", at, quote(strings.Join(w.names, " ")), quote(w.text()))
		}
		for _, w := range p.flags {
			b.WriteString(at)
			for _, name := range w.names {
				if long, isLong := strings.CutPrefix(name, "--"); isLong {
					b.WriteString(" -l " + long)
				} else {
					b.WriteString(" -s " + name[1:])
				}
			}
			if w.value {
				b.WriteString(" -r")
			}
			b.WriteString(" -d " + quote(w.text()) + "\n")
		}
	}
	return b.String()
}

func quotedEach(all []string, separator string) string {
	all = slices.Clone(all)
	for i, s := range all {
		all[i] = single(s)
	}
	return strings.Join(all, separator)
}
