//go:build unix

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// unprivileged returns whom a server runs as that refuses to be root's, or nil
// where this process is not root's.
func unprivileged() (*identity, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		return nil, fmt.Errorf("%w: PostgreSQL does not run as root, and there is no user %s: %w", ErrSetup, postgresUser, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("servers: user %s: %w", postgresUser, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("servers: user %s: %w", postgresUser, err)
	}
	return &identity{user: uint32(uid), group: uint32(gid)}, nil
}

// runAs has a command run as another user, if there is one.
func runAs(cmd *exec.Cmd, as *identity) {
	if as == nil {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.user, Gid: as.group}
}
