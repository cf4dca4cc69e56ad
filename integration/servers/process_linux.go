package servers

import (
	"os/exec"
	"syscall"
)

// setAttributes gives the child a session of its own, out of reach of a
// terminal's Ctrl-C, and unless it is detached lets it die with its starter.
func setAttributes(cmd *exec.Cmd, detached bool) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if !detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
}
