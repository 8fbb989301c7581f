package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/trainer/container"
)

// sagemakerRunCommand is what a training container is started with. It is for the
// job that vaultpack train makes, and so is not listed.
func sagemakerRunCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "sagemaker-run",
		Hidden:    true,
		Usage:     "open the sealed channels of a training job, then become the command that trains",
		ArgsUsage: "-- COMMAND…",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "channel", Usage: "`NAME=DATASET@VERSION#DIGEST` of a sealed channel; may be repeated"},
			&cli.StringSliceFlag{Name: "kms-key", Usage: "the `ARN` of a KMS key that may be called; may be repeated"},
			&cli.StringSliceFlag{Name: "context", Usage: "`KEY=VALUE` of the encryption context; may be repeated"},
			&cli.StringFlag{Name: "region", Usage: "the `REGION` of KMS, where the ARN does not tell"},
			&cli.StringFlag{Name: "format", Value: "files", Usage: "`files`, or tar: leave small files in their tars"},
			&cli.StringSliceFlag{Name: "sharded", Usage: "the channel `NAME` has only this host's share; may be repeated"},
			&cli.StringFlag{Name: "key-channel", Usage: "a channel `NAME` with a key, instead of KMS"},
			&cli.StringFlag{Name: "base-dir", Usage: "the `DIR` in place of " + container.BaseDir, EnvVars: []string{"SAGEMAKER_BASE_DIR"}, Value: container.BaseDir},
		},
		Action: func(c *cli.Context) error { return sagemakerRun(c, con) },
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			base := cmp.Or(os.Getenv("SAGEMAKER_BASE_DIR"), container.BaseDir)
			return tellSageMaker(con, base, usagef("the arguments of sagemaker-run: %w", err))
		},
	}
}

// A stoppedError ends a run that a signal has stopped, with the exit code that a
// shell would give.
type stoppedError struct{ sig syscall.Signal }

func (e *stoppedError) Error() string {
	return fmt.Sprintf("stopped by %v while the sealed channels were being opened; nothing was started", e.sig)
}

func sagemakerRun(c *cli.Context, con *console) error {
	base := c.String("base-dir")
	command, err := openChannels(c, con, base)
	// From here on a signal ends the process, be it this program or the command.
	if stopped := (*interrupt.Error)(nil); errors.As(interrupt.End(c.Context), &stopped) {
		err = &stoppedError{stopped.Signal}
	}
	if err == nil {
		err = container.Exec(command)
	}
	return tellSageMaker(con, base, err)
}

// tellSageMaker writes the error to where SageMaker looks for it, and returns it.
func tellSageMaker(con *console, base string, err error) error {
	if werr := container.WriteFailure(base, err); werr != nil {
		con.warning(fmt.Errorf("the reason could not be written for SageMaker: %w", werr))
	}
	return err
}

func openChannels(c *cli.Context, con *console, base string) (command []string, err error) {
	if command, err = arguments(c, 1, -1); err != nil {
		return nil, err
	}
	cfg := container.Config{
		BaseDir: base, KMSKeys: c.StringSlice("kms-key"), Region: c.String("region"), KeyChannel: c.String("key-channel"),
		Context: envelope.EncryptionContext{},
		Logf: func(format string, args ...any) {
			con.notef("%s vaultpack: %s", time.Now().UTC().Format("2006-01-02T15:04:05Z"), fmt.Sprintf(format, args...))
		},
	}
	switch f := c.String("format"); f {
	case "files":
	case "tar":
		cfg.Tars = true
	default:
		return nil, usagef("--format: %q is neither files nor tar", f)
	}
	sharded := map[string]bool{}
	for _, name := range c.StringSlice("sharded") {
		sharded[name] = true
	}
	for _, s := range c.StringSlice("channel") {
		ch, err := container.ParseChannel(s)
		if err != nil {
			return nil, usagef("--channel: %w", err)
		}
		ch.Sharded = sharded[ch.Name]
		delete(sharded, ch.Name)
		cfg.Channels = append(cfg.Channels, ch)
	}
	for name := range sharded {
		return nil, usagef("--sharded: %q is no sealed channel", name)
	}
	for _, s := range c.StringSlice("context") {
		k, v, ok := strings.Cut(s, "=")
		if _, twice := cfg.Context[k]; !ok || twice {
			return nil, usagef("--context: %q is not KEY=VALUE, or its key is named twice", s)
		}
		cfg.Context[k] = v
	}
	if err := cfg.Check(); err != nil {
		return nil, usageError{err}
	}
	return command, container.Open(c.Context, &cfg)
}

// asStopped is the exit code of a run that a signal has stopped.
func asStopped(err error) (code int, ok bool) {
	var stopped *stoppedError
	if errors.As(err, &stopped) {
		return 128 + int(stopped.sig), true
	}
	return 0, false
}
