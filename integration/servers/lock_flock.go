//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package servers

import (
	"os"
	"syscall"
)

// lockFile waits for the exclusive lock on path and returns the function that
// gives it back. The system gives it back too when the process ends.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
