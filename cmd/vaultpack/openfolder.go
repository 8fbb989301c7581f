package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/folder"
)

// Exit codes of a shell for a command that cannot be started, and for one that does not exist.
const (
	exitCannotStart = 126
	exitNoCommand   = 127
)

// openedVariable tells the command which version it was given, as a reference that
// vaultpack accepts.
const openedVariable = "VAULTPACK_OPENED"

func openCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "open",
		Usage:     "open a version in a folder, then run a command in its place",
		ArgsUsage: "DATASET[@VERSION] DIR [-- COMMAND [ARG...]]",
		Description: "open restores a version to DIR and makes sure that DIR holds nothing else. Then it becomes\n" +
			"COMMAND: same process, so that signals and the exit code are COMMAND's own. COMMAND is\n" +
			"started only if all of the data is there and authentic. Without COMMAND, open just opens.\n\n" +
			"DIR is missing, empty, or was opened before: what is there is then compared with the\n" +
			"version by contents, where restore trusts size and time. Anything else in DIR is an\n" +
			"error, and open changes nothing. A DIR that open creates is for this user alone.\n\n" +
			"COMMAND gets the environment without the variables VAULTPACK_*, and VAULTPACK_OPENED,\n" +
			"which is DATASET@VERSION#DIGEST. The variables AWS_* stay. While the data is being\n" +
			"opened, SIGTERM ends open with exit code 143, and Ctrl-C with 130.",
		Flags: append(versionFlags(),
			&cli.BoolFlag{Name: "allow-incomplete", Usage: "allow a version of which some files could not be read"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			if len(args)-con.behind != 2 {
				return usagef("write DATASET and DIR before --, and the command behind it; usage: %s %s", c.Command.HelpName, c.Command.ArgsUsage)
			}
			return openAndStart(c, con, args[0], args[1], args[2:])
		},
	}
}

func openAndStart(c *cli.Context, con *console, ref, dir string, command []string) error {
	if con.dashes {
		con.dataOnOutput() // standard output is the command's
		if err := findCommand(command, dir); err != nil {
			return err
		}
	}
	opened, err := openFolder(c, con, ref, dir)
	var stopped *interrupt.Error
	if errors.As(context.Cause(c.Context), &stopped) {
		return stoppedOpening(stopped)
	}
	if err != nil || len(command) == 0 {
		return err
	}
	env := commandEnvironment(opened)
	con.sumUp(nil, exitDone, "")
	con.flush()
	if con.outErr != nil {
		return fmt.Errorf("writing to standard error: %w", con.outErr)
	}
	// From here on a signal ends this process, or is for the command.
	if errors.As(interrupt.End(c.Context), &stopped) {
		return stoppedOpening(stopped)
	}
	return &partialError{text: container.Exec(command, env).Error(), code: exitCannotStart}
}

// commandEnvironment returns the environment of a command that is given a version: this
// process's, without the variables that name vaults and keys.
func commandEnvironment(opened string) (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "VAULTPACK_") {
			env = append(env, kv)
		}
	}
	return append(env, openedVariable+"="+opened)
}

// stoppedOpening returns how open ends because of a signal: with the code that a shell would
// return.
func stoppedOpening(by *interrupt.Error) error {
	return &partialError{text: fmt.Sprintf("%v before the command was started; what has been opened is kept, run the same command again to continue", by),
		code: 128 + int(by.Signal)}
}

// findCommand returns an error if there is no such command, so that nobody waits for the
// data in vain. A command in the folder may be part of the data.
func findCommand(command []string, dir string) error {
	if len(command) == 0 {
		return usagef("there is no command behind --; leave -- out to open the data only")
	}
	_, err := exec.LookPath(command[0])
	if err == nil {
		return nil
	}
	if strings.Contains(command[0], "/") && isBelow(dir, command[0]) {
		return nil
	}
	code := exitNoCommand
	if errors.Is(err, os.ErrPermission) {
		code = exitCannotStart
	}
	return &partialError{text: fmt.Sprintf("the command cannot be started: %v", err), code: code}
}

// isBelow reports whether a file lies below a folder, by their names.
func isBelow(dir, file string) bool {
	top, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(top, abs)
	return err == nil && filepath.IsLocal(rel)
}

// openFolder opens a version in a folder, reports the result, and returns a reference to it.
func openFolder(c *cli.Context, con *console, ref, dir string) (string, error) {
	if dir == "" {
		return "", usagef("the folder's name is empty; use . for the current folder")
	}
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return "", err
	}
	defer d.Close() // which wipes the data keys
	began := time.Now()
	opened, err := folder.Open(c.Context, v, dir, folder.Options{AllowIncomplete: c.Bool("allow-incomplete"), Failed: con.failed,
		Track: func(what string, read func() (done, total, files, failures int64)) func() {
			return con.track(what, read)
		},
		Waiting: func() { con.notef("another process opens a version in %s: waiting for it", show(dir)) }})
	var occupied *folder.OccupiedError
	switch {
	case errors.As(err, &occupied):
		hint := "move that away, or choose a folder that is empty or missing"
		if !occupied.Foreign() {
			hint = "choose a folder that is empty or missing, or replace what differs: " +
				con.next("restore", fmt.Sprintf("%s@%d", d.Name, v.Number), dir, "--overwrite", "always")
		}
		return "", &partialError{text: err.Error(), code: exitFailed, hint: hint}
	case errors.Is(err, dataset.ErrIncomplete):
		return "", orAllow(err)
	}
	if err := partly(err, "entry", "the rest is in the folder, and no command was started"); err != nil {
		return "", err
	}
	con.opened(d, v, dir, opened, time.Since(began))
	return v.Reference().String(), nil
}

// opened reports what open did.
func (c *console) opened(d *dataset.Dataset, v *dataset.Version, dir string, o folder.Result, elapsed time.Duration) {
	abs := dir
	if a, err := filepath.Abs(dir); err == nil {
		abs = a
	}
	c.emit("summary", event{"command": "open", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "dir": abs,
		"files": o.Files, "bytes": o.Bytes, "compared": o.Compared, "compared_bytes": o.ComparedBytes,
		"flaws": v.Totals.Flaws, "setid_left_out": o.SetIDs, "no_modes": o.NoModes, "no_times": o.NoTimes, "seconds": elapsed.Seconds()})
	c.printf("opened   %s, version %d, in %s", d.Name, v.Number, show(abs))
	c.printf("digest   %s", v.Digest())
	c.printf("files    %s restored, %s; %s", count(o.Files, "file"), size(o.Bytes), speed(o.Bytes+o.ComparedBytes, elapsed))
	if o.Compared > 0 {
		c.printf("compared %s, %s, with the version", count(o.Compared, "file"), size(o.ComparedBytes))
	}
	if o.SetIDs > 0 {
		c.notef("note: set-user-ID or set-group-ID bits of %s were not restored, since owners are not restored", count(o.SetIDs, "file"))
	}
	if o.NoModes {
		c.notef("note: the file system of %s does not keep modes: everyone who can read there can read these files", show(abs))
	}
	c.tellIncomplete(v)
	c.tellUsage(d.Vault())
}
