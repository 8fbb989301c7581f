//go:build !386 && !arm

package mount

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// fsType is the type of our mounts.
const fsType = "fuse.vaultpack"

// A mounted is a line of /proc/self/mountinfo: see proc_pid_mountinfo(5). To read it
// asks no file system, so it does not wait for one that has lost its program.
type mounted struct {
	dir, kind, source string
	device            string // as 0:41
	options           string // of the file system
}

// mountedAt is what is mounted at a folder, on top. It is nil if nothing is.
func mountedAt(dir string) (top *mounted, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := parseMountinfo(lines.Text())
		if err != nil {
			return nil, err
		}
		if m.dir == dir {
			top = m // the last is on top
		}
	}
	return top, lines.Err()
}

func parseMountinfo(line string) (*mounted, error) {
	front, back, cut := strings.Cut(line, " - ")
	a, b := strings.Split(front, " "), strings.Split(back, " ")
	if !cut || len(a) < 6 || len(b) < 3 {
		return nil, fmt.Errorf("/proc/self/mountinfo has the line %q", line)
	}
	return &mounted{device: a[2], dir: unescape(a[4]), kind: b[0], source: unescape(b[1]), options: b[2]}, nil
}

// unescape replaces \ooo, as the kernel writes blanks and backslashes, by the byte.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// isOurs reports whether it is a version that this user has mounted.
func (m *mounted) isOurs() bool {
	if m == nil || m.kind != fsType {
		return false
	}
	for o := range strings.SplitSeq(m.options, ",") {
		if o == fmt.Sprintf("user_id=%d", os.Geteuid()) {
			return true
		}
	}
	return false
}
