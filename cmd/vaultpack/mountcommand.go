package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/interrupt"
)

// runMounted runs a command to its end and returns its result. It forwards this process's
// signals to the command, and waits for the command to end.
func runMounted(ctx context.Context, command []string, opened string) error {
	signals := make(chan os.Signal, 8)
	interrupt.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := interrupt.End(ctx); err != nil {
		var stopped *interrupt.Error
		if errors.As(err, &stopped) {
			return stoppedOpening(stopped)
		}
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = commandEnvironment(opened)
	if err := cmd.Start(); err != nil {
		return &partialError{text: fmt.Sprintf("the command cannot be started: %v", err), code: exitCannotStart}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			if (sig == os.Interrupt || sig == syscall.SIGQUIT) && fromTerminal() {
				continue // the command has received it, too
			}
			cmd.Process.Signal(sig) // an error means that it has ended
		case err := <-ended:
			return commandEnd(err)
		}
	}
}

// commandEnd returns how vaultpack ends after a command: with the same exit code or,
// after a signal, with the code that a shell would return.
func commandEnd(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &partialError{text: fmt.Sprintf("the command was ended by a signal: %v", status.Signal()), code: 128 + int(status.Signal())}
	}
	return &partialError{text: fmt.Sprintf("the command has ended with exit code %d", exit.ExitCode()), code: exit.ExitCode()}
}
