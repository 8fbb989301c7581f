package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
)

// cliVersion is that of the SDK in go.mod.
const cliVersion = "v3.200.0"

// cli is Pulumi's command, which the go command builds once into the user's cache:
// that takes minutes. In CI, where CI is set, it is always built; elsewhere a test
// that needs it is skipped where it is not there yet, and says how to have it built.
func cli(t *testing.T) auto.PulumiCommand {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: runs Pulumi's own command; not with -short")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "vaultpack-test-servers", "pulumi-"+cliVersion)
	if _, err := os.Stat(filepath.Join(root, "bin", "pulumi")); err != nil && os.Getenv("CI") == "" && os.Getenv("VAULTPACK_TEST_SERVERS") == "" {
		t.Skip("NOT TESTED: pulumi " + cliVersion + " has not been built, so nothing is brought up for real; VAULTPACK_TEST_SERVERS=1 builds it, in some minutes")
	}
	if err := buildCLI(root); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULUMI_HOME", t.TempDir())
	command, err := auto.NewPulumiCommand(&auto.PulumiCommandOptions{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return command
}

// buildCLI builds the command if it is not there. Of several processes one does, and
// the others wait for it.
func buildCLI(root string) error {
	bin := filepath.Join(root, "bin", "pulumi")
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	// Its module replaces others, so "go install pkg@version" refuses it; as a
	// dependency of another module it can be built.
	tmp, err := os.MkdirTemp(root, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	const pkg = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
	for _, args := range [][]string{
		{"mod", "init", "cli"},
		{"get", pkg + "@" + cliVersion},
		{"build", "-o", "pulumi", "-ldflags", "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + cliVersion, pkg},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = tmp
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building pulumi %s: %w\n%s", cliVersion, err, out)
		}
	}
	return os.Rename(filepath.Join(tmp, "pulumi"), bin)
}
