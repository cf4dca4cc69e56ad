//go:build unix && !linux

package servers

import (
	"os/exec"
	"syscall"
)

// setAttributes gives the child a session of its own, out of reach of a
// terminal's Ctrl-C.
func setAttributes(cmd *exec.Cmd, _ bool) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}
