package lint

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the greatest length of a Go file.
const maxLines = 900

// Sizes finds Go files that are too long to read.
func Sizes(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.goFiles() {
		if n := bytes.Count(f.Data, []byte("\n")); n > maxLines {
			found = append(found, Finding{File: f.Path, Text: fmt.Sprintf("%d lines, more than %d; split it by what its parts do", n, maxLines)})
		}
	}
	return sorted(found)
}

// Format finds Go files that gofmt would change.
func Format(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.goFiles() {
		want, err := format.Source(f.Data)
		if err != nil {
			found = append(found, Finding{File: f.Path, Text: err.Error()})
			continue
		}
		if !bytes.Equal(want, f.Data) {
			line := 1 + bytes.Count(f.Data[:firstDifference(want, f.Data)], []byte("\n"))
			found = append(found, Finding{File: f.Path, Line: line, Text: "not formatted; run make fmt"})
		}
	}
	return sorted(found)
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// word is a text that no file may hold.
type word struct {
	re  *regexp.Regexp
	why string
}

// words lists them. They are written so that this file holds none of them.
var words = []word{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`), "finish it, or file an issue and write what is so today"},
	{regexp.MustCompile(`(^|[\s"'=(])/wo` + `rk/`), "this is a path of one machine; make it relative to the repository"},
	{regexp.MustCompile(`\b(proxy|sum)\.golang` + `\.org|\b(repo1?|search)\.maven(\.apache)?` + `\.org|deb\.debian` + `\.org|` +
		`\bpypi` + `\.org|registry\.npmjs` + `\.org|(static\.|index\.)?crates` + `\.io`),
		"this names a package registry's host; registries are reached through their clients as the machine sets them up"},
}

// binaries are the endings of files that hold no text.
var binaries = []string{".gz", ".zst", ".png", ".msgpack", ".bin"}

// Words finds marks of unfinished work, paths of one machine and registries'
// hosts in all files.
func Words(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if slices.Contains(binaries, path.Ext(f.Path)) {
			continue
		}
		for i, line := range strings.Split(string(f.Data), "\n") {
			for _, w := range words {
				if m := w.re.FindString(line); m != "" {
					found = append(found, Finding{File: f.Path, Line: i + 1, Text: fmt.Sprintf("%q: %s", strings.TrimSpace(m), w.why)})
				}
			}
		}
	}
	return sorted(found)
}
