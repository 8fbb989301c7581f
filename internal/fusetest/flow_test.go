package fusetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// weakMount is a folder on the weak file system.
func weakMount(t *testing.T, noChmod bool) string {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		if os.Getenv("VAULTPACK_FUSE") == "1" {
			t.Fatalf("VAULTPACK_FUSE says that there is FUSE: %v", err)
		}
		t.Skipf("NOT TESTED: vaultpack on a FUSE mount: %v", err)
	}
	mnt := t.TempDir()
	server, err := mount(t.TempDir(), mnt, noChmod)
	if err != nil {
		if os.Getenv("VAULTPACK_FUSE") != "1" && (os.Geteuid() != 0 || errors.Is(err, syscall.EPERM)) {
			t.Skipf("NOT TESTED: vaultpack on a FUSE mount, which takes root: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

// The file system is as weak as it is meant to be.
func TestMountIsWeak(t *testing.T) {
	mnt := weakMount(t, false)
	f, err := os.Create(filepath.Join(mnt, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Link(f.Name(), f.Name()+"2"); err == nil {
		t.Error("it has links")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		t.Error("it has locks")
	}
	d, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("syncing a folder: %v", err)
	}
	if info, err := f.Stat(); err != nil || info.ModTime().Nanosecond() != 0 || info.ModTime().Unix()%2 != 0 {
		t.Errorf("its times are %v, %v", info, err)
	}
}

type program struct {
	t   *testing.T
	exe string
	env []string
}

func build(t *testing.T) *program {
	p := &program{t: t, exe: filepath.Join(t.TempDir(), "vaultpack")}
	cmd := exec.Command("go", "build", "-o", p.exe, "./cmd/vaultpack")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return p
}

func (p *program) run(args ...string) (string, error) {
	began := time.Now()
	defer func() { p.t.Logf("%v in %v", args, time.Since(began).Round(time.Millisecond)) }()
	cmd := exec.Command(p.exe, args...)
	cmd.Env = append(os.Environ(), p.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (p *program) ok(args ...string) string {
	p.t.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.t.Fatalf("vaultpack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// A vault on the weak mount is made, filled, read, collected and given another key;
// what it says of the place is true; and of two uploads at once both are kept.
func TestVaultOnWeakMount(t *testing.T) {
	mnt := weakMount(t, false)
	p := build(t)
	home, src := t.TempDir(), t.TempDir()
	p.env = []string{"HOME=" + home, "VAULTPACK_VAULT=" + filepath.Join(mnt, "vault"), "VAULTPACK_LOCAL_KEY=" + filepath.Join(home, "key")}
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/one", "one")
	write("two", strings.Repeat("two", 1<<20))
	for _, says := range []string{"no hard links here", "locks are not supported here", "folders cannot be synced", "times are kept to"} {
		if out := p.ok("init"); !strings.Contains(out, says) {
			t.Errorf("init does not say %q:\n%s", says, out)
		}
	}
	if out := p.ok("doctor"); strings.Count(out, "warning") < 4 {
		t.Errorf("doctor says\n%s", out)
	}
	p.ok("push", src, "-d", "scans")
	write("a/three", "three")
	p.ok("push", src, "-d", "scans")
	p.ok("verify", "scans", "--against", src)

	var wg sync.WaitGroup
	for _, name := range []string{"b/four", "b/five"} {
		write(name, name)
		wg.Go(func() {
			if out, err := p.run("push", src, "-d", "scans"); err != nil && !strings.Contains(out, "another writer") {
				t.Errorf("of two at once: %v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	p.ok("push", src, "-d", "scans")
	p.ok("verify", "scans", "--against", src)

	out := filepath.Join(mnt, "out")
	p.ok("restore", "scans", out)
	if b, err := os.ReadFile(filepath.Join(out, "b", "five")); err != nil || string(b) != "b/five" {
		t.Errorf("restored %q, %v", b, err)
	}
	p.ok("rm", "scans@1")
	p.ok("gc", "scans")
	p.ok("keys", "new", "identity", filepath.Join(home, "recovery"))
	p.ok("keys", "add", "scans", "--recipient", filepath.Join(home, "recovery.pub"))
	p.ok("keys", "new", "local", filepath.Join(home, "key2"))
	slot := regexp.MustCompile(`local +([0-9a-f]{8,})`).FindStringSubmatch(p.ok("keys", "list", "scans"))
	if slot == nil {
		t.Fatal("keys list names no local key")
	}
	p.ok("keys", "rewrap", "scans", "local", slot[1], "--new-local-key", filepath.Join(home, "key2"))
	p.env = append(p.env, "VAULTPACK_LOCAL_KEY="+filepath.Join(home, "key2"))
	p.ok("verify", "scans", "--against", src)
	exposed := filepath.Join(mnt, "key3")
	if out, err := p.run("keys", "new", "local", exposed); err == nil || !strings.Contains(out, "keeps no modes") {
		t.Errorf("a key that all can read was made: %v\n%s", err, out)
	}
	if _, err := os.Lstat(exposed); err == nil {
		t.Error("the key that all can read is still there")
	}
	if err := os.WriteFile(exposed, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := p.run("verify", "scans", "--local-key", exposed); err == nil || !strings.Contains(out, "keeps no modes") || strings.Contains(out, "chmod") {
		t.Errorf("a key that all can read was used: %v\n%s", err, out)
	}
	var left []string
	filepath.WalkDir(mnt, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		}
		if base := filepath.Base(name); strings.HasPrefix(base, ".tmp-") || strings.HasPrefix(base, ".vaultpack-") {
			left = append(left, name)
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Where chmod is refused, or does nothing, a restore says so and leaves modes out; the
// second one finds all files there.
func TestRestoreOnMountWithoutModes(t *testing.T) {
	p := build(t)
	home, src := t.TempDir(), t.TempDir()
	p.env = []string{"HOME=" + home, "VAULTPACK_VAULT=" + filepath.Join(home, "vault"), "VAULTPACK_LOCAL_KEY=" + filepath.Join(home, "key")}
	for name, mode := range map[string]os.FileMode{"one": 0o600, "dir/two": 0o444} {
		name = filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(src, "dir"), 0o555); err != nil {
		t.Fatal(err)
	}
	p.ok("init")
	p.ok("push", src, "-d", "scans")
	for _, refused := range []bool{true, false} {
		mnt := weakMount(t, refused)
		for _, dir := range []string{mnt, filepath.Join(mnt, "out")} {
			for run, kept := range []int{0, 2} {
				out := p.ok("restore", "scans", dir, "--json")
				for _, want := range []string{`"failed":0`, fmt.Sprintf(`"unchanged":%d`, kept), `"no_modes":true`, `"no_times":false`} {
					if !strings.Contains(out, want) {
						t.Errorf("chmod refused: %v, run %d to %s: no %s in\n%s", refused, run, dir, want, out)
					}
				}
			}
			if out := p.ok("restore", "scans", dir); !strings.Contains(out, "does not keep modes") {
				t.Errorf("the restore does not say that modes are left out:\n%s", out)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "dir", "two")); err != nil || string(b) != filepath.Join(src, "dir/two") {
				t.Errorf("restored %q, %v", b, err)
			}
		}
	}
}

// A sealed model is opened there too.
func TestOpenModelOnWeakMount(t *testing.T) {
	out := filepath.Join(weakMount(t, true), "model")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-count=1", "-v", "-run", "^TestOpenOnWeakFileSystem$", "./trainer/sealedmodel")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "VAULTPACK_TEST_WEAK_FOLDER="+out)
	if b, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(b, []byte("--- PASS: TestOpenOnWeakFileSystem")) {
		t.Fatalf("%v:\n%s", err, b)
	}
}
