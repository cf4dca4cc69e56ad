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
	"strings"
	"testing"
)

// docs is the folder of the pages.
const docs = "../../docs"

// TestCommittedFiguresAreThoseThatRunsDraw keeps pictures and engine together.
func TestCommittedFiguresAreThoseThatRunsDraw(t *testing.T) {
	var names []string
	for _, f := range figures() {
		names = append(names, f.name)
		t.Run(f.name, func(t *testing.T) {
			drawn, err := f.svg()
			if err != nil {
				t.Fatal(err)
			}
			committed, err := os.ReadFile(filepath.Join(docs, "figures", f.name+".svg"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(drawn, committed) {
				t.Errorf("docs/figures/%s.svg is another picture than the one that a run draws: make figures, and look at what has changed", f.name)
			}
			for d := xml.NewDecoder(bytes.NewReader(drawn)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	page, err := os.ReadFile(filepath.Join(docs, "time.md"))
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, m := range regexp.MustCompile(`!\[[^\]]+\]\(figures/([a-z]+)\.svg\)`).FindAllStringSubmatch(string(page), -1) {
		shown = append(shown, m[1])
	}
	if !slices.Equal(shown, names) {
		t.Errorf("docs/time.md shows %v, want %v, each with a text for who cannot see it", shown, names)
	}
	entries, err := os.ReadDir(filepath.Join(docs, "figures"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(names, strings.TrimSuffix(e.Name(), ".svg")) {
			t.Errorf("docs/figures/%s: nothing draws it", e.Name())
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
