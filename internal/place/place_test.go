package place

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a file system makes of a time is the time, and nothing else is.
func TestHeldTime(t *testing.T) {
	want := time.Unix(1234567891, 123456789)
	for got, held := range map[time.Time]bool{
		want: true, time.Unix(1234567891, 123456700): true, time.Unix(1234567891, 123456000): true, time.Unix(1234567891, 0): true, time.Unix(1234567890, 0): true,
		time.Unix(1234567891, 123456788): false, time.Unix(1234567892, 0): false, time.Unix(1234567889, 0): false, time.Unix(0, 0): false,
	} {
		if HeldTime(got, want) != held {
			t.Errorf("%v for %v: want %v", got, want, held)
		}
	}
	if !HeldTime(time.Unix(1<<31-1, 0), time.Unix(1<<40, 0)) || !HeldTime(time.Unix(-1<<31, 0), time.Unix(-1<<40, 0)) {
		t.Error("the ends of what can be held")
	}
}

// Zeros become holes, and the bytes are the same.
func TestWriteSparse(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": {}, "a zero": {0}, "block": make([]byte, holeSize), "short": make([]byte, holeSize-1), "data": bytes.Repeat([]byte{1}, 3*holeSize+5),
		"hole in the middle": append(append(bytes.Repeat([]byte{1}, holeSize+1), make([]byte, 4*holeSize)...), 2),
		"hole at the end":    append([]byte{1}, make([]byte, 6*holeSize-1)...),
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := writeSparse(int(f.Fd()), name, b, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(len(b))); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(b), err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "hole") && st.Blocks*512 > int64(len(b))-3*holeSize+8192 {
			t.Errorf("%s: %d of %d bytes are on disk", name, st.Blocks*512, len(b))
		}
	}
}
