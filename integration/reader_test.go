//go:build integration

package integration_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// This file reads a task's database and its changelogs without the engine's
// code, from what DESIGN.md and the packages say of the bytes:
//
//	database   0 0 0 0 'l' <prefix>   kind \0 layout \0 name of the store
//	           0 0 0 0 'o' <prefix>   next changelog offset, and more
//	           <prefix> <key>         time, then the value (kind key-value)
//	           <prefix> <key>         time, firing, then the value (aggregate)
//	           <prefix> <start> <key> the same (windowed); the sign bit is flipped
//	changelog  key, value, time, and the firing in a header; windowed keys
//	           are <key> <start> <0:4>

// comparison is what comparing databases with changelogs has come to.
type comparison struct {
	stores, entries int
	// behind is how many changelog records the databases do not have, the most
	// of all stores.
	behind int64
	found  []string
}

func (c *comparison) add(o comparison) {
	c.stores += o.stores
	c.entries += o.entries
	c.behind = max(c.behind, o.behind)
}

// compare fails the test with each difference.
func (l *ledgerRun) compare(t *testing.T) comparison {
	t.Helper()
	c := l.differences(t)
	for i, what := range c.found {
		if i == 10 {
			t.Errorf("and %d more", len(c.found)-i)
			break
		}
		t.Error(what)
	}
	return c
}

// differences compares all databases of a process that does not run with the
// changelogs: no offset may be behind a log's end, and each store must hold
// just what its log says up to its offset.
func (l *ledgerRun) differences(t *testing.T) (c comparison) {
	t.Helper()
	logs := map[string][]*kgo.Record{}
	dirs, err := filepath.Glob(filepath.Join(copyState(t, filepath.Join(l.spec.StateDir, l.spec.Application)), "*_*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		var sub, partition int32
		if _, err := fmt.Sscanf(filepath.Base(dir), "%d_%d", &sub, &partition); err != nil {
			t.Fatal(err)
		}
		for _, s := range readDatabase(t, dir) {
			topic := l.spec.Application + "-" + s.name + "-changelog"
			if _, ok := logs[topic]; !ok {
				logs[topic] = l.c.read(topic, nil)
			}
			end := l.c.offsets(topic, logEnd)[place{topic, partition}]
			c.stores++
			c.entries += len(s.entries)
			c.behind = max(c.behind, end-s.next)
			if s.next > end {
				c.found = append(c.found, fmt.Sprintf("store %s of %s stands at %d, and its changelog ends at %d", s.name, filepath.Base(dir), s.next, end))
			}
			want := map[string][]byte{}
			for _, r := range logs[topic] {
				if r.Partition == partition && r.Offset < s.next {
					key, value := s.entry(r)
					if want[key] = value; r.Value == nil {
						delete(want, key)
					}
				}
			}
			c.found = append(c.found, s.against(want, filepath.Base(dir))...)
		}
	}
	return c
}

// stored is a store as its database has it.
type stored struct {
	name, kind string
	next       int64
	entries    map[string][]byte // by key without prefix
}

// entry returns what a database should have of a changelog record.
func (s *stored) entry(r *kgo.Record) (key string, value []byte) {
	key = string(r.Key)
	if n := len(r.Key) - 12; s.kind == "windowed" && n >= 0 {
		start := binary.BigEndian.Uint64(r.Key[n:]) ^ 1<<63
		key = string(binary.BigEndian.AppendUint64(nil, start)) + string(r.Key[:n])
	}
	value = binary.BigEndian.AppendUint64(nil, uint64(r.Timestamp.UnixMilli()))
	for _, h := range r.Headers {
		value = append(value, h.Value...)
	}
	return key, append(value, r.Value...)
}

// against returns in what a store differs from what its changelog says.
func (s *stored) against(want map[string][]byte, task string) (found []string) {
	for key, got := range s.entries {
		value, ok := want[key]
		switch {
		case !ok:
			found = append(found, fmt.Sprintf("store %s of %s has %q, and its changelog has not before %d", s.name, task, key, s.next))
		case !bytes.Equal(got, value):
			found = append(found, fmt.Sprintf("store %s of %s: %q is %x, in the changelog before %d %x", s.name, task, key, got, s.next, value))
		}
	}
	for key := range want {
		if _, ok := s.entries[key]; !ok {
			found = append(found, fmt.Sprintf("store %s of %s lacks %q, which its changelog has before %d", s.name, task, key, s.next))
		}
	}
	return found
}

// readDatabase returns the stores of a database that have an offset or entries.
func readDatabase(t *testing.T, dir string) map[string]*stored {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		return nil // killed before the database was made
	}
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
	if err != nil {
		t.Fatalf("database %s: %v", dir, err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	byPrefix := map[string]*stored{}
	get := func(prefix []byte) *stored {
		s := byPrefix[string(prefix)]
		if s == nil {
			s = &stored{entries: map[string][]byte{}}
			byPrefix[string(prefix)] = s
		}
		return s
	}
	for it.First(); it.Valid(); it.Next() {
		key, value := it.Key(), bytes.Clone(it.Value())
		switch {
		case !bytes.HasPrefix(key, make([]byte, 4)):
			get(key[:4]).entries[string(key[4:])] = value
		case key[4] == 'l':
			parts := bytes.SplitN(value, []byte{0}, 3)
			s := get(key[5:])
			s.kind, s.name = string(parts[0]), string(parts[2])
		case key[4] == 'o':
			get(key[5:]).next = int64(binary.BigEndian.Uint64(value))
		}
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return byPrefix
}

// quiet is a logger of Pebble that says nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
