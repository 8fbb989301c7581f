// Package opener implements the entry point of a training container: it opens the
// sealed channels, and becomes the training command.
package opener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/exitcode"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/internal/version"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// Command is the first word of the program's arguments.
const Command = "sagemaker-run"

// Main runs the program. The first of args is the program's own name. Unless the process
// becomes the command, Main returns an exit code: the command's if it was started,
// otherwise its own.
func Main(args []string) (code int) {
	if len(args) < 2 || args[1] != Command {
		return other(args[1:])
	}
	ctx, stop := interrupt.Context(context.Background())
	defer stop()
	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft limit: garbage is collected before memory use reaches it.
		debug.SetMemoryLimit(640 << 20)
	}
	code, err := run(ctx, args[2:])
	if err == nil {
		return code
	}
	tell("vaultpack: %v", err)
	return codeOf(err)
}

// other handles everything else that the program does.
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

// A stoppedError ends a run that was stopped by a signal, with the exit code that a
// shell would return.
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

// run returns the command's exit code if there was something to do after the command.
// Otherwise it returns only if the command was not started, after reporting the
// reason to SageMaker.
func run(ctx context.Context, args []string) (code int, err error) {
	cfg, command, err := parse(args, cmp.Or(os.Getenv("SAGEMAKER_BASE_DIR"), container.BaseDir))
	var after *container.Tasks
	if err == nil {
		cfg.Logf = func(format string, args ...any) {
			tell("%s vaultpack: %s", time.Now().UTC().Format("2006-01-02T15:04:05Z"), fmt.Sprintf(format, args...))
		}
		after, err = container.Open(ctx, cfg)
	}
	var signals chan os.Signal
	if after != nil {
		signals = container.Signals()
		defer signal.Stop(signals)
	}
	// From here on a signal ends the process, whether that is this program or the
	// command, or is passed on to the command.
	if stopped := (*interrupt.Error)(nil); errors.As(interrupt.End(ctx), &stopped) {
		err = &stoppedError{stopped.Signal}
	}
	switch {
	case err != nil:
	case after == nil:
		err = container.Exec(command, os.Environ())
	default:
		if code, err = train(command, signals, after, cfg.BaseDir); err == nil {
			return code, nil
		}
	}
	if werr := cfg.Failed(err); werr != nil {
		tell("warning: the reason could not be written for SageMaker: %v", werr)
	}
	return 0, err
}

// train runs the command to its end, and then signs and seals its results. What fails
// then is why the job fails, unless the command has failed, whose reason stays.
func train(command []string, signals chan os.Signal, after *container.Tasks, baseDir string) (code int, err error) {
	defer after.Wipe()
	started := time.Now()
	child, err := container.Start(command, signals)
	if err != nil {
		return 0, err
	}
	stop := after.KeepCheckpoints()
	ended := child.Wait()
	stop()
	err = after.Finish(context.Background(), baseDir, ended, started, tell)
	if err != nil && ended.Code != 0 {
		tell("vaultpack: warning: the command has failed, and this too: %v", err)
		err = nil
	}
	return ended.Code, err
}
