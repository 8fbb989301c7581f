// Package s3test runs S3 servers for tests, as processes on loopback: MinIO,
// which does SSE-KMS, and versitygw, which checks what it is sent strictly but
// ignores SSE. Neither is linked. Their pinned versions are built by the go
// command once into the user's cache, which takes minutes. Moto, which is written in
// Python, stands for other services of AWS.
//
// In CI, where CI is set, a server that cannot be had makes the test fail, so that
// nothing passes unproved. Elsewhere, tests that need a server which has not been
// built yet are skipped, and say how to have it built: VAULTPACK_TEST_SERVERS=1.
// With -short they are skipped anyhow.
package s3test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// A program is a server at a pinned version.
type program struct {
	name, pkg, version string
	bin                string // where it is, for one that is not built
}

var (
	minio     = program{name: "minio", pkg: "github.com/minio/minio", version: "v0.0.0-20260212201848-7aac2a2c5b7c"}
	versitygw = program{name: "versitygw", pkg: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0"}
)

func (p program) file() (dir, bin string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(cache, "vaultpack-test-servers", p.name+"-"+p.version)
	return dir, filepath.Join(dir, p.name), nil
}

// wanted reports whether the program may be built, or has been.
func (p program) wanted() bool {
	if p.bin != "" {
		return true
	}
	_, bin, err := p.file()
	if err == nil {
		_, err = os.Stat(bin)
	}
	return err == nil || asked()
}

// asked reports whether what a test needs is to be had, whatever it takes.
func asked() bool {
	return os.Getenv("CI") != "" || os.Getenv("VAULTPACK_TEST_SERVERS") != ""
}

// path is the program, built if need be.
func (p program) path() (string, error) {
	if p.bin != "" {
		return p.bin, nil
	}
	dir, bin, err := p.file()
	if err != nil {
		return "", err
	}
	return once(dir, bin, func(tmp string) error {
		cmd := exec.Command("go", "install", p.pkg+"@"+p.version)
		cmd.Dir = tmp
		cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "CGO_ENABLED=0", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s %s: %w\n%s", p.name, p.version, err, out)
		}
		// The go command writes the file in place, so it is built elsewhere.
		return os.Rename(filepath.Join(tmp, p.name), bin)
	})
}

// once has bin made by build, if it is not there. Of several processes one builds,
// in a folder of its own inside dir, and the others wait for it.
func once(dir, bin string, build func(tmp string) error) (string, error) {
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	return bin, build(tmp)
}
