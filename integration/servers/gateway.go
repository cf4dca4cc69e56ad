package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// gatewayVersion is the version of the S3 gateway, and gatewayCommand its command. It is
// built apart from this module, whose go.mod does not name it.
const (
	gatewayVersion = "v1.8.0"
	gatewayCommand = "github.com/versity/versitygw/cmd/versitygw"
)

// S3Gateway returns the path of the gateway's command, and builds it into the
// user's cache first if this is the first call on this machine. It is safe for use
// by several processes at once: one builds, the others wait for it.
func S3Gateway(ctx context.Context) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "versitygw-"+gatewayVersion)
	command := filepath.Join(dir, filepath.Base(gatewayCommand))
	if isDir(dir) {
		return command, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("servers: make the cache folder: %w", err)
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", fmt.Errorf("servers: lock %s.lock: %w", dir, err)
	}
	defer unlock()
	if isDir(dir) {
		return command, nil
	}
	return command, buildGateway(ctx, cache, dir)
}

// buildGateway builds into a temporary folder and renames that at the end, so that
// dir is either absent or complete.
func buildGateway(ctx context.Context, cache, dir string) (err error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("%w: go is not on the PATH", ErrSetup)
	}
	tmp, err := os.MkdirTemp(cache, "incomplete-")
	if err != nil {
		return fmt.Errorf("servers: make a folder for the gateway: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	cmd := exec.CommandContext(ctx, goCommand, "install", gatewayCommand+"@"+gatewayVersion)
	cmd.Dir = tmp // outside of any module
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("servers: go install %s@%s: %w; its output ends:\n%s", gatewayCommand, gatewayVersion, err, tail(out, 20))
	}
	if err := os.Mkdir(dir+".new", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("servers: make a folder for the gateway: %w", err)
	}
	name := filepath.Base(gatewayCommand)
	if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir+".new", name)); err != nil {
		return fmt.Errorf("servers: move the gateway into the cache: %w", err)
	}
	return os.Rename(dir+".new", dir)
}
