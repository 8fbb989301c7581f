package main

import (
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// nextCommand is a command for the user to type: the program, the words, and the
// flags by which the vault and its keys were found, so that it works as printed.
func nextCommand(c *cli.Context, words ...string) string {
	for _, name := range []string{"vault", "kms-key", "sse", "local-key", "identity", "passphrase-file"} {
		if v := lineageString(c, name); v != "" {
			words = append(words, "--"+name, v)
		}
	}
	line := []string{shellWord(program())}
	if program() == "go run ./cmd/vaultpack" {
		line[0] = program()
	}
	for _, w := range words {
		line = append(line, shellWord(w))
	}
	return strings.Join(line, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// shellWord quotes a word for the shell where it needs that.
func shellWord(w string) string {
	if plainWord.MatchString(w) {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
