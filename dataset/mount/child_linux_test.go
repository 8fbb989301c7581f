//go:build !386 && !arm

package mount_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/mount"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needsFUSE skips a test where nothing can be mounted, but for CI that says it can.
func needsFUSE(t testing.TB) {
	t.Helper()
	_, err := os.Stat("/dev/fuse")
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("only root can mount without fusermount3")
	}
	switch {
	case err == nil:
	case os.Getenv("VAULTPACK_FUSE") == "1":
		t.Fatalf("VAULTPACK_FUSE says that there is FUSE: %v", err)
	default:
		t.Skipf("NOT TESTED: a mount, which takes root and /dev/fuse: %v", err)
	}
}

const childVariable = "MOUNT_TEST_CHILD"

// child mounts the newest version of a dataset until it gets SIGTERM. The mount is in
// another process than the test, as a process that waits for a page of its own mount does
// not serve it.
func child() int {
	args := strings.Split(os.Getenv(childVariable), "\n")
	fail := func(err error) int {
		fmt.Println("error:", err)
		return 1
	}
	ctx := context.Background()
	vlt, err := config.Open(ctx, &config.Config{Vault: config.Setting{Value: args[0] + "/vault"}, LocalKey: config.Setting{Value: args[0] + "/key"}})
	if err != nil {
		return fail(err)
	}
	vlt.Store = stuck{vlt.Store}
	d, err := dataset.Open(vlt, "d")
	if err != nil {
		return fail(err)
	}
	v, err := d.Latest(ctx)
	if err != nil {
		return fail(err)
	}
	m, err := mount.Start(ctx, v, args[1], mount.Options{View: view.Options{Memory: 16 << 20, IndexMemory: 1},
		Failed: func(path string, err error) { fmt.Printf("failed: %q: %v\n", path, err) }})
	if err != nil {
		return fail(err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	fmt.Println("mounted")
	select {
	case <-end:
	case <-m.Done():
		fmt.Println("unmounted by another")
	}
	if err := m.Unmount(); err != nil {
		return fail(err)
	}
	return 0
}

// A stuck store does not answer to reads of packs while there is a file that says so.
type stuck struct{ vault.Store }

const stuckFile = "STUCK"

func (s stuck) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	dir, _, _ := strings.Cut(os.Getenv(childVariable), "\n")
	for strings.Contains(name, "/packs/") {
		if _, err := os.Stat(filepath.Join(dir, stuckFile)); err != nil {
			break
		}
		os.WriteFile(filepath.Join(dir, "WAITS"), nil, 0o644)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return s.Store.Get(ctx, name, off, n)
}

// sealed makes a vault with one dataset of what fill writes.
func sealed(t testing.TB, packSize int64, fill func(src string)) (dir, src string) {
	t.Helper()
	needsFUSE(t)
	dir = t.TempDir()
	src = filepath.Join(dir, "src")
	must(t, os.Mkdir(src, 0o750))
	fill(src)
	vlt, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: dir + "/vault"}, LocalKey: config.Setting{Value: dir + "/key"}})
	must(t, err)
	d, err := dataset.Open(vlt, "d")
	must(t, err)
	defer d.Close()
	_, err = uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: packSize, Checksum: true})
	must(t, err)
	return dir, src
}

// A mounting is a process that mounts, or has.
type mounting struct {
	t   testing.TB
	cmd *exec.Cmd
	dir string

	lines chan string // what it says
	mu    sync.Mutex
	said  string
}

// run starts a process that mounts the dataset of a vault in a folder.
func run(t testing.TB, vaultDir, mnt string) *mounting {
	t.Helper()
	m := &mounting{t: t, dir: mnt, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1000)}
	m.cmd.Env = append(os.Environ(), childVariable+"="+vaultDir+"\n"+mnt, "HOME="+vaultDir)
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	must(t, err)
	must(t, m.cmd.Start())
	go func() {
		defer close(m.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.mu.Lock()
			m.said += s.Text() + "\n"
			m.mu.Unlock()
			m.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		m.cmd.Process.Kill()
		for range m.lines {
		}
		m.cmd.Wait()
		syscall.Unmount(mnt, syscall.MNT_DETACH)
	})
	return m
}

// mounted is run, and waits until the version is mounted.
func mounted(t testing.TB, vaultDir, mnt string) *mounting {
	t.Helper()
	m := run(t, vaultDir, mnt)
	if line := <-m.lines; line != "mounted" {
		t.Fatalf("it says %q", line)
	}
	return m
}

// end ends the process with SIGTERM and returns what it has said.
func (m *mounting) end() (said string, err error) {
	m.t.Helper()
	must(m.t, m.cmd.Process.Signal(syscall.SIGTERM))
	return m.wait()
}

func (m *mounting) wait() (said string, err error) {
	for range m.lines {
	}
	err = m.cmd.Wait()
	return m.said, err
}

func isMountPoint(t testing.TB, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	return strings.Contains(string(b), " "+dir+" ")
}
