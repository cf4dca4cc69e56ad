package lint

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is the path that our import paths begin with.
const module = "github.com/millrace/millrace"

// Finding is one breach of a rule.
type Finding struct {
	File string // relative to the root, with slashes
	Line int    // 0 if it is about the whole file or folder
	Text string // what is wrong and what to do
}

// String returns the finding in the form that editors jump to.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// Tree is the text of all files of the repository, and the syntax of the Go
// files among them. It is not changed after Load.
type Tree struct {
	Root  string
	Files []File
}

// File is one file of a Tree.
type File struct {
	Path string // relative to the root, with slashes
	Data []byte

	fset *token.FileSet
	ast  *ast.File // nil if it is no Go file

	virtual bool // its code runs under testing/synctest; set by Calls
}

// Load reads the tree under root. Folders whose names begin with a dot, but for
// .ci and .github, are left out, and so are bin folders at the root.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && rel != "." && rel != ".ci" && rel != ".github"
			if hidden || rel == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := newFile(rel, data)
		t.Files = append(t.Files, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lint: read the tree: %w", err)
	}
	if len(t.Files) == 0 {
		return nil, errors.New("lint: no files under " + root)
	}
	return t, nil
}

// newFile parses a Go file and takes any other as it is.
func newFile(rel string, data []byte) (File, error) {
	f := File{Path: rel, Data: data}
	if !strings.HasSuffix(rel, ".go") {
		return f, nil
	}
	f.fset = token.NewFileSet()
	var err error
	f.ast, err = parser.ParseFile(f.fset, rel, data, parser.ParseComments|parser.SkipObjectResolution)
	return f, err
}

// goFiles returns the files that hold Go, testdata excluded.
func (t *Tree) goFiles() []File {
	return slices.DeleteFunc(slices.Clone(t.Files), func(f File) bool {
		return f.ast == nil || strings.Contains("/"+f.Path, "/testdata/")
	})
}

// packages returns the Go files by folder, relative to the root.
func (t *Tree) packages() map[string][]File {
	m := map[string][]File{}
	for _, f := range t.goFiles() {
		m[f.dir()] = append(m[f.dir()], f)
	}
	return m
}

func (f File) dir() string { return path.Dir(f.Path) }

// isTest says whether the file is only part of tests.
func (f File) isTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// at makes a finding about a place in the file.
func (f File) at(pos token.Pos, format string, args ...any) Finding {
	return Finding{File: f.Path, Line: f.fset.Position(pos).Line, Text: fmt.Sprintf(format, args...)}
}

// imports returns the import specs of the file with their unquoted paths.
func (f File) imports() map[*ast.ImportSpec]string {
	m := map[*ast.ImportSpec]string{}
	for _, spec := range f.ast.Imports {
		// The parser has checked that the literal is a string.
		p, _ := strconv.Unquote(spec.Path.Value)
		m[spec] = p
	}
	return m
}

// importNames returns the path behind each name that the file's imports give.
func (f File) importNames() map[string]string {
	m := map[string]string{}
	for spec, p := range f.imports() {
		if spec.Name != nil {
			m[spec.Name.Name] = p
			continue
		}
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && name[1] >= '0' && name[1] <= '9' {
			name = path.Base(path.Dir(p))
		}
		m[name] = p
	}
	return m
}

// under says whether dir is the folder of that name or below it.
func under(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

// sorted orders findings by place.
func sorted(found []Finding) []Finding {
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return found
}
