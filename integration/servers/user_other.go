//go:build !unix

package servers

import "os/exec"

// unprivileged returns nil: there is no root.
func unprivileged() (*identity, error) { return nil, nil }

func runAs(*exec.Cmd, *identity) {}
