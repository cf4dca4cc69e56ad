package servers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// KafkaVersion is the version of the broker that pom.xml names.
const KafkaVersion = "4.1.0"

// ErrSetup is wrapped by errors about what is missing on this machine. Their
// text says what to install.
var ErrSetup = errors.New("servers: the machine lacks a tool")

//go:embed pom.xml
var pom []byte

// KafkaJars returns the folder that holds the broker's jars: see MavenJars.
func KafkaJars(ctx context.Context) (string, error) {
	return MavenJars(ctx, "kafka-"+KafkaVersion, pom)
}

// MavenJars returns the folder that holds the jars of a project's dependencies,
// and brings them there first if this is the first call with this text of a
// pom.xml on this machine. The folder's name begins with name. It is safe for use
// by several processes at once: one brings the jars, the others wait for it.
func MavenJars(ctx context.Context, name string, pom []byte) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pom)
	jars := filepath.Join(cache, fmt.Sprintf("%s-%x", name, sum[:6]))
	if isDir(jars) {
		return jars, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("servers: make the cache folder: %w", err)
	}
	unlock, err := lockFile(jars + ".lock")
	if err != nil {
		return "", fmt.Errorf("servers: lock %s.lock: %w", jars, err)
	}
	defer unlock()
	if isDir(jars) {
		return jars, nil
	}
	return jars, copyJars(ctx, cache, jars, pom)
}

// copyJars has Maven copy the jars to a temporary folder, and renames that to
// jars at the end, so that jars is either absent or complete.
func copyJars(ctx context.Context, cache, jars string, pom []byte) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("%w: mvn is not on the PATH; install Apache Maven (%s)", ErrSetup, installHint)
	}
	tmp, err := os.MkdirTemp(cache, "incomplete-")
	if err != nil {
		return fmt.Errorf("servers: make a folder for the jars: %w", err)
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return fmt.Errorf("servers: write the pom: %w", err)
	}
	libs := filepath.Join(tmp, "libs")
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", file,
		"dependency:copy-dependencies", "-DoutputDirectory="+libs)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("servers: mvn dependency:copy-dependencies: %w; its output ends:\n%s", err, tail(out, 20))
	}
	if err := os.Rename(libs, jars); err != nil && !isDir(jars) {
		return fmt.Errorf("servers: move the jars into the cache: %w", err)
	}
	return nil
}

// CacheDir returns the folder for what is brought here once: that of
// MILLRACE_CACHE, else millrace in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("MILLRACE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: no cache folder for this user: %w; set MILLRACE_CACHE to a folder", ErrSetup, err)
	}
	return filepath.Join(dir, "millrace"), nil
}

const (
	minJava     = 17
	installHint = "Debian, Ubuntu: apt-get install openjdk-17-jdk-headless maven; or run make setup"
)

// JDKTool returns a command of the JDK, such as javac: that of JAVA_HOME, else the
// one on the PATH.
func JDKTool(name string) (string, error) {
	tool := name
	if home := os.Getenv("JAVA_HOME"); home != "" {
		tool = filepath.Join(home, "bin", name)
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		return "", fmt.Errorf("%w: %s not found; install a JDK %d or later (%s)", ErrSetup, tool, minJava, installHint)
	}
	return path, nil
}

// javaPath returns the java command, which must be of version 17 or later.
func javaPath(ctx context.Context) (string, error) {
	path, err := JDKTool("java")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("servers: %s -version: %w: %s", path, err, tail(out, 5))
	}
	major, err := javaMajor(string(out))
	if err != nil {
		return "", fmt.Errorf("servers: %s -version: %w", path, err)
	}
	if major < minJava {
		return "", fmt.Errorf("%w: %s is of version %d; the broker needs %d or later (%s)", ErrSetup, path, major, minJava, installHint)
	}
	return path, nil
}

var javaVersion = regexp.MustCompile(`version "(\d+)(?:\.(\d+))?`)

// javaMajor reads the major version from what java -version prints: 17 for
// "17.0.15", and 8 for "1.8.0_392".
func javaMajor(printed string) (int, error) {
	m := javaVersion.FindStringSubmatch(printed)
	if m == nil {
		return 0, fmt.Errorf("no version in %q", printed)
	}
	if m[1] == "1" && m[2] != "" {
		return strconv.Atoi(m[2])
	}
	return strconv.Atoi(m[1])
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
