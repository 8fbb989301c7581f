package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/internal/printable"
)

func manCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "print the manual page",
		ArgsUsage: " ",
		Description: "    read it:      vaultpack man | man -l -\n" +
			"    install it:   vaultpack man > ~/.local/share/man/man1/vaultpack.1",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			text, err := c.App.ToManWithSection(1)
			if err != nil {
				return fmt.Errorf("making the manual page: %w", err)
			}
			con.emit("man", event{"text": text})
			con.printf("%s", printable.Verbatim(strings.TrimSuffix(text, "\n")))
			return nil
		},
	}
}

// The manual page in Markdown, which the library converts. The library's own template
// omits what a command does and which arguments it takes, and repeats the common flags
// for each.
func init() {
	const flag = "\n**{{range $i, $name := .Names}}{{if $i}}, {{end}}{{if gt (len $name) 1}}--{{else}}-{{end}}{{$name}}{{end}}**" +
		"{{if .TakesValue}} *value*{{end}}\n" +
		": {{.GetUsage}}{{if .TakesValue}}{{with .GetDefaultText}} (default: {{.}}){{end}}{{end}}\n"
	cli.MarkdownDocTemplate = `
{{- define "flag"}}` + flag + `{{end}}
{{- define "about"}}{{.Usage}}
{{with .Description}}
{{.}}
{{end}}{{range .VisibleFlags}}{{if and (ne .GetCategory "common") (ne (index .Names 0) "help")}}{{template "flag" .}}{{end}}{{end}}{{end}}
{{- define "cli"}}% {{.App.Name}} {{.SectionNum}}

# NAME

{{.App.Name}} - {{.App.Usage}}

# SYNOPSIS

**{{.App.Name}}** *command* [*flags*] [*arguments*]

# DESCRIPTION

{{.App.Description}}

# FLAGS OF ALL COMMANDS
{{range .App.VisibleFlags}}{{template "flag" .}}{{end}}
# COMMANDS
{{range .App.VisibleCommands}}{{if ne .Name "help"}}{{$command := .Name}}
## {{.Name}}{{range .Aliases}}, {{.}}{{end}} {{.ArgsUsage}}

{{template "about" .}}{{range .VisibleCommands}}{{if ne .Name "help"}}
## {{$command}} {{.Name}}{{range .Aliases}}, {{.}}{{end}} {{.ArgsUsage}}

{{template "about" .}}{{end}}{{end}}{{end}}{{end}}
# SEE ALSO

The documents at https://github.com/vaultpack/vaultpack/tree/main/docs
{{end}}`
}
