package trainer_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/trainer"
)

// A container that is stopped while its first process is still one of the scripts starts
// nothing. The kernel spares a process 1 the signals that it does not handle, so this is
// tested in a process namespace.
func TestStoppedInAScript(t *testing.T) {
	for name, c := range map[string]struct {
		script, folder string
		args           []string
	}{
		"open":            {trainer.OpenScript, "input/data/vaultpack", []string{"vaultpack", "digest", "sagemaker-run"}},
		"code":            {trainer.CodeScript, "input/data/code", []string{"digest", "echo", "ran"}},
		"open processing": {trainer.OpenProcessing, "processing/input/vaultpack", []string{"vaultpack", "digest", "sagemaker-run"}},
		"code processing": {trainer.CodeProcessing, "processing/input/code", []string{"digest", "echo", "ran"}},
	} {
		t.Run(name, func(t *testing.T) {
			if n := len(c.script); n > 256 {
				t.Errorf("the script has %d characters", n)
			}
			base := t.TempDir()
			bin := filepath.Join(base, "bin")
			for _, dir := range []string{filepath.Join(base, c.folder), filepath.Join(base, "output"), bin} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			// A sum that takes its time, and is right.
			slow := fmt.Sprintf("#!/bin/sh\n>%[1]s/begun\nwhile [ ! -e %[1]s/go ]; do sleep 0.02; done\n", base)
			for file, text := range map[string]string{filepath.Join(bin, "sha256sum"): slow, filepath.Join(base, c.folder, "vaultpack"): "#!/bin/sh\necho ran\n"} {
				if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/bin/sh", append([]string{"-c", strings.ReplaceAll(c.script, "/opt/ml", base)}, c.args...)...)
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+base)
			var out bytes.Buffer
			cmd.Stdout = &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			}
			if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
				t.Skipf("no process namespaces here: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := os.Stat(filepath.Join(base, "begun")); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(base, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 143 || strings.Contains(out.String(), "ran") {
				t.Errorf("exit code %d, %v: %q", code, err, out.String())
			}
		})
	}
}
