package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// command is what is to be started, in a namespace of its own where that is allowed.
func (j *Job) command(ws *workspace) (*exec.Cmd, error) {
	argv := j.Command
	if j.Source != "" {
		var err error
		if argv, err = j.entry(filepath.Join(ws.base, "code")); err != nil {
			return nil, err
		}
	}
	if len(argv) == 0 {
		return nil, errors.New("there is no command to start")
	}
	base, private := ws.base, false
	if len(j.Enter) > 0 && !j.NoNamespace {
		probe := j.enter(ws, true, "true")
		out, err := probe.CombinedOutput()
		if private = err == nil; private {
			base = container.BaseDir
		} else {
			j.Logf("%s cannot be made private here (%s): the job finds its files by SAGEMAKER_BASE_DIR and SM_*", container.BaseDir, firstLine(out, err))
		}
		if err := os.Remove(filepath.Join(ws.dir, exitName)); err != nil && private {
			return nil, err
		}
	} else {
		j.Logf("the job finds its files by SAGEMAKER_BASE_DIR and SM_*")
	}
	var cmd *exec.Cmd
	if len(j.Enter) > 0 {
		cmd = j.enter(ws, private, argv...)
	} else {
		cmd = exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		endWithThread(cmd.SysProcAttr, syscall.SIGTERM)
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

// enter makes the command line that runs argv under a supervisor, with the job's files
// as /opt/ml if private.
func (j *Job) enter(ws *workspace, private bool, argv ...string) *exec.Cmd {
	args := append(slices.Clone(j.Enter[1:]), ws.dir, strconv.FormatBool(private), j.grace().String())
	cmd := exec.Command(j.Enter[0], append(args, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if private {
		newNamespace(cmd)
	}
	endWithThread(cmd.SysProcAttr, syscall.SIGTERM)
	return cmd
}

// Enter is the function that the command line Job.Enter must call, with the arguments that
// follow it. If its process was started in a mount namespace of its own, Enter makes the
// job's files visible there as /opt/ml. It starts the command, passes SIGTERM on to the
// command's whole process group, and ends everything that the command has started when the
// command or the run ends. It returns when all of that has ended, or with an error if the
// command could not be run.
func Enter(args []string) error {
	if len(args) < 4 {
		return errors.New("there is no command to start")
	}
	private, perr := strconv.ParseBool(args[1])
	grace, gerr := time.ParseDuration(args[2])
	if err := errors.Join(perr, gerr); err != nil {
		return err
	}
	s := &supervisor{dir: args[0], grace: grace}
	if private {
		if err := mount(s.dir); err != nil {
			return fmt.Errorf("mounting the job's files at %s: %w", container.BaseDir, err)
		}
		if wd, err := os.Getwd(); err == nil && wd == filepath.Join(s.dir, "ml", "code") {
			if err := os.Chdir(filepath.Join(container.BaseDir, "code")); err != nil {
				return err
			}
		}
	}
	return s.run(args[3:])
}
