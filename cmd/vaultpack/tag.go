package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tags"
)

func tagCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "name a version of a dataset, or list the names",
		ArgsUsage: "DATASET | DATASET@VERSION NAME | DATASET --remove NAME",
		Description: "DATASET@NAME then means that version, in every command. A name that another version had\n" +
			"moves. Names are signed, as versions are: this creates a version with the same files.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "remove", Usage: "remove the name `NAME`"}},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 2)
			if err != nil {
				return err
			}
			remove := c.String("remove")
			if remove != "" && len(args) == 2 {
				return usagef("--remove takes the name away from whichever version has it: name none")
			}
			if len(args) == 2 {
				if err := dataset.CheckTag(args[1]); err != nil {
					return usageError{err}
				}
			}
			d, v, err := openVersion(c, con, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			switch {
			case remove != "":
				made, err := tags.Remove(c.Context, d, remove)
				return tellTag(con, d, made, err, event{"removed": remove}, "nothing is named "+remove)
			case len(args) == 2:
				made, err := tags.Set(c.Context, v, args[1])
				return tellTag(con, d, made, err, event{"tag": args[1], "tagged": v.Number}, con.called(d.Name+"@"+args[1]+" is version "+number(v.Number)))
			}
			for _, t := range v.Tags() {
				con.emit("tag", event{"tag": t.Name, "version": t.Number, "digest": t.Digest})
				con.printf("%-30s version %d", t.Name, t.Number)
			}
			con.emit("summary", event{"command": "tag", "dataset": d.Name, "version": v.Number, "tags": len(v.Tags())})
			return nil
		},
	}
}

func tellTag(con *console, d *dataset.Dataset, made *dataset.Version, err error, e event, done string) error {
	if errors.Is(err, tags.ErrUnchanged) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	e["command"], e["dataset"], e["version"], e["digest"] = "tag", d.Name, made.Number, made.Digest()
	con.emit("summary", e)
	con.printf("%s, version %d: %s", d.Name, made.Number, done)
	return nil
}
