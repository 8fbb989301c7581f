// Command vaultpack keeps datasets encrypted in a vault. This package holds flags, output
// and exit codes; packages uploader, dataset, vault and envelope do the work.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/internal/version"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer/container/opener"
	"github.com/vaultpack/vaultpack/trainer/local"
)

func main() { os.Exit(run(process(), os.Args)) }

// run is the whole program. The first interrupt cancels the context, so that everything
// shuts down cleanly; a second one ends the process at once.
func run(w world, args []string) int {
	if len(args) > 1 && args[1] == opener.Command {
		return opener.Main(args)
	}
	if len(args) > 1 && args[1] == trainEnter {
		if err := local.Enter(args[2:]); err != nil {
			fmt.Fprintln(w.stderr, "vaultpack:", err)
			return exitFailed
		}
		return exitDone
	}
	ctx, stop := interrupt.Context(context.Background())
	defer stop()

	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft limit: garbage is collected before memory use reaches it.
		debug.SetMemoryLimit(640 << 20)
	}
	con := newConsole(w)
	con.json = asksForJSON(args)
	app := newApp(con)
	con.dashes = slices.Contains(args, "--")
	args, behind, err := flagsFirst(app, args)
	con.behind = behind
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if ctx.Err() != nil && !con.untilStopped && (err == nil || errors.Is(err, context.Canceled)) {
		err = errInterrupted
	}
	return con.end(err)
}

func newApp(con *console) *cli.App {
	app := &cli.App{
		Name:    "vaultpack",
		Usage:   "keep machine-learning data encrypted from the laptop to the GPU",
		Version: version.String(),
		Flags:   commonFlags(),
		// This package writes the help itself.
		Writer:    con.stdout,
		ErrWriter: con.stderr,
		// Errors are reported in one place, by run.
		ExitErrHandler:            func(*cli.Context, error) {},
		DisableSliceFlagSeparator: true, // a pattern may hold a comma
		Suggest:                   true,
		Description: "vaultpack finds the vault by --vault, VAULTPACK_VAULT, or a vaultpack.yaml in this\n" +
			"folder or above it. Otherwise it uses a directory of your own, which it creates on first\n" +
			"use. To see which, run: vaultpack config\n\n" +
			"Exit codes: 0 done; 1 failed; 2 wrong usage; 3 some files failed, the rest is safe; 4\n" +
			"authentication failed (tampering or the wrong key); 5 not allowed; 130 interrupted.",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand("", c.Args().First(), c.App.Commands)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(con),
	}
	app.OnUsageError = onUsageError
	prepare(con, "", app.Commands)
	return app
}

// commands returns the commands in the order of the help.
func commands(con *console) []*cli.Command {
	return []*cli.Command{
		initCommand(con),
		uploadCommand(con),
		planCommand(con),
		workCommand(con),
		commitCommand(con),
		lsCommand(con),
		restoreCommand(con),
		openCommand(con),
		mountCommand(con),
		catCommand(con),
		streamCommand(con),
		serveCommand(con),
		browseCommand(con),
		verifyCommand(con),
		versionsCommand(con),
		diffCommand(con),
		tagCommand(con),
		rmCommand(con),
		gcCommand(con),
		keysCommand(con),
		signersCommand(con),
		statementCommand(con),
		provenanceCommand(con),
		modelsCommand(con),
		modelCommand(con),
		checkpointsCommand(con),
		trustCommand(con),
		encryptCommand(con),
		decryptCommand(con),
		inspectCommand(con),
		trainCommand(con),
		processCommand(con),
		jobsCommand(con),
		logsCommand(con),
		stopCommand(con),
		policyCommand(con),
		doctorCommand(con),
		configCommand(con),
		completionCommand(con),
		manCommand(con),
		handoverCommand(con),
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	of := c.App.Name
	if c.Command.Name != of { // the flags of the command line itself belong to a command with the program's name
		of = strings.TrimSpace(of + " " + c.Command.Name)
	}
	return usagef("%w; see: %s --help", flagError(c.Command, err), of)
}

// prepare adds what all commands have in common. Their names follow the prefix.
func prepare(con *console, prefix string, cmds []*cli.Command) {
	for _, cmd := range cmds {
		name := prefix + cmd.Name
		prepare(con, name+" ", cmd.Subcommands)
		for _, f := range commonFlags() {
			// A command may use a common flag's name for something else.
			if !slices.ContainsFunc(cmd.Flags, func(own cli.Flag) bool { return own.Names()[0] == f.Names()[0] }) {
				cmd.Flags = append(cmd.Flags, f)
			}
		}
		if cmd.OnUsageError == nil {
			cmd.OnUsageError = onUsageError
		}
		// A folder or dataset may be called help, or h.
		cmd.HideHelpCommand = len(cmd.Subcommands) == 0
		for _, f := range cmd.Flags {
			if b, ok := f.(*cli.BoolFlag); ok {
				b.DisableDefaultText = true // do not show that it is off by default
			}
		}
		if cmd.Action != nil {
			cmd.Action = action(con, name, cmd.Action)
		}
	}
}

// action returns what a command does, on a console that knows the command's name.
func action(con *console, name string, do cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		con.json, con.quiet = lineageBool(c, "json"), lineageBool(c, "quiet")
		con.command, con.flags = name, placed(c)
		if name == "cat" {
			con.dataOnOutput()
		}
		return do(c)
	}
}

// commonFlags may be given before or after the command.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "vault", Usage: "`URL` of the vault: a directory or s3://bucket/prefix", Category: "common"},
		&cli.StringFlag{Name: "kms-key", Usage: "`ARN` or alias of the AWS KMS key that wraps data keys", Category: "common"},
		&cli.StringFlag{Name: "sse", Usage: "server-side encryption in S3: `aws:kms` or none (default: aws:kms)", Category: "common"},
		&cli.StringFlag{Name: "local-key", Usage: "read the local key from `FILE`", Category: "common"},
		&cli.StringFlag{Name: "signing-key", Usage: "sign versions with the key in `FILE`, or ssh-agent:FILE.pub, or an AWS KMS key ARN (default: derived from the local key)", Category: "common"},
		&cli.StringFlag{Name: "identity", Usage: "decrypt with the identity in `FILE`", Category: "common"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "decrypt with the passphrase in `FILE` (one line)", Category: "common"},
		&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print one JSON object per event, and a summary at the end", Category: "common"},
		&cli.BoolFlag{Name: "quiet", DisableDefaultText: true, Aliases: []string{"q"}, Usage: "print errors only", Category: "common"},
	}
}

// lineageString returns a common flag's value, wherever on the command line it is.
func lineageString(c *cli.Context, name string) string {
	for _, l := range c.Lineage() {
		if l.IsSet(name) {
			return l.String(name)
		}
	}
	return ""
}

func lineageBool(c *cli.Context, name string) bool {
	for _, l := range c.Lineage() {
		if l.IsSet(name) {
			return l.Bool(name)
		}
	}
	return false
}

func loadConfig(c *cli.Context, con *console) (*config.Config, error) {
	cfg, err := config.Load(func(name string) string { return lineageString(c, name) })
	if err != nil {
		return nil, usagef("%w", err)
	}
	cfg.S3.MFACode = con.askMFA
	cfg.MadeSigningKey = con.tellSigningKey
	cfg.CannotRemember = func(err error) {
		con.notef("Note: what was seen of datasets cannot be remembered on this machine, so a later change of it is not noticed: %v", err)
	}
	cfg.FirstContact = func(dataset string, signer signing.KeyID) {
		con.emit("first-contact", event{"dataset": dataset, "signer": signer.String()})
		con.notef("Note: this is the first contact with dataset %q, whose version is signed by %s. From now on another signer is noticed.", dataset, signer.Short())
	}
	return cfg, nil
}

// configAlone returns the configuration, for a command that takes no arguments.
func configAlone(c *cli.Context, con *console) (*config.Config, error) {
	if _, err := arguments(c, 0, 0); err != nil {
		return nil, err
	}
	return loadConfig(c, con)
}

// arguments checks the number of arguments; max is -1 for any number.
func arguments(c *cli.Context, min, max int) ([]string, error) {
	args := c.Args().Slice()
	if len(args) < min || max >= 0 && len(args) > max {
		problem := "an argument is missing"
		if len(args) >= min {
			problem = fmt.Sprintf("unexpected argument %q", args[max])
		}
		return nil, usagef("%s; usage: %s", problem, strings.TrimSpace(c.Command.HelpName+" "+c.Command.ArgsUsage))
	}
	return args, nil
}
