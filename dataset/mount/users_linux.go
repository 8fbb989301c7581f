//go:build !386 && !arm

package mount

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxUsers is how many processes are named.
const maxUsers = 10

// usersOf tells which processes have something in a folder open, as far as this one may see
// them. It reads the texts of links only, and so asks nothing of the mount.
func usersOf(dir string) (all []Process) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, proc := range procs {
		id, err := strconv.Atoi(filepath.Base(proc))
		if err != nil || id == os.Getpid() || !uses(proc, dir) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err != nil {
			continue // it has ended
		}
		if all = append(all, Process{id, strings.TrimSpace(string(name))}); len(all) == maxUsers {
			break
		}
	}
	return all
}

// uses reports whether a process has its folder, a file or a mapping in dir.
func uses(proc, dir string) bool {
	links, _ := filepath.Glob(proc + "/fd/*")
	for _, link := range append(links, proc+"/cwd", proc+"/root", proc+"/exe") {
		if to, err := os.Readlink(link); err == nil && within(to, dir) {
			return true
		}
	}
	maps, err := os.Open(proc + "/maps")
	if err != nil {
		return false
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if at := strings.IndexByte(lines.Text(), '/'); at >= 0 && within(unescape(lines.Text()[at:]), dir) {
			return true
		}
	}
	return false
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
