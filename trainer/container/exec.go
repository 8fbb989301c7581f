package container

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Exec becomes the command: signals and the exit code are its own from then on. It
// returns only if that cannot be done.
func Exec(command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("the training command cannot be started: %w", err)
	}
	if err := syscall.Exec(path, command, os.Environ()); err != nil {
		return fmt.Errorf("the training command %s cannot be started: %w", path, err)
	}
	return nil
}
