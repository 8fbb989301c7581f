package main

import (
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every command, by each of its names, stands in the completion scripts, and is known
// where a message of a package suggests it.
func TestEveryCommandIsKnown(t *testing.T) {
	app := newApp(newConsole(process()))
	root := spots(app)[0]
	for _, cmd := range slices.DeleteFunc(app.Commands, func(c *cli.Command) bool { return c.Hidden }) {
		for _, name := range cmd.Names() {
			if !slices.Contains(every(root.words), name) {
				t.Errorf("the completion scripts do not have %s", name)
			}
			if text := "run: vaultpack " + name; newConsole(process()).called(text) == text {
				t.Errorf("the pattern bareCommand does not have %s", name)
			}
		}
	}
}
