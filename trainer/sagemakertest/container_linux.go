package sagemakertest

import (
	"os"
	"os/exec"
	"syscall"
)

// userNamespace lists the variants to try: with a user namespace or without.
func userNamespace() []bool {
	if os.Geteuid() == 0 {
		return []bool{false, true}
	}
	return []bool{true}
}

// isolate makes the command start in new namespaces. It is killed together with the
// thread that starts it, and so is everything in its process namespace.
func isolate(cmd *exec.Cmd, user, network bool) {
	attr := &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
	}
	if user {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if network {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	cmd.SysProcAttr = attr
}
