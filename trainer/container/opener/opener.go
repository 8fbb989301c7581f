// Package opener is the program that a training container starts with: it opens the
// sealed channels, and becomes the command that trains.
package opener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/exitcode"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/internal/version"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// Command is the word that comes first in the program's arguments.
const Command = "sagemaker-run"

// Main runs the program with its arguments, the first of which is its own name. It
// returns an exit code if nothing was started; else the process has become the command.
func Main(args []string) (code int) {
	if len(args) < 2 || args[1] != Command {
		return other(args[1:])
	}
	ctx, stop := interrupt.Context(context.Background())
	defer stop()
	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft bound: garbage is collected before it adds up to this.
		debug.SetMemoryLimit(640 << 20)
	}
	err := run(ctx, args[2:])
	tell("vaultpack: %v", err)
	return codeOf(err)
}

// other is what the program does besides.
func other(args []string) int {
	if len(args) == 1 {
		switch args[0] {
		case "-v", "--version":
			fmt.Println("vaultpack version", version.String())
			return exitcode.Done
		case "-h", "--help":
			usage(os.Stdout)
			return exitcode.Done
		}
	}
	usage(os.Stderr)
	return exitcode.Usage
}

// tell writes a line to the job's log.
func tell(format string, args ...any) {
	io.WriteString(os.Stderr, printable.Line(format, args...)+"\n")
}

// A usageError is a mistake in the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// A stoppedError ends a run that a signal has stopped, with the exit code that a
// shell would give.
type stoppedError struct{ sig syscall.Signal }

func (e *stoppedError) Error() string {
	return fmt.Sprintf("stopped by %v while the sealed channels were being opened; nothing was started", e.sig)
}

func codeOf(err error) int {
	var usage usageError
	var stopped *stoppedError
	switch {
	case errors.As(err, &stopped):
		return 128 + int(stopped.sig)
	case errors.As(err, &usage):
		return exitcode.Usage
	}
	return exitcode.Of(err)
}

// run returns only if the command was not started, and has told SageMaker why then.
func run(ctx context.Context, args []string) error {
	cfg, command, err := parse(args, cmp.Or(os.Getenv("SAGEMAKER_BASE_DIR"), container.BaseDir))
	if err == nil {
		cfg.Logf = func(format string, args ...any) {
			tell("%s vaultpack: %s", time.Now().UTC().Format("2006-01-02T15:04:05Z"), fmt.Sprintf(format, args...))
		}
		err = container.Open(ctx, cfg)
	}
	// From here on a signal ends the process, be it this program or the command.
	if stopped := (*interrupt.Error)(nil); errors.As(interrupt.End(ctx), &stopped) {
		err = &stoppedError{stopped.Signal}
	}
	if err == nil {
		err = container.Exec(command)
	}
	if werr := container.WriteFailure(cfg.BaseDir, err); werr != nil {
		tell("warning: the reason could not be written for SageMaker: %v", werr)
	}
	return err
}
