package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// docs is the folder of the pages.
const docs = "../../docs"

// TestCommittedFiguresAreThoseThatAreDrawn keeps pictures, engine and figures
// together, and each picture on its page.
func TestCommittedFiguresAreThoseThatAreDrawn(t *testing.T) {
	kept := measured(filepath.Join(docs, "benchmarks"))
	drawn := append(figures(), kept...)
	for _, f := range drawn {
		t.Run(f.name, func(t *testing.T) {
			svg, err := f.svg()
			if err != nil {
				t.Fatal(err)
			}
			wellFormed(t, svg)
			committed, err := os.ReadFile(filepath.Join(docs, "figures", f.name+".svg"))
			if err != nil {
				t.Fatalf("%v: make figures", err)
			}
			if !bytes.Equal(svg, committed) {
				t.Errorf("docs/figures/%s.svg is another picture than the one that is drawn: make figures, and look at what has changed", f.name)
			}
		})
	}
	shows(t, "time.md", figures())
	shows(t, "benchmarks.md", kept)
	entries, err := os.ReadDir(filepath.Join(docs, "figures"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(drawn, func(f figure) bool { return f.name+".svg" == e.Name() }) {
			t.Errorf("docs/figures/%s: nothing draws it", e.Name())
		}
	}
}

// shows checks which figures a page shows.
func shows(t *testing.T, page string, figures []figure) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, page))
	if err != nil {
		t.Fatal(err)
	}
	var shown, want []string
	for _, m := range regexp.MustCompile(`!\[[^\]]+\]\(figures/([a-z]+)\.svg\)`).FindAllStringSubmatch(string(text), -1) {
		shown = append(shown, m[1])
	}
	for _, f := range figures {
		want = append(want, f.name)
	}
	if !slices.Equal(shown, want) {
		t.Errorf("docs/%s shows %v, want %v, each with a text for who cannot see it", page, shown, want)
	}
}

// wellFormed checks that a picture is XML.
func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestThePictureOfTheShuffleShowsTheDifference: what it is drawn for.
func TestThePictureOfTheShuffleShowsTheDifference(t *testing.T) {
	seen, err := shuffled()
	if err != nil {
		t.Fatal(err)
	}
	highest, err := seen.merged()
	if err != nil {
		t.Fatal(err)
	}
	if seen.dropped != 0 || highest.dropped != len(seen.events)/2 {
		t.Errorf("dropped %d with markers and %d without, of %d", seen.dropped, highest.dropped, len(seen.events))
	}
}
