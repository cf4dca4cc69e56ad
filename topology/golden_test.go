package topology_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace/millrace/topology"
)

// TestGolden runs the tables in testdata; -rewrite writes them anew. Each command
// is a form of description, and its argument one of graphs.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if len(d.CmdArgs) != 1 || graphs[d.CmdArgs[0].Key] == nil {
				d.Fatalf(t, "want one of the graphs")
			}
			top := build(t, "app", graphs[d.CmdArgs[0].Key])
			switch d.Cmd {
			case "text":
				return top.Describe()
			case "dot":
				return top.DOT()
			case "mermaid":
				return top.Mermaid()
			case "json":
				b, err := top.JSON()
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return string(b)
			case "parts":
				return describeParts(top)
			}
			d.Fatalf(t, "no command %q", d.Cmd)
			return ""
		})
	})
}

func describeParts(top *topology.Topology) string {
	var out strings.Builder
	for _, s := range top.SubTopologies() {
		fmt.Fprintf(&out, "%d %s: changelogs %v\n", s.ID, s.Name, s.Changelogs())
	}
	for _, r := range top.Repartitions() {
		fmt.Fprintf(&out, "%s: %d -> %d, partitions %d\n", topology.RepartitionTopic(top.Application(), r.Name), r.Writer, r.Reader, r.Partitions)
	}
	fmt.Fprintf(&out, "sinks %v\n", top.SinkTopics())
	return out.String()
}

func TestJSONReadsBack(t *testing.T) {
	for name, f := range graphs {
		top := build(t, "app", f)
		b, err := top.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var d topology.Description
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatal(err)
		}
		if want := top.Description(); !reflect.DeepEqual(d, want) {
			t.Errorf("%s: read back\n%+v, want\n%+v", name, d, want)
		}
	}
}

// TestViewersReadTheText takes the text apart as viewers of Kafka Streams'
// descriptions do: with a regular expression a line.
func TestViewersReadTheText(t *testing.T) {
	line := regexp.MustCompile(`^( *Topologies:| *Sub-topology: \d+| *Source: \S+ \(topics: .+\)| *Processor: \S+ \(stores: \[.*\]\)` +
		`| *Sink: \S+ \((topic|extractor class): \S+\)| *(-->|<--) \S.*|)$`)
	arrow := regexp.MustCompile(`^ *(-->|<--) (.*)$`)
	for name, f := range graphs {
		text := build(t, "app", f).Describe()
		nodes, linked := map[string]bool{}, map[string]bool{}
		for _, l := range strings.Split(text, "\n") {
			l = strings.TrimRight(l, " ")
			if !line.MatchString(l) {
				t.Errorf("%s: no viewer reads %q", name, l)
			}
			if m := arrow.FindStringSubmatch(l); m != nil {
				for _, n := range strings.Split(m[2], ", ") {
					linked[n] = n != "none"
				}
			} else if i := strings.Index(l, ": "); i > 0 && strings.Contains(l, "(") {
				nodes[strings.Fields(l)[1]] = true
			}
		}
		for n, real := range linked {
			if real && !nodes[n] {
				t.Errorf("%s: an arrow leads to %q, which is no node", name, n)
			}
		}
	}
}

// TestNamesHoldStill: steps added elsewhere rename nothing that was there, and
// change no hash.
func TestNamesHoldStill(t *testing.T) {
	names := func(top *topology.Topology) map[string]bool {
		all := map[string]bool{}
		for _, s := range top.Description().SubTopologies {
			all[s.Name] = true
			for _, n := range s.Nodes {
				all[n.Name] = true
			}
		}
		return all
	}
	graph := func(more bool) *topology.Topology {
		return build(t, "app", func(b *topology.Builder) {
			s := source(b, "in")
			if more {
				s.Peek(func(record) {}).Filter(all)
				source(b, "new").Filter(all).To("new-out", str, str)
			}
			s.Filter(all).Filter(all).To("out", str, str)
			s.GroupByKey(str, str).Count(topology.Store("counts"))
			topology.GroupBy(s, str, str, func(r record) string { return r.Value }, topology.Named("again")).Count(topology.Store("more"))
		})
	}
	before, after := names(graph(false)), names(graph(true))
	for n := range before {
		if !after[n] {
			t.Errorf("%q was renamed: %v", n, after)
		}
	}
	if !before["in.filter.filter"] || !before["in.filter.filter.sink"] {
		t.Errorf("derived names are %v", before)
	}
}

func TestHash(t *testing.T) {
	base := graphs["windows"]
	first := build(t, "app", base).Hash()
	if again := build(t, "another", base).Hash(); again != first {
		t.Errorf("the application's name changes the hash: %s and %s", first, again)
	}
	hashes := map[string]string{}
	for name, f := range graphs {
		hashes[build(t, "app", f).Hash()] = name
	}
	if len(hashes) != len(graphs) {
		t.Errorf("graphs share hashes: %v", hashes)
	}
	for name, same := range map[string]struct {
		same bool
		a, b string
	}{
		"lateness":   {true, hashOf(t, "size 5 lateness 1"), hashOf(t, "size 5 lateness 2")},
		"size":       {false, hashOf(t, "size 5 lateness 1"), hashOf(t, "size 6 lateness 1")},
		"partitions": {false, hashOf(t, "partitions 4"), hashOf(t, "partitions 8")},
		"filter":     {true, hashOf(t, "plain"), hashOf(t, "with filter")},
		"store":      {false, hashOf(t, "plain"), hashOf(t, "store")},
	} {
		if (same.a == same.b) != same.same {
			t.Errorf("%s: hashes %s and %s", name, same.a, same.b)
		}
	}
}

func hashOf(t *testing.T, what string) string {
	t.Helper()
	return build(t, "app", hashed[what]).Hash()
}

func TestNodesComeAfterTheirParents(t *testing.T) {
	for name, f := range graphs {
		for _, s := range build(t, "app", f).Description().SubTopologies {
			var seen []string
			for _, n := range s.Nodes {
				for _, from := range n.From {
					if !slices.Contains(seen, from) {
						t.Errorf("%s: %s stands before %s", name, n.Name, from)
					}
				}
				seen = append(seen, n.Name)
			}
		}
	}
}
