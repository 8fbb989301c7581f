package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// command is what is to be started, in a namespace of its own where that is allowed.
func (j *Job) command(ws *workspace) (*exec.Cmd, error) {
	argv := j.Command
	if j.Source != "" {
		argv = []string{"python3", j.Entry}
	}
	if len(argv) == 0 {
		return nil, errors.New("there is no command to start")
	}
	base, private := ws.base, false
	if len(j.Enter) > 0 {
		probe := j.enter(ws, "true")
		out, err := probe.CombinedOutput()
		if private = err == nil; private {
			base = container.BaseDir
		} else {
			j.Logf("%s cannot be made private here (%s): the job finds its files by SAGEMAKER_BASE_DIR and SM_*", container.BaseDir, firstLine(out, err))
		}
	} else {
		j.Logf("the job finds its files by SAGEMAKER_BASE_DIR and SM_*")
	}
	if j.Source != "" {
		argv = append(argv, j.userArgs()...)
	}
	var cmd *exec.Cmd
	if private {
		cmd = j.enter(ws, argv...)
	} else {
		cmd = exec.Command(argv[0], argv[1:]...)
		dieWithParent(cmd)
	}
	cmd.Env = j.environment(base)
	if j.Source != "" {
		cmd.Dir = filepath.Join(ws.base, "code")
	}
	return cmd, nil
}

func firstLine(out []byte, err error) string {
	if len(out) == 0 {
		return err.Error()
	}
	line := string(out)
	for i, c := range line {
		if c == '\n' {
			return line[:i]
		}
	}
	return line
}

// enter makes the command line that becomes argv with the job's files as /opt/ml.
func (j *Job) enter(ws *workspace, argv ...string) *exec.Cmd {
	args := append(append(append([]string{}, j.Enter[1:]...), ws.dir), argv...)
	cmd := exec.Command(j.Enter[0], args...)
	newNamespace(cmd)
	dieWithParent(cmd)
	return cmd
}

// Enter is what the command line Job.Enter leads to: in the mount namespace that
// its process was started in, it makes the job's files visible as /opt/ml, and
// becomes the command. It returns only if that cannot be done.
func Enter(dir string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("there is no command to start")
	}
	if err := mount(dir); err != nil {
		return fmt.Errorf("mounting the job's files at %s: %w", container.BaseDir, err)
	}
	if wd, err := os.Getwd(); err == nil && wd == filepath.Join(dir, "ml", "code") {
		if err := os.Chdir(filepath.Join(container.BaseDir, "code")); err != nil {
			return err
		}
	}
	// The thread that calls exec is the process from then on, and is to end with the
	// run that removes the job's files.
	runtime.LockOSThread()
	if err := endWithParent(); err != nil {
		return err
	}
	return container.Exec(argv)
}
