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
		return fmt.Errorf("cannot start the training command: %w", err)
	}
	if err := syscall.Exec(path, command, os.Environ()); err != nil {
		return fmt.Errorf("cannot start the training command %s: %w", path, err)
	}
	return nil
}
