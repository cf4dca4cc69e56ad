//go:build integration

package differential

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// differences are all that there are, each with records that show it, and what
// both sides make of them. Their names are the headings of docs/differences.md.
// Results read as index of the record, key, first and last time of the window (the
// end is exclusive for tumbling and hopping ones), time of the result, records in
// it.
func differences() []struct {
	name         string
	k            kase
	all          bool // show also what time alone brings
	kafka, ours  []string
	kafkaDropped int
	oursDropped  int
} {
	type difference = struct {
		name         string
		k            kase
		all          bool
		kafka, ours  []string
		kafkaDropped int
		oursDropped  int
	}
	k := func(time, id int64) record { return record{"k", time, id} }
	return []difference{
		{
			name:  "1. Time before the epoch is time",
			k:     kase{kind: "time", size: 10, advance: 5, emit: "update", store: "memory", records: []record{k(3, 1)}},
			kafka: []string{"0: k[0, 10] at 3: 1"},
			ours:  []string{"0: k[-5, 5] at 3: 1", "0: k[0, 10] at 3: 1"},
		},
		{
			name:  "2. Sliding windows begin before the epoch",
			k:     kase{kind: "sliding", size: 10, emit: "update", store: "memory", records: []record{k(3, 1)}},
			kafka: []string{"0: k[0, 10] at 3: 1"},
			ours:  []string{"0: k[-7, 3] at 3: 1"},
		},
		{
			name:  "3. There are results on time, and final ones",
			k:     kase{kind: "time", size: 10, advance: 10, grace: 5, emit: "update", store: "memory", records: []record{k(103, 1), k(112, 2), k(116, 3)}},
			all:   true,
			kafka: []string{"0: k[100, 110] at 103: 1", "1: k[110, 120] at 112: 2", "2: k[110, 120] at 116: 2,3"},
			ours: []string{
				"0: k[100, 110] at 103: 1", "1: k[100, 110] at 103: 1", "1: k[110, 120] at 112: 2",
				"2: k[100, 110] at 103: 1", "2: k[110, 120] at 116: 2,3",
			},
		},
		{
			name: "4. A session that has not grown is not taken back",
			k:    kase{kind: "session", size: 10, emit: "update", store: "memory", records: []record{k(100, 1), k(105, 2), k(103, 3)}},
			kafka: []string{
				"0: k[100, 100] at 100: 1", "1: k[100, 100] at 100: -", "1: k[100, 105] at 105: 1,2",
				"2: k[100, 105] at 105: -", "2: k[100, 105] at 105: 1,2,3",
			},
			ours: []string{
				"0: k[100, 100] at 100: 1", "1: k[100, 100] at 100: -", "1: k[100, 105] at 105: 1,2",
				"2: k[100, 105] at 105: 1,2,3",
			},
		},
		{
			name:  "5. A sliding window without the record is no early result",
			k:     kase{kind: "sliding", size: 10, grace: 20, emit: "update", store: "memory", records: []record{k(105, 1), k(102, 2)}},
			kafka: []string{"0: k[95, 105] at 105: 1", "1: k[92, 102] at 102: 2", "1: k[95, 105] at 105: 1,2", "1: k[103, 113] at 105: 1"},
			ours:  []string{"0: k[95, 105] at 105: 1", "1: k[92, 102] at 102: 2", "1: k[95, 105] at 105: 1,2"},
		},
		{
			name: "6. No result is sent twice",
			k:    kase{kind: "sliding", size: 10, grace: 20, emit: "update", store: "memory", records: []record{k(100, 1), k(105, 2), k(116, 3)}},
			kafka: []string{
				"0: k[90, 100] at 100: 1", "1: k[95, 105] at 105: 1,2", "1: k[101, 111] at 105: 2",
				"2: k[106, 116] at 116: 3", "2: k[106, 116] at 116: 3",
			},
			ours: []string{
				"0: k[90, 100] at 100: 1", "1: k[95, 105] at 105: 1,2", "1: k[101, 111] at 105: 2",
				"2: k[106, 116] at 116: 3",
			},
		},
		{
			name:         "7. A dropped event is counted once",
			k:            kase{kind: "time", size: 10, advance: 5, emit: "suppress", store: "memory", records: []record{k(101, 1), k(127, 2), k(102, 3)}},
			kafka:        []string{"1: k[95, 105] at 101: 1", "1: k[100, 110] at 101: 1"},
			ours:         []string{"1: k[95, 105] at 101: 1", "1: k[100, 110] at 101: 1"},
			kafkaDropped: 2,
			oursDropped:  1,
		},
		{
			name: "8. A jump in time loses no final result",
			k:    kase{kind: "time", size: 10, advance: 10, emit: "close", store: "rocksdb", records: []record{k(103, 1), k(110, 2), k(115, 3), k(135, 4), k(200, 5)}},
			kafka: []string{
				"1: k[100, 110] at 103: 1",
			},
			ours: []string{
				"1: k[100, 110] at 103: 1", "3: k[110, 120] at 115: 2,3", "4: k[130, 140] at 135: 4",
			},
		},
		{
			name:  "9. Stores in memory lose no final result",
			k:     kase{kind: "time", size: 10, advance: 10, emit: "close", store: "memory", records: []record{k(103, 1), k(110, 2), k(120, 3)}},
			kafka: nil,
			ours:  []string{"1: k[100, 110] at 103: 1", "2: k[110, 120] at 110: 2"},
		},
		{
			name: "10. A sliding window is final once",
			k:    kase{kind: "sliding", size: 10, emit: "suppress", store: "memory", records: []record{k(100, 1), k(110, 2), k(100, 3), k(111, 4)}},
			kafka: []string{
				"0: k[90, 100] at 100: 1", "1: k[100, 110] at 110: 1,2", "2: k[100, 110] at 110: 1,2,3", "3: k[101, 111] at 111: 2,4",
			},
			ours:         []string{"1: k[90, 100] at 100: 1", "3: k[100, 110] at 110: 1,2,3"},
			kafkaDropped: 1,
			oursDropped:  1,
		},
		{
			name:  "11. A session is final once, and whole",
			k:     kase{kind: "session", size: 10, emit: "suppress", store: "rocksdb", records: []record{k(100, 1), {"other", 110, 2}, k(100, 3), {"other", 111, 4}}},
			kafka: []string{"1: k[100, 100] at 100: 1", "2: k[100, 100] at 100: 3"},
			ours:  []string{"3: k[100, 100] at 100: 1,3"},
		},
		{
			name:  "12. What nobody has seen is not taken back",
			k:     kase{kind: "session", size: 10, grace: 50, emit: "limit", limit: 20, store: "memory", records: []record{k(100, 1), k(105, 2), {"other", 200, 3}}},
			kafka: []string{"2: k[100, 100] at 100: -", "2: k[100, 105] at 105: 1,2"},
			ours:  []string{"2: k[100, 105] at 105: 1,2"},
		},
		{
			name:  "13. The result on time passes a time limit too",
			k:     kase{kind: "time", size: 10, advance: 10, emit: "limit", limit: 3, store: "memory", records: []record{k(101, 1), k(104, 2), k(112, 3)}},
			kafka: []string{"1: k[100, 110] at 104: 1,2"},
			ours:  []string{"1: k[100, 110] at 104: 1,2", "2: k[100, 110] at 104: 1,2"},
		},
		{
			name:  "14. A table tells its changes once a commit",
			k:     kase{kind: "table", emit: "limit", limit: 10, store: "memory", records: []record{k(100, 1), k(105, 2), k(110, 3), {"other", 130, 4}}},
			kafka: []string{"2: k[0, 0] at 110: 1,2,3"},
			ours:  []string{"2: k[0, 0] at 105: 1,2", "3: k[0, 0] at 110: 1,2,3"},
		},
		{
			name:  "15. A time limit ends behind all results of a record",
			k:     kase{kind: "time", size: 10, advance: 5, emit: "limit", limit: 3, store: "memory", records: []record{k(106, 1), k(109, 2)}},
			kafka: []string{"1: k[100, 110] at 109: 1,2", "1: k[105, 115] at 106: 1"},
			ours:  []string{"1: k[100, 110] at 109: 1,2", "1: k[105, 115] at 109: 1,2"},
		},
	}
}

// TestDifferences shows each difference on both sides, and that the page about
// them lists these and no others.
func TestDifferences(t *testing.T) {
	all := differences()
	var cases []kase
	var names []string
	for _, d := range all {
		cases, names = append(cases, d.k), append(names, d.name)
	}
	theirs := kafkaStreams(t, cases)
	for i, d := range all {
		t.Run(d.name, func(t *testing.T) {
			ours := millrace(t, d.k, d.all)
			for side, have := range map[string]outcome{"Kafka Streams": theirs[i], "Millrace": ours} {
				want, dropped := d.kafka, d.kafkaDropped
				if side == "Millrace" {
					want, dropped = d.ours, d.oursDropped
				}
				if lines := have.lines(); !slices.Equal(lines, want) || have.dropped != dropped {
					t.Errorf("%s has dropped %d, want %d, and sends\n    %s\nwant\n    %s", side, have.dropped, dropped, strings.Join(lines, "\n    "), strings.Join(want, "\n    "))
				}
			}
			if slices.Equal(d.kafka, d.ours) && d.kafkaDropped == d.oursDropped {
				t.Error("there is no difference")
			}
		})
	}
	page, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^### (\d+\. .*)$`).FindAllStringSubmatch(string(page), -1) {
		headings = append(headings, m[1])
	}
	if !slices.Equal(headings, names) {
		t.Errorf("docs/differences.md has the headings\n%s\nthe test has\n%s", strings.Join(headings, "\n"), strings.Join(names, "\n"))
	}
}
