package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/vault"
)

// suffix is the suffix of sealed files' names.
const suffix = ".vpk"

func fileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; - is standard output"},
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "overwrite an existing output file"},
	}
}

func encryptCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "encrypt",
		Usage:     "encrypt one file or standard input",
		ArgsUsage: "[FILE]",
		Description: "FILE is encrypted to FILE.vpk under its own data key, which your local key opens.\n" +
			"Without FILE, standard input is encrypted to standard output. With --recipient, the\n" +
			"recipient can open it too, with: vaultpack decrypt FILE.vpk --identity KEY.",
		Flags: append(fileFlags(), &cli.StringSliceFlag{Name: "recipient", Usage: "also let the recipient in `FILE` open it; can be repeated"}),
		Action: func(c *cli.Context) error {
			return transform(c, con, func(in string) string { return in + suffix }, encryptStream)
		},
	}
}

func decryptCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "decrypt",
		Usage:     "decrypt one file or standard input",
		ArgsUsage: "[FILE]",
		Description: "FILE.vpk is decrypted to FILE, which appears only when all of it is authentic. On\n" +
			"standard output, data is authentic as far as it goes; it is complete only if the exit\n" +
			"code is 0.",
		Flags: fileFlags(),
		Action: func(c *cli.Context) error {
			return transform(c, con, func(in string) string {
				out, ok := strings.CutSuffix(in, suffix)
				if !ok {
					return ""
				}
				return out
			}, decryptStream)
		},
	}
}

// transform runs f from the one file argument or standard input to the output.
func transform(c *cli.Context, con *console, name func(in string) string, f func(context.Context, *cli.Context, *console, io.Reader, io.Writer) (int64, error)) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	in, out := "-", c.String("output")
	if len(args) == 1 {
		in = args[0]
	}
	switch {
	case out == "" && in == "-":
		out = "-"
	case out == "":
		if out = name(in); out == "" {
			return usagef("%s does not end in %s; name the output with --output FILE", show(in), suffix)
		}
	}
	src := con.stdin
	if in != "-" {
		if src, err = os.Open(in); err != nil {
			return err
		}
		defer src.Close()
		if info, err := src.Stat(); err == nil && info.IsDir() {
			return usagef("%s is a folder; use vaultpack encrypt-and-upload for folders", show(in))
		}
	}
	began := time.Now()
	var n int64
	run := func(w io.Writer) (err error) {
		n, err = f(c.Context, c, con, newInput(c.Context, src), w)
		return err
	}
	if out == "-" {
		con.dataOnOutput()
		if c.Command.Name == "encrypt" && term.IsTerminal(int(con.stdout.Fd())) {
			return usagef("will not write encrypted data to a terminal; redirect it, or use --output FILE")
		}
		return run(con.stdout)
	}
	write := atomicfile.Create
	if c.Bool("force") {
		write = atomicfile.Replace
	}
	if err := write(out, 0o600, run); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; use --force to replace it", err)
	} else if err != nil {
		return err
	}
	con.emit("summary", event{"command": c.Command.Name, "input": in, "output": out, "bytes": n, "seconds": time.Since(began).Seconds()})
	con.printf("%s -> %s: %s, %s", show(in), show(out), size(n), speed(n, time.Since(began)))
	return nil
}

func encryptStream(ctx context.Context, c *cli.Context, con *console, src io.Reader, dst io.Writer) (int64, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return 0, err
	}
	keys, err := config.ReadKeys(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) && cfg.Default {
		var v *vault.Vault
		if v, _, err = config.Init(ctx, cfg); err == nil {
			con.tellNewVault(v)
			keys = v.Keys
		}
	}
	if err != nil {
		return 0, err
	}
	wrap := slices.Clone(keys.Wrap)
	for _, file := range c.StringSlice("recipient") {
		r, err := config.ReadRecipient(config.Setting{Value: file, Source: "flag --recipient"})
		if err != nil {
			return 0, err
		}
		wrap = append(wrap, r)
	}
	return envelope.SealFrom(ctx, dst, src, cfg.Context, wrap...)
}

func decryptStream(ctx context.Context, c *cli.Context, con *console, src io.Reader, dst io.Writer) (int64, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return 0, err
	}
	keys, err := config.ReadKeys(ctx, cfg)
	if err != nil {
		return 0, err
	}
	r, err := envelope.Open(ctx, src, cfg.Context, keys.Open...)
	if err != nil {
		return 0, err
	}
	return io.Copy(dst, r)
}

func inspectCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "show the header of an encrypted file, without a key",
		ArgsUsage:   "[FILE]",
		Description: "Nothing that is shown has been authenticated. Use verify or decrypt for that.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			in, name := con.stdin, "-"
			if len(args) == 1 && args[0] != "-" {
				name = args[0]
				if in, err = os.Open(name); err != nil {
					return err
				}
				defer in.Close()
			}
			return inspect(con, name, in)
		},
	}
}

func inspect(con *console, name string, in *os.File) error {
	src := bufio.NewReaderSize(in, 1<<20)
	h, err := envelope.ReadHeader(src)
	if err != nil {
		return fmt.Errorf("%s: %w", show(name), err)
	}
	n, err := io.Copy(io.Discard, src)
	if err != nil {
		return fmt.Errorf("%s: %w", show(name), err)
	}
	sealed := h.Size() + n
	e := event{"file": name, "kind": string(h.Kind), "key_id": h.KeyID.String(), "object_id": h.ObjectID.String(), "sealed_bytes": sealed}
	con.printf("file       %s", show(name))
	con.printf("kind       %s", map[envelope.Kind]string{envelope.KindFile: "a file on its own", envelope.KindPack: "a pack of a dataset",
		envelope.KindIndex: "a part of an index", envelope.KindVersion: "the root of a version"}[h.Kind])
	con.printf("data key   %s", h.KeyID)
	con.printf("object     %s", h.ObjectID)
	if h.Keyring == nil {
		con.printf("keyring    elsewhere, with its dataset")
	} else {
		var slots []event
		for _, s := range h.Keyring.Slots() {
			con.printf("opened by  %s %s", s.Kind, s.Key)
			slots = append(slots, event{"kind": s.Kind, "key": s.Key})
		}
		e["slots"] = slots
	}
	plain, err := envelope.PlaintextSize(sealed - h.Size() + envelope.HeaderSize)
	if err != nil {
		con.printf("sealed     %s: no sealed file can have this size, so it was truncated or extended", size(sealed))
		con.emit("summary", e)
		return fmt.Errorf("%s: %w", show(name), err)
	}
	e["bytes"], e["segments"] = plain, plain/envelope.SegmentSize+1
	con.printf("sealed     %s (%d bytes)", size(sealed), sealed)
	con.printf("contents   %s (%d bytes) in %s", size(plain), plain, count(plain/envelope.SegmentSize+1, "segment"))
	con.emit("summary", e)
	return nil
}
