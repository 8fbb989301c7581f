package s3test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// motoServer finds moto's server, which pip installs (moto[server]); it is no
// program of Go's, so it is not built.
func motoServer() (string, error) {
	bin, err := exec.LookPath("moto_server")
	if err == nil {
		return bin, nil
	}
	if home, herr := os.UserHomeDir(); herr == nil {
		shim := filepath.Join(home, ".pyenv", "shims", "moto_server")
		if _, serr := os.Stat(shim); serr == nil {
			return shim, nil
		}
	}
	return "", err
}

// Moto starts moto's server, which speaks S3, KMS, IAM and STS at one endpoint. It
// ends with the test. Where there is none the test is skipped; .ci/run says so
// aloud, since skipped tests are silent.
func Moto(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs moto_server; not with -short")
	}
	bin, err := motoServer()
	if err != nil {
		t.Skip("NOT TESTED: there is no moto_server on this machine (pip install 'moto[server]'), so nothing is provisioned on the wire")
	}
	return start(t, program{name: "moto_server", bin: bin}, false, func(s *Server, addr string) ([]string, []string) {
		host, port := splitAddr(t, addr)
		return []string{"-H", host, "-p", port}, []string{"HOME=" + t.TempDir(), "PYENV_ROOT=" + filepath.Dir(filepath.Dir(bin)), "PYTHONDONTWRITEBYTECODE=1"}
	})
}
