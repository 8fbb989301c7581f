package main

import (
	"fmt"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/uploader"
)

// sourceOptions are the options of a source: of push, and of a plan.
func sourceOptions(c *cli.Context, con *console) (o uploader.Options, err error) {
	filter, err := uploader.NewFilter(c.StringSlice("include"), c.StringSlice("exclude"))
	if err != nil {
		return o, usageError{err}
	}
	packSize, err := parseSize(c.String("pack-size"))
	if err == nil && packSize < uploader.MinPackSize {
		err = fmt.Errorf("a pack of %s bytes is too small; the minimum is %s bytes (%s)", number(packSize), number(uploader.MinPackSize), size(uploader.MinPackSize))
	}
	if err != nil {
		return o, usagef("--pack-size: %w", err)
	}
	links, err := uploader.ParseLinks(c.String("links"))
	if err != nil {
		return o, usagef("--links: %w", err)
	}
	return uploader.Options{
		Filter: filter, Links: links, AllowEmpty: c.Bool("allow-empty"), PackSize: packSize, Checksum: c.Bool("checksum"), Shuffle: c.Bool("shuffle"),
		Failed: con.failed,
		Warn:   con.warning,
		Skipped: func(path, kind string) {
			con.emit("skipped", event{"kind": kind}.setPath(path))
			con.notef("skipped: %s: a %s", show(path), kind)
		},
	}, nil
}

func uploadOptions(c *cli.Context, con *console, path string) (uploader.Options, error) {
	o, err := sourceOptions(c, con)
	if err != nil {
		return o, err
	}
	if err := checkBucketFlags(c, path); err != nil {
		return o, err
	}
	if o.Memory, o.Concurrency, err = uploadBounds(c); err != nil {
		return o, err
	}
	if path != "-" && c.IsSet("name") {
		return o, usagef("use --name only with PATH - or --from-command; a file has its own name")
	}
	for _, flag := range []string{"include", "exclude", "links"} {
		if path == "-" && c.IsSet(flag) {
			return o, usagef("--%s is for folders; a stream is one file", flag)
		}
	}
	if path == "-" && c.IsSet("resend") {
		return o, usagef("--resend: a stream is always sent as a whole")
	}
	var resend []envelope.ObjectID
	for _, s := range c.StringSlice("resend") {
		id, err := envelope.ParseObjectID(s)
		if err != nil {
			return o, usagef("--resend: %q is not a pack ID, as verify shows it", s)
		}
		resend = append(resend, id)
	}
	if n := len(c.String("message")); n > dataset.MaxMessage || !utf8.ValidString(c.String("message")) {
		return o, usagef("--message: it has %d bytes; it is text of at most %d", n, dataset.MaxMessage)
	}
	o.Resend, o.Message, o.DryRun = resend, c.String("message"), c.Bool("dry-run")
	return o, nil
}

// uploadBounds returns what --memory and --concurrency allow an upload.
func uploadBounds(c *cli.Context) (memory int64, concurrency int, err error) {
	if memory, err = parseSize(c.String("memory")); err != nil {
		return 0, 0, usagef("--memory: %w", err)
	}
	if memory < uploader.MinMemory {
		return 0, 0, usagef("--memory: %s is too small; the minimum is %s", size(memory), size(uploader.MinMemory))
	}
	if concurrency = c.Int("concurrency"); concurrency < 0 {
		return 0, 0, usagef("--concurrency: %d must be at least 1", concurrency)
	}
	return memory, concurrency, nil
}
