package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// Help is written for a terminal of this many columns. The descriptions of flags begin at
// helpIndent.
const (
	helpWidth  = 80
	helpIndent = 26
)

func init() {
	for _, t := range []*string{&cli.AppHelpTemplate, &cli.CommandHelpTemplate, &cli.SubcommandHelpTemplate} {
		*t = strings.ReplaceAll(*t, `{{template "visibleFlagCategoryTemplate" .}}`, `{{options .VisibleFlagCategories}}`)
	}
	cli.HelpPrinter = func(w io.Writer, templ string, data any) {
		cli.HelpPrinterCustom(w, templ, data, map[string]any{"wrap": reflow, "options": options})
	}
}

// reflow breaks a text into lines that begin at indent; the first line is there already.
// Empty lines are kept, and so are lines that begin with a space.
func reflow(text string, indent int) string {
	var out []string
	var words []string
	flush := func() {
		line := ""
		for _, w := range words {
			switch {
			case line == "":
				line = w
			case indent+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > helpWidth:
				out = append(out, line)
				line = w
			default:
				line += " " + w
			}
		}
		if line != "" {
			out = append(out, line)
		}
		words = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == ' ' {
			flush()
			out = append(out, line)
			continue
		}
		words = append(words, strings.Fields(line)...)
	}
	flush()
	for i := range out {
		if i > 0 && out[i] != "" {
			out[i] = strings.Repeat(" ", indent) + out[i]
		}
	}
	return strings.Join(out, "\n")
}

// options lists flags, by category.
func options(categories []cli.VisibleFlagCategory) string {
	var b strings.Builder
	for _, c := range categories {
		if c.Name() != "" {
			fmt.Fprintf(&b, "\n\n   %s:", c.Name())
		}
		for _, f := range c.Flags() {
			names, usage, _ := strings.Cut(fmt.Sprint(f), "\t")
			names, _, _ = strings.Cut(names, " [ ") // the usage says that it can be repeated
			names = "   " + strings.TrimSpace(names)
			gap := helpIndent - utf8.RuneCountInString(names)
			if gap < 2 {
				names, gap = names+"\n", helpIndent
			}
			fmt.Fprintf(&b, "\n%s%s%s", names, strings.Repeat(" ", gap), reflow(usage, helpIndent))
		}
	}
	return b.String()
}
