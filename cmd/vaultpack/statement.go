package main

import (
	"errors"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

func statementCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "statement",
		Usage:     "print the signed statement about a version, for other tools to check",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "This writes a DSSE envelope with an in-toto statement to standard output. Its subject is the\n" +
			"SHA-256 of what the version's root says (--contents). See docs/SIGNERS.md.",
		Flags: append(versionFlags(),
			&cli.StringFlag{Name: "contents", Usage: "write what was signed to `FILE`: it names the index parts and totals, and no files"},
			&cli.StringFlag{Name: "signer-key", Usage: "write the signer's public key to `FILE`, as PEM"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			d, v, err := openVersion(c, con, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			st, err := v.Statement()
			if err != nil {
				return err
			}
			for flag, b := range map[string][]byte{"contents": st.Contents, "signer-key": v.Signer.PEM()} {
				if file := c.String(flag); file != "" {
					err = errors.Join(err, atomicfile.Replace(file, 0o644, func(w io.Writer) error { _, err := w.Write(b); return err }))
				}
			}
			if err != nil {
				return err
			}
			con.write(append(st.Envelope, '\n'))
			con.flush()
			con.dataOnOutput()
			con.emit("summary", event{"command": "statement", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "signed_by": v.Signer.ID().String()})
			return nil
		},
	}
}
