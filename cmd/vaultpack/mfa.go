package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// askMFA asks the person at the terminal for the code of an MFA device: standard input
// may be data.
func (c *console) askMFA(_ context.Context, profile, serial string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil || !term.IsTerminal(int(c.stderr.Fd())) {
		if err == nil {
			tty.Close()
		}
		return "", errors.New("there is no terminal to ask on")
	}
	defer tty.Close()
	fmt.Fprintf(tty, "Code of the MFA device %s, for the AWS profile %s: ", show(serial), show(profile))
	code, err := bufio.NewReader(tty).ReadString('\n')
	if code = strings.TrimSpace(code); code == "" {
		return "", errors.Join(errors.New("no code was given"), err)
	}
	return code, nil
}
