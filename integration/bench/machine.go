package bench

import (
	"bufio"
	"cmp"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine is what the figures of a page depend on.
type machine struct {
	Processor string
	Cores     int
	MemoryGiB int64
	System    string
	Go, Java  string
	Commit    string
}

// thisMachine describes the machine; what it cannot find is "unknown".
func thisMachine() machine {
	m := machine{
		Processor: fieldOf("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		System: cmp.Or(said("uname", "-sr"), runtime.GOOS), Go: runtime.Version(),
		Java:   cmp.Or(said("java", "--version"), "unknown"),
		Commit: cmp.Or(said("git", "rev-parse", "--short", "HEAD"), "unknown"),
	}
	kib, _ := strconv.ParseInt(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.MemoryGiB = kib >> 20
	return m
}

// fieldOf returns the first value of a name in a file of 'name: value' lines.
func fieldOf(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// said returns the first line that a command prints, or nothing.
func said(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
