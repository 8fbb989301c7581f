package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/vaultpack/vaultpack/bench/internal/results"
)

var (
	sizes = []string{"1K", "64K", "1M", "16M", "256M", "1G"}
	cores = []struct{ name, title string }{{"all", "all cores"}, {"1", "one core"}}
	peers = []string{"vaultpack", "age", "sio", "tink", "awsesdk"}
)

func sizeTitle(s string) string {
	return s[:len(s)-1] + " " + s[len(s)-1:] + "iB"
}

// A column is one benchmark over all rows; %s in its name is the row.
type column struct{ title, name string }

// tables returns everything that goes between the marks.
func tables(f *results.File) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n| | |\n|---|---|\n")
	for _, key := range []string{"date", "revision", "cpu-model", "cores", "memory", "kernel", "go", "files", "load", "peers"} {
		if v := f.Config[key]; v != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(key, "-", " "), v)
		}
	}
	glance(&b, f)
	for _, c := range cores {
		w := "/workers=" + c.name
		bySize(&b, f, "From memory, result dropped, "+c.title, []column{
			{"seal, one Write", "Seal/call=WriteAll/size=%s" + w},
			{"seal, Write of 64 KiB", "Seal/call=Write/size=%s" + w},
			{"seal, ReadFrom", "Seal/call=ReadFrom/size=%s" + w},
			{"open, bytes.Reader", "Open/call=Bytes/size=%s" + w},
			{"open, WriteTo", "Open/call=WriteTo/size=%s" + w},
			{"open, Read of 64 KiB", "Open/call=Read/size=%s" + w},
		})
	}
	for _, c := range cores {
		w := "/workers=" + c.name
		bySize(&b, f, "From memory into a buffer, and file to file, "+c.title, []column{
			{"seal, buffer", "SealKept/size=%s" + w},
			{"open, buffer", "OpenKept/size=%s" + w},
			{"seal, file", "SealFile/size=%s" + w},
			{"open, file", "OpenFile/size=%s" + w},
		})
	}
	ranges(&b, f)
	peerTable(&b, f)
	b.WriteString("\n")
	return b.Bytes()
}

// glance compares the two goals of the project with what was measured.
func glance(b *bytes.Buffer, f *results.File) {
	cell := func(v float64, ok bool) string {
		if !ok {
			return "–"
		}
		return fmt.Sprintf("%.2f", v)
	}
	best := func(op string) (least float64, ok bool) {
		for _, p := range peers {
			if x, has := f.Median(peerName(op, "1G", p), "vaultpack-x"); has && (!ok || x < least) {
				least, ok = x, true
			}
		}
		return least, ok
	}
	table(b, "At a glance: 1 GiB, from memory, result dropped, all cores", []string{"", "goal", "seal", "open", "open, from a stream"}, [][]string{
		{"speed over the limit's", "0.95", cell(f.Median("Seal/call=WriteAll/size=1G/workers=all", "ratio")), cell(f.Median("Open/call=Bytes/size=1G/workers=all", "ratio")), cell(f.Median("Open/call=WriteTo/size=1G/workers=all", "ratio"))},
		{"speed over that of the fastest other package", "1.8", cell(best("Seal")), "", cell(best("Open"))},
	})
}

func bySize(b *bytes.Buffer, f *results.File, title string, columns []column) {
	var rows [][]string
	for _, size := range sizes {
		row := []string{sizeTitle(size)}
		for _, c := range columns {
			row = append(row, speedAndRatio(f, fmt.Sprintf(c.name, size)))
		}
		rows = append(rows, row)
	}
	head := []string{"size"}
	for _, c := range columns {
		head = append(head, c.title)
	}
	table(b, title, head, rows)
}

func ranges(b *bytes.Buffer, f *results.File) {
	var rows [][]string
	for _, r := range []struct{ name, title string }{
		{"seq64K", "64 KiB, in order"}, {"seq16M", "16 MiB, in order"}, {"rand4K", "4 KiB, anywhere"}, {"rand64K", "64 KiB, anywhere"},
	} {
		row := []string{r.title}
		for _, size := range []string{"16M", "1G"} {
			for _, c := range cores {
				if r.name == "seq16M" && c.name == "1" {
					row = append(row, "") // such a read uses all cores
					continue
				}
				row = append(row, speedAndRatio(f, fmt.Sprintf("ReaderAt/read=%s/size=%s/workers=%s", r.name, size, c.name)))
			}
		}
		rows = append(rows, row)
	}
	table(b, "ReaderAt, from memory", []string{"reads of", "16 MiB file, all cores", "16 MiB file, one core", "1 GiB file, all cores", "1 GiB file, one core"}, rows)
}

func peerTable(b *bytes.Buffer, f *results.File) {
	var rows [][]string
	for _, p := range peers {
		row := []string{p}
		for _, size := range []string{"1M", "1G"} {
			for _, op := range []string{"Seal", "Open"} {
				name := peerName(op, size, p)
				cell := speed(f, name, "MB/s")
				if x, ok := f.Median(name, "vaultpack-x"); ok {
					cell += fmt.Sprintf(", %.2f×", x)
				}
				row = append(row, cell)
			}
		}
		rows = append(rows, row)
	}
	limit := []string{"the limit"}
	for _, size := range []string{"1M", "1G"} {
		for _, op := range []string{"Seal", "Open"} {
			limit = append(limit, speed(f, peerName(op, size, "vaultpack"), "limit-MB/s"))
		}
	}
	table(b, "Other packages, from memory, result dropped", []string{"", "seal 1 MiB", "open 1 MiB", "seal 1 GiB", "open 1 GiB"}, append(rows, limit))
}

func peerName(op, size, peer string) string { return op + "/size=" + size + "/peer=" + peer }

func speed(f *results.File, name, unit string) string {
	v, ok := f.Median(name, unit)
	switch {
	case !ok:
		return "–"
	case v < 1000:
		return fmt.Sprintf("%.0f MB/s", v)
	}
	return fmt.Sprintf("%.2f GB/s", v/1000)
}

func speedAndRatio(f *results.File, name string) string {
	s := speed(f, name, "MB/s")
	if ratio, ok := f.Median(name, "ratio"); ok {
		s += fmt.Sprintf(", **%.2f**", ratio)
	}
	return s
}

func table(b *bytes.Buffer, title string, head []string, rows [][]string) {
	fmt.Fprintf(b, "\n### %s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}
