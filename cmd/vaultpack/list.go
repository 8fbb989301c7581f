package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keyservice"
)

func lsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list the datasets in the vault, or the files in a dataset",
		ArgsUsage: "[DATASET[@VERSION] [PATH]]",
		Flags: append(versionFlags(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r", "R"}, Usage: "list subfolders recursively"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 2)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return listDatasets(c, con)
			}
			return listFiles(c, con, args[0], strings.Join(args[1:], ""))
		},
	}
}

func listDatasets(c *cli.Context, con *console) error {
	v, err := openVault(c, con)
	if noDatasetYet(err) {
		if cfg, cerr := loadConfig(c, con); cerr == nil && cfg.Default {
			con.notef("%v.", err)
			return nil
		}
	}
	if err != nil {
		return err
	}
	names, err := dataset.List(c.Context, v)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		con.notef("There is no dataset in %s yet. Upload one with: %s", show(v.Location), con.next("encrypt-and-upload", "FOLDER"))
	}
	fails := &failures{con: con}
	for _, name := range names {
		d, err := dataset.Open(v, name)
		if err != nil {
			return err
		}
		latest, err := d.Latest(c.Context)
		d.Close()
		if err != nil {
			// A dataset without a version is an unfinished upload.
			switch {
			case noDatasetYet(err):
			case notOurs(err):
				con.emit("dataset", event{"dataset": name, "readable": false, "reason": err.Error()})
				con.printf("%-30s no key of yours opens it", name)
			default:
				fails.path(name, err)
			}
			continue
		}
		e := versionEvent(latest)
		e["readable"] = true
		con.emit("dataset", e)
		con.printf("%-30s version %-4d %15s  %10s  %s", name, latest.Number, count(latest.Totals.Files, "file"), size(latest.Totals.Bytes), day(latest.Created)+completeness(latest))
	}
	return fails.err("dataset", "the others are listed")
}

// notOurs reports whether a dataset belongs to other people: none of the keys opens it,
// and there is no sign of tampering.
func notOurs(err error) bool {
	var noKey *envelope.NoKeyError
	return errors.As(err, &noKey) || keyservice.Refused(err)
}

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func versionEvent(v *dataset.Version) event {
	return event{"dataset": v.Dataset(), "version": v.Number, "created": v.Created, "digest": v.Digest(), "parent": v.Parent,
		"files": v.Totals.Files, "folders": v.Totals.Folders, "links": v.Totals.Links, "bytes": v.Totals.Bytes,
		"packs": v.Totals.Packs, "sealed_bytes": v.Totals.SealedBytes, "flaws": v.Totals.Flaws,
		"signer": v.Signer.ID().String(), "message": v.Message}
}

// completeness returns what is added to the line of an incomplete version.
func completeness(v *dataset.Version) string {
	switch {
	case v.Totals.Flaws == 0:
		return ""
	case v.Partial:
		return fmt.Sprintf("  incomplete: %s missing", number(int64(v.Totals.Flaws)))
	}
	return fmt.Sprintf("  incomplete: %s not read", number(int64(v.Totals.Flaws)))
}

func listFiles(c *cli.Context, con *console, ref, path string) error {
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	prefix := ""
	if path = strings.Trim(path, "/"); path != "" && path != "." {
		e, err := v.Lookup(c.Context, path)
		if err != nil {
			return err
		}
		if !e.IsDir() {
			con.listEntry(e)
			return nil
		}
		prefix = e.Path
	}
	for e, err := range v.EntriesFrom(c.Context, prefix) {
		if err != nil {
			return err
		}
		below, ok := strings.CutPrefix(e.Path, prefix)
		if !ok {
			break
		}
		if below == "" || !c.Bool("recursive") && strings.Contains(strings.TrimSuffix(below, "/"), "/") {
			continue
		}
		con.listEntry(e)
	}
	return nil
}

func (c *console) listEntry(e *tree.Entry) {
	ev := event{"size": e.Size, "mode": fmt.Sprintf("%#o", e.Mode.Perm()), "modified": e.ModTime}
	kind, name := "-", show(e.Path)
	switch {
	case e.IsDir():
		kind = "d"
	case e.IsLink():
		kind = "l"
		name += " -> " + show(e.Link)
		ev["link"] = e.Link
	}
	ev["kind"] = map[string]string{"-": "file", "d": "folder", "l": "link"}[kind]
	if e.Flaw != "" {
		ev["flaw"] = string(e.Flaw)
		name += map[tree.Flaw]string{tree.FlawKept: "  (kept from before: it could not be read)",
			tree.FlawTorn: "  (mixed contents: it was being written to)"}[e.Flaw]
	}
	if e.Sum != nil {
		ev["sha256"] = fmt.Sprintf("%x", e.Sum)
	}
	c.emit("entry", ev.setPath(e.Path))
	c.printf("%s%s %10s  %s  %s", kind, e.Mode.String()[1:], size(e.Size), day(e.ModTime), name)
}

func versionsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "versions",
		Usage:     "list the versions of a dataset",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "The digest identifies the exact bytes of a version. Write it down to recognize the\n" +
			"version later. Write down the number to detect a rollback with --at-least.",
		Flags: versionFlags(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			if strings.Contains(args[0], "@") {
				d, v, err := openVersion(c, con, args[0])
				if err != nil {
					return err
				}
				defer d.Close()
				con.listVersion(v)
				return nil
			}
			return listVersions(c, con, args[0])
		},
	}
}

// listVersions lists all versions, even if the newest cannot be read.
func listVersions(c *cli.Context, con *console, name string) error {
	vault, err := openVault(c, con)
	if err != nil {
		return err
	}
	d, err := dataset.Open(vault, name)
	if err != nil {
		return usageError{err}
	}
	defer d.Close()
	con.dataset = name
	if _, err := d.Choose(c.Context, dataset.Choice{AtLeast: c.Int64("at-least")}); err != nil && !isDamaged(err) {
		return err
	}
	numbers, err := d.Versions(c.Context)
	if err != nil {
		return err
	}
	fails := &failures{con: con}
	var last *dataset.Version
	for _, n := range numbers {
		v, err := d.Version(c.Context, n)
		if err != nil {
			fails.any(err)
			continue
		}
		last = v
		con.listVersion(v)
	}
	if last != nil {
		for _, t := range last.Tags() {
			con.emit("tag", event{"tag": t.Name, "version": t.Number, "digest": t.Digest})
			con.printf("%s@%s is version %d", name, t.Name, t.Number)
		}
	}
	err = fails.err("version", "the others are listed")
	if err != nil && last != nil {
		con.notef("To restore the newest version whose root can be read: %s", con.next("restore", fmt.Sprintf("%s@%d", name, last.Number), "./restored"))
	}
	return err
}

func isDamaged(err error) bool {
	var damaged *dataset.DamagedError
	return errors.As(err, &damaged)
}

func (c *console) listVersion(v *dataset.Version) {
	c.emit("version", versionEvent(v))
	c.printf("%4d  %s  %15s  %10s%s", v.Number, day(v.Created), count(v.Totals.Files, "file"), size(v.Totals.Bytes), completeness(v))
	c.printf("      digest %s", v.Digest())
	if v.Message != "" {
		c.printf("      %s", v.Message)
	}
}
