// Package s3test runs S3 servers for tests, as processes on loopback: MinIO, which
// supports SSE-KMS, and versitygw, which checks requests strictly but ignores SSE.
// Neither is linked. The go command builds their pinned versions once, into the
// user's cache, which takes minutes. Moto, which is written in Python, stands in for
// other AWS services.
//
// In CI, where CI is set, the test fails if a server is not available, so that
// nothing passes untested. Elsewhere, tests that need a server that has not been
// built are skipped, and say how to build it: VAULTPACK_TEST_SERVERS=1. With -short
// they are always skipped.
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
	bin                string // finds a program that is not built
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

// asked reports whether a server that a test needs must be built or installed.
func asked() bool {
	return os.Getenv("CI") != "" || os.Getenv("VAULTPACK_TEST_SERVERS") != ""
}

// path returns the path of the program, and builds it if necessary.
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
		// The go command writes the file in place, so the program is built elsewhere.
		return os.Rename(filepath.Join(tmp, p.name), bin)
	})
}

// once calls build to make bin, if it does not exist. Of several processes one
// builds, in a new folder inside dir, and the others wait for it.
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
