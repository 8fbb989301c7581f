package s3test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const motoVersion = "5.2.1"

// motoServer finds moto's server: one in PATH, one that pyenv has, or the pinned one
// installed in the user's cache.
func motoServer() (bin string, found bool) {
	if bin, err := exec.LookPath("moto_server"); err == nil {
		return bin, true
	}
	if home, err := os.UserHomeDir(); err == nil {
		shim := filepath.Join(home, ".pyenv", "shims", "moto_server")
		if _, err := os.Stat(shim); err == nil {
			return shim, true
		}
	}
	if _, bin, err := motoFile(); err == nil {
		if _, err := os.Stat(bin); err == nil {
			return bin, true
		}
	}
	return "", false
}

func motoFile() (dir, bin string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(cache, "vaultpack-test-servers", "moto-"+motoVersion)
	return dir, filepath.Join(dir, "moto_server"), nil
}

// installMoto installs it, which needs Python 3 with the venv module. The scripts of
// a virtual environment contain the path of the folder that it was made in, so it is
// made in place, and a link marks it as complete.
func installMoto() (string, error) {
	dir, bin, err := motoFile()
	if err != nil {
		return "", err
	}
	return once(dir, bin, func(string) error {
		python := filepath.Join(dir, "bin", "python3")
		for _, args := range [][]string{
			{"python3", "-m", "venv", dir},
			{python, "-m", "pip", "install", "--quiet", "moto[server]==" + motoVersion},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%q: %w\n%s", args, err, out)
			}
		}
		return os.Symlink(filepath.Join("bin", "moto_server"), bin)
	})
}

// Moto starts moto's server, which speaks S3, KMS, IAM and STS at one endpoint. It
// stops when the test ends. If moto is missing the test is skipped; in CI, or with
// VAULTPACK_TEST_SERVERS=1, it is installed with pip, and the test fails if that
// fails.
func Moto(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs moto_server; not with -short")
	}
	bin, found := motoServer()
	switch {
	case found:
	case !asked():
		t.Skip("needs moto_server: VAULTPACK_TEST_SERVERS=1 has it installed once, with Python 3 and pip")
	default:
		var err error
		if bin, err = installMoto(); err != nil {
			t.Fatalf("moto_server cannot be had: %v", err)
		}
	}
	return start(t, program{name: "moto_server", bin: bin}, false, func(s *Server, addr string) ([]string, []string) {
		host, port := splitAddr(t, addr)
		return []string{"-H", host, "-p", port}, []string{"HOME=" + t.TempDir(), "PYENV_ROOT=" + filepath.Dir(filepath.Dir(bin)), "PYTHONDONTWRITEBYTECODE=1"}
	})
}
