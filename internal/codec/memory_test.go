package codec

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/internal/race"
)

// compressed is a list whose text is begin, then n times repeat, then end.
func compressed(t *testing.T, begin, repeat string, n int, end string, opts ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, begin)
	many := strings.Repeat(repeat, 1<<14)
	for ; n >= 1<<14; n -= 1 << 14 {
		io.WriteString(w, many)
	}
	io.WriteString(w, strings.Repeat(repeat, n)+end)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Who holds a data key can seal any list. A small one must not take memory that the
// bounds do not allow, be it refused or read.
func TestListsOfMuchMemory(t *testing.T) {
	race.Skip(t, "its memory is not the program's")
	const header = `{"format":"vaultpack-index/1","dataset":"d","packs":[{"id":"` + "%064d" + `","key_id":"` + "%032d" + `","size":136,"digest":"` + "%064d" + `"}]`
	head := fmt.Sprintf(header, 0, 0, 0)
	entry := `{"path":"a","mode":0,"mtime":[0,0]`
	large := int64(2 * MaxList)
	tests := []struct {
		name               string
		begin, repeat, end string
		n                  int
		opts               []zstd.EOption
		sound              bool
	}{
		{"the most extents", head + "}\n" + entry + `,"extents":[`, "[0,0,0],", "[0,0,0]]}\n", maxExtents - 1, nil, true},
		{"one extent too many", head + "}\n" + entry + `,"extents":[`, "[0,0,0],", "[0,0,0]]}\n", maxExtents, nil, false},
		{"extents of one file", head + "}\n" + entry + `,"extents":[`, "[0,0,0],", "[0,0,0]]}\n", 7 << 20, nil, false},
		{"extents in other words", head + "}\n" + entry + `, "extents":[`, "[0],", "[]]}\n", 14 << 20, nil, false},
		{"numbers of at", head + "}\n" + entry + `,"at":[`, "0,", "0]}\n", 30 << 20, nil, false},
		{"numbers of seen", head + "}\n" + entry + `,"seen":[`, "0,", "0]}\n", 30 << 20, nil, false},
		{"sums", head + "}\n" + entry + `,"sums":[`, `"",`, "\"\"]}\n", 20 << 20, nil, false},
		{"packs that are none", `{"format":"vaultpack-index/1","dataset":"d","packs":[`, "{},", "{}]}\n", 20 << 20, nil, false},
		{"hosts", head + `,"hosts":[`, `"",`, "\"\"]}\n", 20 << 20, nil, false},
		{"a source", head + `,"source":"`, "ssssssss", "\"}\n", 1 << 20, nil, false},
		{"a field that nobody knows", head + `,"more":[`, "[],", "[]]}\n", 4 << 20, nil, true},
		{"an endless header", "", "x", "\n", int(large), nil, false},
		{"a path", head + "}\n" + `{"path":"`, "pppppppp", `","mode":0,"mtime":[0,0]}` + "\n", 1 << 20, nil, false},
		{"a path of escapes", head + "}\n" + `{"path":"`, `\u0001`, `","mode":0,"mtime":[0,0]}` + "\n", 10 << 20, nil, false},
		{"a link", head + "}\n" + entry + `,"link":"`, "\xff", `"}` + "\n", 60 << 20, nil, false},
		{"a sum", head + "}\n" + entry + `,"sha256":"`, "0", `"}` + "\n", 60 << 20, nil, false},
		{"empty lines", head + "}\n", "\n", "", 60 << 20, nil, false},
		{"a list of gigabytes", head + "}\n" + entry + "}\n", strings.Repeat(" ", 1<<10), "\n", 2 << 20, nil, false},
		{"a window of gigabytes", head + "}\n" + entry + "}", " ", "\n", 9 << 20, []zstd.EOption{zstd.WithWindowSize(zstd.MaxWindowSize)}, false},
	}
	for _, tt := range tests {
		list := compressed(t, tt.begin, tt.repeat, tt.n, tt.end, tt.opts...)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, entries, err := DecodeList(IndexFormat, "d", list)
		runtime.ReadMemStats(&after)
		if (err == nil) != tt.sound {
			t.Errorf("%s: %d entries, %v", tt.name, len(entries), err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", tt.name, len(err.Error()))
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 6*MaxList>>20 {
			t.Errorf("%s: %d bytes took %d MiB of memory", tt.name, len(list), took)
		}
	}
}

// So is a root, of which each part takes many times its shortest text.
func TestRootsOfMuchMemory(t *testing.T) {
	part := fmt.Sprintf(`{"id":"%064d","key_id":"%032d","size":136,"digest":"%064d","sha256":"%064d","first":%%q,"entries":%%d}`, 0, 0, 0, 0)
	one := func(first string, n int) string { return fmt.Sprintf(part, first, n) }
	for name, parts := range map[string]string{
		"empty parts":         strings.Repeat("{},", 10<<20) + "{}",
		"parts of the same":   one("a", 1) + "," + one("a", 1),
		"parts out of order":  one("b", 1) + "," + one("a", 1),
		"a part of nothing":   one("a", 0),
		"a part of too much":  one("a", maxEntries+1),
		"an endless path":     one(strings.Repeat("p", 1<<20), 1),
		"an endless ID":       strings.Replace(one("a", 1), `"id":"`, `"id":"`+strings.Repeat("0", 1<<20), 1),
		"a number in between": "7",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, got, err := readRoot([]byte(`{"format":"vaultpack-version/1","parts":[` + parts + `]}`))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: %d parts are taken", name, len(got))
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 3*MaxRoot>>20 {
			t.Errorf("%s: %d MiB of memory", name, took)
		}
	}
	_, got, err := readRoot([]byte(`{"format":"vaultpack-version/1","parts":[` + one("", 1) + "," + one("a", maxEntries) + `]}`))
	if err != nil || len(got) != 2 {
		t.Errorf("two sound parts: %v, %v", got, err)
	}
}
