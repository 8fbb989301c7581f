// Scale measures vaultpack as its users run it, as a process, alternating with what
// they would run instead: s5cmd on the same S3 server, cp and tar on the same disk,
// find for a run with nothing to do. It prints tables in Markdown.
//
//	go run ./bench/scale -vaultpack bin/vaultpack -s5cmd s5cmd s3 directory million
//
// bench/s3.sh builds and runs it. It creates everything below -dir, and removes
// that at the end, even after an interrupt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A bench is one run of the program.
type bench struct {
	vaultpack, s5cmd string
	dir              string // where everything is created, and removed at the end
	runs             int
	large            int64 // bytes of the large file
	files            int   // small files
	fileSize         int64
	million          int // tiny files
	tinySize         int64
	revision         string

	out io.Writer
}

func main() {
	testing.Init() // s3test asks for -short
	b := &bench{}
	dir := flag.String("dir", "", "the folder below which everything is made")
	write := flag.String("write", "", "the Markdown `FILE` to write the tables into")
	mark := flag.String("mark", "scale", "the `NAME` of the marks in it, between which they go")
	flag.StringVar(&b.vaultpack, "vaultpack", "", "the vaultpack to measure")
	flag.StringVar(&b.s5cmd, "s5cmd", "", "the s5cmd to measure beside it")
	flag.StringVar(&b.revision, "revision", "unknown", "what the vaultpack was built from")
	flag.IntVar(&b.runs, "runs", 3, "how often each is run")
	flag.Int64Var(&b.large, "large", 4<<30, "bytes of the large file")
	flag.IntVar(&b.files, "files", 100_000, "number of small files")
	flag.Int64Var(&b.fileSize, "file-size", 10<<10, "bytes of each")
	flag.IntVar(&b.million, "million", 1_000_000, "number of tiny files")
	flag.Int64Var(&b.tinySize, "tiny-size", 1<<10, "bytes of each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.main(ctx, *dir, *write, *mark, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func (b *bench) main(ctx context.Context, dir, write, mark string, what []string) (err error) {
	sections := map[string]func(context.Context) error{"s3": b.s3, "directory": b.directory, "million": b.tiny, "tools": b.tools}
	for _, name := range what {
		if sections[name] == nil {
			return fmt.Errorf("there is nothing to measure of the name %q", name)
		}
	}
	if b.dir, err = os.MkdirTemp(dir, "vaultpack-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	var text strings.Builder
	b.out = io.MultiWriter(os.Stdout, &text)
	b.describe()
	if err := b.touch(); err != nil {
		return err
	}
	for _, name := range what {
		if err := sections[name](ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if write != "" {
		return writeBetween(write, mark, text.String())
	}
	return nil
}

// describe says what was measured and where.
func (b *bench) describe() {
	field := func(file, name string) string {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(b.out, "\n| | |\n|---|---|\n| date | %s |\n| revision | %s |\n| cpu | %s, %d cores |\n| memory | %s |\n| files | in %s |\n| load | %s (1, 5 and 15 minutes, before the start) |\n| runs | %d of each, medians |\n\n",
		time.Now().UTC().Format(time.DateOnly), b.revision, field("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		field("/proc/meminfo", "MemTotal"), fileSystem(b.dir), strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "), b.runs)
}

// marks returns the lines that enclose the named tables in a document.
func marks(name string) (begin, end string) {
	return "<!-- " + name + ": begin -->\n", "<!-- " + name + ": end -->\n"
}

func writeBetween(file, name, text string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := marks(name)
	head, rest, ok := strings.Cut(string(doc), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q for the tables", file, name)
	}
	return os.WriteFile(file, []byte(head+begin+text+end+tail), 0o644)
}

// sub makes a folder, and returns it with a function that removes it.
func (b *bench) sub(name string) (dir string, remove func(), err error) {
	dir = filepath.Join(b.dir, name)
	return dir, func() { os.RemoveAll(dir) }, os.MkdirAll(dir, 0o755)
}
