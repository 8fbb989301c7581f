package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/mount"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/internal/jobs"
)

// Memory of a mount, in bytes.
const (
	minMountMemory     = 16 << 20
	defaultMountMemory = "128MiB"
)

func mountCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "show a version as a read-only folder, without restoring it",
		ArgsUsage: "DATASET[@VERSION] DIR [-- COMMAND [ARG...]]",
		Description: "mount shows a version in DIR through FUSE (Linux). Files are read from the vault and\n" +
			"decrypted when a program reads them; no plaintext is written to disk. It stays until Ctrl-C,\n" +
			"SIGTERM, SIGHUP or umount DIR. With COMMAND, it lasts as long as COMMAND runs, and ends\n" +
			"with COMMAND's exit code.\n\n" +
			"DIR is missing or empty. A DIR that mount creates is for this user alone, and removed at\n" +
			"the end. A mount of this user in DIR whose process was killed is replaced. Symbolic\n" +
			"links are as in the version, and may lead out of DIR. A read of data that does not\n" +
			"authenticate fails with an I/O error; mount prints the path, and ends with exit code 4.\n\n" +
			"COMMAND gets the environment without the variables VAULTPACK_*, and VAULTPACK_OPENED,\n" +
			"which is DATASET@VERSION#DIGEST. The variables AWS_* stay. Mounting needs root, or the\n" +
			"program fusermount3 (package fuse3).",
		Flags: append(append(versionFlags(), cacheFlags()...),
			&cli.BoolFlag{Name: "allow-incomplete", Usage: "allow a version of which some files could not be read"},
			&cli.BoolFlag{Name: "allow-other", Usage: "let all users of this machine read, as far as the files' modes allow"},
			&cli.StringFlag{Name: "memory", Value: defaultMountMemory, Usage: "keep up to `SIZE` of contents in memory, and as much of the index"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			if len(args)-con.behind != 2 {
				return usagef("write DATASET and DIR before --, and the command behind it; usage: %s %s", c.Command.HelpName, c.Command.ArgsUsage)
			}
			if args[1] == "" {
				return usagef("the folder's name is empty; name one that is empty or missing")
			}
			return mountVersion(c, con, args[0], args[1], args[2:])
		},
	}
}

func mountVersion(c *cli.Context, con *console, ref, dir string, command []string) error {
	memory, err := mountMemory(c.String("memory"))
	if err != nil {
		return err
	}
	if con.dashes {
		con.dataOnOutput() // standard output is the command's
		if err := findCommand(command, dir); err != nil {
			return err
		}
	}
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close() // which wipes the data keys
	if err := v.CheckComplete(); err != nil && !c.Bool("allow-incomplete") {
		return orAllow(err)
	}
	disk, closeCache, err := openCache(c, con)
	if err != nil {
		return err
	}
	defer closeCache()
	told := &mountFailures{con: con}
	began := time.Now()
	// A signal ends the mount, which first lets reads in progress finish.
	m, err := mount.Start(context.WithoutCancel(c.Context), v, dir, mount.Options{AllowOther: c.Bool("allow-other"),
		View: view.Options{Memory: memory, IndexMemory: memory, Cache: disk}, Failed: told.failed})
	if err != nil {
		return mountError(err)
	}
	con.untilStopped = true
	con.mounted(d, v, m.Dir(), len(command) > 0)
	if len(command) > 0 {
		err = runMounted(c.Context, command, v.Reference().String())
	} else {
		waitMounted(c.Context, m)
	}
	unmountErr := m.Unmount()
	if err == nil {
		err = unmountErr
	} else if unmountErr != nil {
		con.warning(unmountErr)
	}
	con.emit("summary", event{"command": "mount", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "dir": m.Dir(),
		"failed": told.count(), "seconds": time.Since(began).Seconds()})
	if err == nil {
		err = partly(told.all.Err("mount"), "read", "the others were of the version")
	}
	if err == nil && len(command) == 0 {
		con.printf("%s is unmounted", show(m.Dir()))
	}
	return err
}

// mountMemory returns how many bytes of contents, and of the index, a mount caches. It
// raises the process's memory limit above the default if necessary.
func mountMemory(text string) (int64, error) {
	memory, err := parseSize(text)
	if err == nil && memory < minMountMemory {
		err = errors.New("less than 16MiB")
	}
	if err != nil {
		return 0, usagef("--memory %s: %w", text, err)
	}
	usual, err := parseSize(defaultMountMemory)
	if more := 2 * (memory - usual); err == nil && more > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(debug.SetMemoryLimit(-1) + more)
	}
	return memory, err
}

// mountError adds what to do to an error of mounting.
func mountError(err error) error {
	e := &partialError{text: err.Error(), code: exitCode(err)}
	switch {
	case errors.Is(err, mount.ErrUnsupported):
		e.hint = "{restore DATASET DIR} writes the files to a folder"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.hint = "where mounting is not allowed, {restore DATASET DIR} writes the files to a folder"
	default:
		return err
	}
	return e
}

// mounted reports that a version can be read in a folder.
func (c *console) mounted(d *dataset.Dataset, v *dataset.Version, dir string, hasCommand bool) {
	c.emit("mounted", event{"dataset": d.Name, "version": v.Number, "digest": v.Digest(), "dir": dir, "process": os.Getpid()})
	if !hasCommand {
		c.printf("mounted  %s, version %d, in %s", d.Name, v.Number, show(dir))
		c.printf("digest   %s", v.Digest())
		c.printf("files    %s, %s; to unmount, press Ctrl-C", count(v.Totals.Files, "file"), size(v.Totals.Bytes))
	}
	c.tellIncomplete(v)
	c.flush()
}

// waitMounted waits until the version is unmounted, or a signal asks for that.
func waitMounted(ctx context.Context, m *mount.Mount) {
	hangup := make(chan os.Signal, 1)
	interrupt.Notify(hangup, syscall.SIGHUP)
	select {
	case <-m.Done():
	case <-ctx.Done():
	case <-hangup:
	}
}

// mountFailures reports failed reads, but each path only once in a while: programs
// retry, and there may be very many.
type mountFailures struct {
	con *console
	all jobs.Failures

	mu    sync.Mutex
	n     int64
	since time.Time
	told  map[string]bool // since then
}

// A path is reported at most once in this time, and at most this many paths.
const (
	tellEvery = time.Minute
	tellPaths = 100
)

func (f *mountFailures) failed(path string, err error) {
	f.all.Add(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if time.Since(f.since) > tellEvery {
		f.since, f.told = time.Now(), map[string]bool{}
	}
	switch {
	case f.told[path] || len(f.told) > tellPaths:
	case len(f.told) == tellPaths:
		f.told[path] = true
		f.con.warnf("failed: more reads, %s so far; they are counted, and not printed for up to a minute", number(f.n))
	default:
		f.told[path] = true
		f.con.failed(strings.TrimSuffix(path, "/"), err)
	}
}

func (f *mountFailures) count() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}
