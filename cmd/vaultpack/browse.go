package main

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/browse"
)

func browseCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "browse",
		Usage:     "look at datasets in a browser on this machine",
		ArgsUsage: "[DATASET[@VERSION]...]",
		Description: "browse prints a link to a page with the files, pictures, tables and versions of datasets, what\n" +
			"changed between versions, and how files are distributed. Data is decrypted in memory\n" +
			"only. Without DATASET, it shows all datasets in the vault; DATASET@VERSION shows only that\n" +
			"version. Ctrl-C ends it.\n\n" +
			"The link works once, for one browser on this machine. To look at data that is on another\n" +
			"machine, run browse there with --port N, and here: ssh -L N:127.0.0.1:N MACHINE",
		Flags: append(cacheFlags(),
			&cli.IntFlag{Name: "port", Usage: "listen at port `N` of 127.0.0.1", DefaultText: "any that is free"},
			&cli.BoolFlag{Name: "open", Usage: "open the page in the default browser"},
			&cli.StringFlag{Name: "memory", Value: "256MiB", Usage: "keep up to `SIZE` of what was read last in memory"}),
		Action: func(c *cli.Context) error { return runBrowse(c, con) },
	}
}

func runBrowse(c *cli.Context, con *console) error {
	o, err := serveOptions(c)
	if err != nil {
		return err
	}
	port := c.Int("port")
	if port < 0 || port > 65535 {
		return usagef("--port: %d is not a port", port)
	}
	if con.quiet && !con.json && !c.Bool("open") {
		return usagef("--quiet hides the link; add --open")
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	disk, closeCache, err := openCache(c, con)
	if err != nil {
		return err
	}
	defer closeCache()
	o.Cache = disk
	catalog, err := serve.Open(context.WithoutCancel(c.Context), v, o)
	if err != nil {
		return err
	}
	defer catalog.Close()
	for _, r := range o.Datasets { // report a wrong name now
		if _, err := catalog.Version(c.Context, r.Dataset, 0); err != nil {
			return err
		}
	}
	b := &browsing{con: con, failures: &failures{con: con}}
	return b.run(c, catalog, "127.0.0.1:"+strconv.Itoa(port))
}

// browsing is one run of the command.
type browsing struct {
	con *console

	mu       sync.Mutex
	failures *failures
	count    int64
}

func (b *browsing) run(c *cli.Context, catalog *serve.Catalog, address string) error {
	h, entry, err := browse.New(catalog, b.failed)
	if err != nil {
		return err
	}
	at, err := serve.Listen(c.Context, address, serve.ListenOptions{})
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	defer at.Close()
	url := at.URL + entry
	b.con.emit("browsing", event{"url": url})
	b.con.printf("%s", url)
	b.con.flush()
	b.con.notef("\nOpen this link in a browser on this machine. It works once. Ctrl-C ends it.")
	if c.Bool("open") {
		forget, err := openBrowser(url)
		defer forget()
		if err != nil {
			b.con.warnf("WARNING: no browser was opened: %v. Open the link yourself.", err)
		}
	}
	b.con.untilStopped = true
	err = at.Serve(c.Context, h)
	b.con.emit("summary", event{"command": "browse", "failed": b.count})
	if err != nil {
		return err
	}
	return partly(b.failures.all.Err("show"), "answer", "the others were shown whole")
}

// failed reports what could not be shown, or only in part. Other people's datasets, and datasets that are not
// uploaded yet, are not failures: the page shows them as such.
func (b *browsing) failed(dataset, path string, err error) {
	if notOurs(err) || noDatasetYet(err) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if path != "" {
		dataset += "/" + path
	}
	b.failures.path(dataset, fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly), err))
}

// openBrowser opens a page that leads to the link, from a file that only this user can read: everybody on
// the machine can see programs' arguments. forget removes the file.
func openBrowser(url string) (forget func(), err error) {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	if _, err := exec.LookPath(opener); err != nil {
		return func() {}, err
	}
	dir, err := os.MkdirTemp("", "vaultpack-browse-")
	if err != nil {
		return func() {}, err
	}
	forget = func() { os.RemoveAll(dir) }
	file := filepath.Join(dir, "open.html")
	page := fmt.Sprintf("<!DOCTYPE html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\"><meta http-equiv=\"refresh\" content=\"0; url=%s\"><title>vaultpack</title>", html.EscapeString(url))
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		return forget, err
	}
	cmd := exec.Command(opener, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach the browser
	if err := cmd.Start(); err != nil {
		return forget, err
	}
	go cmd.Wait() // the browser may outlive this process
	return forget, nil
}
