package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// The least number of lines of a package comment.
const (
	publicDocLines = 15
	partDocLines   = 5
)

// private are the folders that users of the module do not import.
var private = []string{"cmd", "deploy", "examples", "integration", "internal"}

// isPublic says whether users of the module import the packages of a folder.
func isPublic(dir string) bool {
	return !slices.ContainsFunc(private, func(folder string) bool { return under(dir, folder) })
}

// PackageComments finds packages without a doc.go that says what they are, and
// public ones without a runnable example.
func PackageComments(t *Tree) []Finding {
	var found []Finding
	for dir, files := range t.packages() {
		least, where := partDocLines, dir+"/doc.go"
		top := isPublic(dir) && !strings.Contains(dir, "/")
		switch {
		case top:
			least = publicDocLines
		case under(dir, "examples"):
			least = 1 // its page says the rest
		}
		lines := 0
		for _, f := range files {
			// A main package of one file keeps its comment there.
			inPlace := f.Path == where || f.ast.Name.Name == "main" || under(dir, "examples")
			if inPlace && f.ast.Doc != nil {
				lines = max(lines, strings.Count(f.ast.Doc.Text(), "\n"))
			}
		}
		if lines < least {
			found = append(found, Finding{File: where, Text: fmt.Sprintf(
				"the package comment has %d lines, less than %d; say what the package is, the types to know and the caveats", lines, least)})
		}
		if top && !slices.ContainsFunc(files, hasExample) {
			found = append(found, Finding{File: dir, Text: "no runnable example; add a function Example with an Output comment to a test file"})
		}
	}
	return sorted(found)
}

// hasExample says whether a test file holds an example that go test runs.
func hasExample(f File) bool {
	return f.isTest() && slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(fn.Name.Name, "Example") {
			return false
		}
		return slices.ContainsFunc(f.ast.Comments, func(c *ast.CommentGroup) bool {
			text := strings.ToLower(strings.TrimSpace(c.Text()))
			inside := fn.Pos() < c.Pos() && c.End() < fn.End()
			return inside && (strings.HasPrefix(text, "output:") || strings.HasPrefix(text, "unordered output:"))
		})
	})
}

// interfaceMethods are the methods whose meaning a standard interface gives.
var interfaceMethods = []string{"Error", "Is", "String", "Unwrap"}

// ExportedComments finds exported identifiers of public packages without a doc
// comment. The comment of a group of constants or variables stands for all in
// it, and so does one at the end of the line.
func ExportedComments(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.goFiles() {
		if f.isTest() || !isPublic(f.dir()) {
			continue
		}
		missing := func(name *ast.Ident) {
			found = append(found, f.at(name.Pos(), "exported %s has no doc comment; say what it is to its caller, with units, errors and concurrency", name.Name))
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				byInterface := d.Recv != nil && slices.Contains(interfaceMethods, d.Name.Name)
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !byInterface {
					missing(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					for _, name := range undocumented(d, spec) {
						missing(name)
					}
				}
			}
		}
	}
	return sorted(found)
}

// undocumented returns the exported names of a spec that have no comment.
func undocumented(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen != token.NoPos) {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if d.Doc == nil && s.Doc == nil && s.Comment == nil {
			return slices.DeleteFunc(slices.Clone(s.Names), func(n *ast.Ident) bool { return !n.IsExported() })
		}
	}
	return nil
}

// exportedReceiver says whether a function is a plain one or a method of an
// exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}
