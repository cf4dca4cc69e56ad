package lint

import (
	"slices"
	"strings"
)

// Words of the table of rooms.
const (
	everything = "*"
	// smallParts are the folders under internal, but for internal/task.
	smallParts = "internal/*"
)

// room says what a folder of packages may import from this module. A package
// may also import the packages of its own room.
type room struct {
	folder string
	may    []string
}

// rooms is the direction of imports, from the top of the house to its floor.
// The room of a package is the longest folder that it lies in. internal/task is
// no small part: only streams and streamtest see it.
var rooms = []room{
	{"cmd", []string{everything}},
	{"integration", []string{everything}},
	{"examples", []string{"llm", "query", "streams", "streamtest", "topology", "stores", "codec", "window"}},
	{"deploy", nil},
	{"llm", []string{"topology", "window", "codec", "stores", "internal/config", "internal/exact", "internal/msgp", "internal/student"}},
	{"query", []string{"streams", "topology", "stores", "window", "codec", "internal/invariants"}},
	{"streams", []string{"internal/task", "topology", "processors", "stores", "changelog", "window", "codec", smallParts}},
	{"streamtest", []string{"internal/task", "topology", "processors", "stores", "changelog", "window", "codec", "internal/invariants"}},
	{"internal/task", []string{"topology", "processors", "stores", "changelog", "window", "codec", "internal/delimited", "internal/invariants"}},
	{"topology", []string{"processors", "window", "codec", "stores", "internal/invariants"}},
	{"processors", []string{"window", "stores", "codec", smallParts}},
	{"changelog", []string{"stores", "codec", smallParts}},
	{"stores", []string{"codec", "window", smallParts}},
	{"codec", []string{"window", "internal/invariants", "internal/msgp"}},
	{"window", nil},
	{"internal/figures", []string{"streamtest", "topology", "window", "codec", "internal/config"}},
	{"internal/simulation", []string{everything}},
	{"internal", []string{"codec", "window", smallParts}},
}

// ImportDirection finds the imports of our own packages that the table of rooms
// does not allow, and Go code that lies in no room. Tests may import upwards.
func ImportDirection(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.goFiles() {
		r, ok := roomOf(f.dir())
		if !ok {
			found = append(found, f.at(f.ast.Package,
				"the folder %s is in no room; add a row for it to rooms in internal/lint/rooms.go, and to the table in DESIGN.md", f.dir()))
			continue
		}
		if f.isTest() {
			continue
		}
		for spec, p := range f.imports() {
			to, ours := strings.CutPrefix(p, module+"/")
			if ours && !mayImport(r, to) {
				found = append(found, f.at(spec.Pos(),
					"%s may not import %s: imports go down the table in internal/lint/rooms.go; move the code, or take it as a parameter", r.folder, to))
			}
		}
	}
	return sorted(found)
}

// roomOf returns the room of a package's folder.
func roomOf(dir string) (room, bool) {
	var best room
	for _, r := range rooms {
		if under(dir, r.folder) && len(r.folder) > len(best.folder) {
			best = r
		}
	}
	return best, best.folder != ""
}

// mayImport says whether packages of r may import the package at folder to.
func mayImport(r room, to string) bool {
	target, ok := roomOf(to)
	if ok && target.folder == r.folder {
		return true
	}
	return slices.ContainsFunc(r.may, func(allowed string) bool {
		switch allowed {
		case everything:
			return true
		case smallParts:
			return target.folder == "internal"
		}
		return under(to, allowed)
	})
}
