package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/launcher"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/trainer/metrics"
	"github.com/vaultpack/vaultpack/trainer/report"
)

func jobsShowCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what a training job did: times, costs, data, model, and plots of its metrics",
		ArgsUsage: "JOB",
		Description: "JOB is a job of train --local on this machine, or one in SageMaker. Metrics are those of\n" +
			"train --metric: their values are found in what the job has printed.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "svg", Usage: "also write the plots to `FILE`, as a picture"},
			&cli.StringFlag{Name: "html", Usage: "also write everything to `FILE`, as a page"},
			&cli.StringFlag{Name: "work-dir", Usage: "also look for a running local job in `DIR`, if train had this flag"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			r, err := findReport(c, con, args[0])
			if err != nil {
				return err
			}
			return showReport(c, con, r)
		},
	}
}

// findReport returns the report of a job on this machine, or otherwise in SageMaker.
func findReport(c *cli.Context, con *console, job string) (*report.Report, error) {
	dir, err := reports()
	if err != nil {
		return nil, err
	}
	work, err := workDir(c)
	if err != nil {
		return nil, err
	}
	k, left := local.Find(job, work)
	if left != nil && !errors.Is(left, local.ErrNoJob) {
		return nil, left
	}
	if left == nil {
		return keptReport(dir, k)
	}
	if r, err := dir.Load(job); !errors.Is(err, report.ErrNone) {
		return r, err
	}
	f, err := newFollower(c, con, job)
	if errors.Is(err, launcher.ErrNoRegion) {
		return nil, usagef("no job %s has run on this machine, and for one in SageMaker: %w", show(job), err)
	}
	if err != nil {
		return nil, err
	}
	return trainer.Summarize(c.Context, f.sm, f.logs, job)
}

// keptReport returns the report of a job whose folder is still there. A stored report that ended
// before that job began is of an earlier job with the same name.
func keptReport(dir *report.Dir, k *local.Kept) (*report.Report, error) {
	r, err := dir.Load(k.Job)
	switch {
	case err == nil && !r.Ended.Before(k.Started):
		return r, nil
	case err != nil && !errors.Is(err, report.ErrNone):
		return nil, err
	}
	r = &report.Report{Job: k.Job, Where: report.Local, Status: string(k.Status), Reason: k.Reason, Started: k.Started, Ended: k.Ended, Missing: "they are shown when the job has ended"}
	if k.Status != local.InProgress {
		r.Missing = "the run was killed before it kept them"
	}
	return r, nil
}

// recordDelivery notes in a job's report where a later run has brought its model.
func recordDelivery(k *local.Kept, model string) error {
	dir, err := reports()
	if err != nil {
		return err
	}
	r, err := keptReport(dir, k)
	if err != nil {
		return err
	}
	r.Model = model
	return dir.Save(r)
}

// reports returns the place where the reports of jobs on this machine are kept.
func reports() (*report.Dir, error) {
	state, err := config.StateDir()
	return &report.Dir{Path: filepath.Join(state, "jobs")}, err
}

func showReport(c *cli.Context, con *console, r *report.Report) error {
	for _, out := range []struct {
		flag  string
		write func(io.Writer) error
	}{{"svg", r.WriteSVG}, {"html", r.WriteHTML}} {
		if !c.IsSet(out.flag) {
			continue
		}
		if out.flag == "svg" && len(r.Metrics) == 0 {
			return usagef("--svg: job %s has no metrics: train has --metric NAME=REGEX for them", r.Job)
		}
		if err := atomicfile.Replace(c.String(out.flag), 0o644, out.write); err != nil {
			return fmt.Errorf("--%s: %w", out.flag, err)
		}
	}
	if con.json {
		e, err := reportEvent(r)
		if err != nil {
			return err
		}
		con.emit("report", e)
		return nil
	}
	style := report.Style{ASCII: !unicodeTerminal()}
	if w, _, err := term.GetSize(int(con.stdout.Fd())); err == nil {
		style.Width = w
	}
	var b bytes.Buffer
	if err := r.WriteText(&b, style); err != nil {
		return err
	}
	con.write(b.Bytes())
	return nil
}

// reportEvent returns the report as an event.
func reportEvent(r *report.Report) (e event, err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return e, json.Unmarshal(b, &e)
}

// unicodeTerminal reports whether the locale's encoding is UTF-8.
func unicodeTerminal() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // in this order (POSIX, 8.2)
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.HasSuffix(v, "utf-8") || strings.HasSuffix(v, "utf8")
		}
	}
	return false
}

// tellMetrics prints the last value of each metric, and adds them to a summary.
func (c *console) tellMetrics(summary event, series []metrics.Series) {
	var all []map[string]any
	for _, m := range series {
		metric := map[string]any{"name": m.Name}
		if m.Count > 0 {
			c.printf("metric   %s %s", m.Name, m.Last)
		} else {
			c.warnf("warning: no line of the output has a value of the metric %s", m.Name)
		}
		if v, err := strconv.ParseFloat(m.Last, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) { // JSON has no other numbers
			metric["value"] = v
		}
		all = append(all, metric)
	}
	if all != nil {
		summary["metrics"] = all
	}
}

// A recorder makes the report of a job that runs on this machine.
type recorder struct {
	*metrics.Collector
	lines []*metrics.Lines
}

// newRecorder returns a recorder that reads the metrics of the job from its output.
func newRecorder(in *trainer.Job, job *local.Job) (*recorder, error) {
	r := &recorder{}
	if len(in.Metrics) == 0 {
		return r, nil
	}
	var definitions []metrics.Definition
	for _, m := range in.Metrics {
		definitions = append(definitions, metrics.Definition(m))
	}
	var err error
	if r.Collector, err = metrics.New(definitions); err != nil {
		return nil, usageError{err}
	}
	for _, out := range []*io.Writer{&job.Stdout, &job.Stderr} {
		l := r.Lines()
		r.lines = append(r.lines, l)
		*out = io.MultiWriter(*out, l)
	}
	return r, nil
}

// end makes the report of a job that has ended, stores it for jobs show, and prints the
// last values of the metrics.
func (rec *recorder) end(con *console, job *local.Job, began time.Time, res *local.Result, d *delivery) error {
	for _, l := range rec.lines {
		if err := l.Close(); err != nil {
			return err
		}
	}
	r := &report.Report{Job: job.Name, Where: report.Local, Status: string(res.Status), Reason: res.Reason, Started: began.UTC(), Ended: time.Now().UTC(), Model: d.model, Metrics: rec.Series()}
	for _, g := range job.Groups {
		r.Hosts += g.Count
	}
	for _, s := range job.Sealed {
		r.Inputs = append(r.Inputs, report.Input{Channel: s.Channel, Dataset: s.Dataset.Name, Version: s.Version.Number})
	}
	for _, name := range slices.Sorted(maps.Keys(job.Plain)) {
		r.Inputs = append(r.Inputs, report.Input{Channel: name, Place: job.Plain[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(job.Remote)) {
		r.Inputs = append(r.Inputs, report.Input{Channel: name, Place: job.Remote[name].URI})
	}
	con.tellMetrics(d.summary, r.Metrics)
	dir, err := reports()
	if err != nil {
		return err
	}
	return dir.Save(r)
}
