package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/handover"
)

// handoverCommand is what the Python package starts: see package handover. It is not for
// direct use, and may change.
func handoverCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:   "handover",
		Usage:  "serve another program of this user through pipes: the Python package",
		Hidden: true,
		Subcommands: []*cli.Command{
			{
				Name:      "version",
				Usage:     "write a version's entries and keyrings, for the local key in the first line of standard input; then as fetch",
				ArgsUsage: "DATASET[@VERSION]",
				Flags:     versionFlags(),
				Action:    func(c *cli.Context) error { return handOver(c, con) },
			},
			{
				Name:      "fetch",
				Usage:     "answer requests for ranges of a dataset's packs",
				ArgsUsage: "DATASET",
				Action:    func(c *cli.Context) error { return fetchPacks(c, con) },
			},
			{
				Name:      "write",
				Usage:     "make a version of the files on standard input",
				ArgsUsage: "DATASET",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "mode", Value: "add", Usage: "`HOW` the last version's files are kept: add, update or anew"},
					&cli.BoolFlag{Name: "allow-incomplete", Usage: "continue from an incomplete version"},
				},
				Action: func(c *cli.Context) error { return receiveFiles(c, con) },
			},
		},
	}
}

// maxKeyText limits the text of the local key on standard input.
const maxKeyText = 4096

func handOver(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(newInput(c.Context, con.stdin), maxKeyText)
	key, err := readKey(in)
	if err != nil {
		return err
	}
	defer key.Wipe()
	d, v, err := openVersion(c, con, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	con.dataOnOutput()
	if err := handover.Write(c.Context, con.stdout, d, v, key); err != nil {
		return err
	}
	key.Wipe() // packs are read in sealed form, which needs no key
	d.Close()
	f := &handover.Fetcher{Store: d.Vault().Store, Dataset: d.Name, Code: exitCode}
	return f.Serve(c.Context, in, con.stdout)
}

// readKey reads the line of a local key.
func readKey(in *bufio.Reader) (*envelope.LocalKey, error) {
	text, err := in.ReadSlice('\n')
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	key, err := envelope.ParseLocalKey(text)
	clear(text)
	if err != nil {
		return nil, usagef("standard input: %w", err)
	}
	return key, nil
}

func fetchPacks(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	if err := dataset.CheckName(args[0]); err != nil {
		return usageError{err}
	}
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	v, _, err := config.OpenPublic(c.Context, cfg) // packs are read in sealed form, which needs no key
	if err != nil {
		return err
	}
	con.dataOnOutput()
	f := &handover.Fetcher{Store: v.Store, Dataset: args[0], Code: exitCode}
	return f.Serve(c.Context, newInput(c.Context, con.stdin), con.stdout)
}

func receiveFiles(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	mode, ok := map[string]ingest.Mode{"add": ingest.Add, "update": ingest.Update, "anew": ingest.Anew}[c.String("mode")]
	if !ok {
		return usagef("--mode: %q is not add, update or anew", c.String("mode"))
	}
	v, err := openForWriting(c, con)
	if err != nil {
		return err
	}
	d, err := dataset.Open(v, args[0])
	if err != nil {
		return usageError{err}
	}
	defer d.Close()
	w, err := ingest.New(c.Context, d, ingest.Options{Mode: mode, AllowIncomplete: c.Bool("allow-incomplete"),
		Warn: func(err error) { con.warnf("warning: %v", err) }})
	if err != nil {
		return err
	}
	defer w.Close()
	made, err := handover.Receive(c.Context, newInput(c.Context, con.stdin), w)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(con.stdout, `{"dataset":%q,"version":%d,"digest":%q}`+"\n", d.Name, made.Number, made.Digest())
	return err
}
