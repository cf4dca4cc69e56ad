// Command figures draws the pictures of the docs. Each one of docs/time.md is what
// came out of a topology that it runs with package streamtest: watermarks, results
// and drops are the engine's, and nothing is drawn by hand but the axes. Those of
// docs/benchmarks.md are of what benchmarks have kept (measured.go): they are drawn
// where it is there.
//
// The types to know: stage runs a topology under a clock (stage.go); picture is a
// drawing with a key and panels, pen draws in one of them by the values of its
// axes (picture.go, pen.go). There is one file a picture.
//
//	go run ./internal/figures            writes docs/figures/*.svg
//	go run ./internal/figures -out DIR   writes them there
//	                          -data DIR  of what DIR holds, not docs/benchmarks
//
// The same source draws the same bytes; a test compares them with those that are
// committed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// figure is a picture by its file's name, without the ending.
type figure struct {
	name string
	draw func() (*picture, error)
}

// figures are those of docs/time.md, in the order of the page.
func figures() []figure {
	return []figure{
		{"windows", windowsPicture},
		{"watermark", watermarkPicture},
		{"idle", idlePicture},
		{"shuffle", shufflePicture},
		{"results", resultsPicture},
		{"session", sessionPicture},
	}
}

// svg draws the figure.
func (f figure) svg() ([]byte, error) {
	p, err := f.draw()
	if err != nil {
		return nil, fmt.Errorf("figure %s: %w", f.name, err)
	}
	return p.svg()
}

func main() {
	out := flag.String("out", filepath.Join("docs", "figures"), "folder to write to")
	data := flag.String("data", filepath.Join("docs", "benchmarks"), "folder of what benchmarks have kept")
	flag.Parse()
	if err := write(*out, *data); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// write draws all figures into a folder, of runs and of what benchmarks have kept.
func write(folder, data string) error {
	for _, f := range append(figures(), measured(data)...) {
		svg, err := f.svg()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, f.name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}
