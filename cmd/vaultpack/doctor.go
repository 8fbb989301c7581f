package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/trainer"
)

func doctorCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "check settings, keys, bucket and permissions",
		ArgsUsage: " ",
		Description: "Each check reports ok, warning, failed or skipped, and how to fix what it found. doctor\n" +
			"changes nothing: it stores two probe objects and deletes them again. With --dataset, it\n" +
			"also opens the dataset's keyrings and tries the calls to KMS that the dataset needs.\n\n" +
			"Exit codes: 0 nothing failed; 1 something failed; 5 only permissions are missing.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "also check access to the dataset `NAME`"},
			&cli.StringFlag{Name: "role", Usage: "also check `ARN`, the role of training jobs"},
		},
		Action: func(c *cli.Context) error {
			cfg, err := configAlone(c, con)
			if err != nil {
				return err
			}
			if name := c.String("dataset"); c.IsSet("dataset") {
				if err := dataset.CheckName(name); err != nil {
					return usagef("--dataset: %w", err)
				}
			}
			settings, err := provisionSettings(cfg)
			if err != nil {
				return err
			}
			report, err := doctor.Run(c.Context, doctor.Options{Config: cfg, Dataset: c.String("dataset"), Role: c.String("role"),
				Outputs: settings.Outputs, Binary: containerBinary, Told: con.tellFinding})
			if err != nil {
				return err
			}
			return con.tellReport(report)
		},
	}
}

// containerBinary describes the vaultpack that a job launched from here would run.
func containerBinary() (string, error) {
	var first error
	for _, arch := range []string{"amd64", "arm64"} { // most common instances first
		b, err := trainer.FindBinary("", arch)
		if err == nil {
			return fmt.Sprintf("%s is static and runs in images for linux/%s", b.File, arch), nil
		}
		first = cmp.Or(first, err)
	}
	return "", first
}

// tellFinding prints what a check found. Failures are printed even with --quiet.
func (c *console) tellFinding(f doctor.Finding) {
	f.Reason, f.Fix = c.called(f.Reason), c.called(f.Fix)
	e := event{"check": f.Check, "result": f.Result, "reason": f.Reason}
	if f.On != "" {
		e["on"] = f.On
	}
	if f.Fix != "" {
		e["fix"] = f.Fix
	}
	if len(f.Missing) > 0 {
		e["missing_permissions"] = f.Missing
	}
	c.emit("check", e)
	tell := c.printf
	if f.Result == doctor.Failed && c.quiet {
		tell = c.warnf
	}
	tell("%-8s %-20s %s", f.Result, f.Check, oneLine(f.Reason))
	if f.On != "" && f.Result != doctor.OK && f.Result != doctor.Skipped {
		tell("%-29s on   %s", "", show(f.On))
	}
	if f.Fix != "" {
		tell("%-29s fix  %s", "", oneLine(f.Fix))
	}
	c.flush()
}

// oneLine reduces what servers and files say to one line of printable characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func (c *console) tellReport(r doctor.Report) error {
	missing, _ := r.Missing()
	c.emit("summary", event{"command": "doctor", "passed": r.Count(doctor.OK), "warnings": r.Count(doctor.Warning),
		"failed": r.Count(doctor.Failed), "skipped": r.Count(doctor.Skipped), "missing_permissions": append([]string{}, missing...)})
	c.printf("\n%d ok, %s, %d failed, %d skipped", r.Count(doctor.OK), count(int64(r.Count(doctor.Warning)), "warning"), r.Count(doctor.Failed), r.Count(doctor.Skipped))
	failed := r.Count(doctor.Failed)
	if failed == 0 {
		return nil
	}
	text := fmt.Sprintf("%s failed", count(int64(failed), "check"))
	code := exitFailed
	if len(missing) > 0 {
		text += "; the missing permissions are " + strings.Join(missing, ", ")
	}
	if r.NotAllowed() {
		code = exitNotAllowed
	}
	return &partialError{text: text, code: code}
}
