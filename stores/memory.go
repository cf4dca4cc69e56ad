package stores

import (
	"bytes"
	"context"
	"sync"

	"github.com/tidwall/btree"
)

// memoryEngine keeps entries in a B-tree in memory. Snapshots share its nodes
// and copy on write.
type memoryEngine struct {
	mu   sync.Mutex // guards tree and size; held for memory operations only
	tree *btree.BTreeG[Pair]
	size int64
}

// NewMemory returns an engine that keeps everything in memory and loses it when
// it is closed: its stores are restored from their changelogs.
func NewMemory() Engine {
	return &memoryEngine{tree: btree.NewBTreeGOptions(lessPair, btree.Options{NoLocks: true})}
}

func lessPair(a, b Pair) bool { return bytes.Compare(a.Key, b.Key) < 0 }

func (e *memoryEngine) copyTree() *btree.BTreeG[Pair] {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tree.Copy()
}

func (e *memoryEngine) Get(dst, key []byte) ([]byte, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.tree.Get(Pair{Key: key})
	return append(dst, p.Value...), ok, nil
}

func (e *memoryEngine) Iterate(s Span) (Iterator, error) { return iterateTree(e.copyTree(), s), nil }

func (e *memoryEngine) Snapshot() (Snapshot, error) {
	return &memorySnapshot{tree: e.copyTree()}, nil
}

func (e *memoryEngine) Apply(b *Batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range b.Clear {
		deleted := e.tree.DeleteRange(Pair{Key: s.Lower}, Pair{Key: s.Upper}, nil)
		deleted.Scan(func(p Pair) bool {
			e.size -= pairSize(p)
			return true
		})
	}
	e.set(b.Set)
	return nil
}

func (e *memoryEngine) Ingest(ctx context.Context, entries []Pair) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.set(entries)
	return nil
}

// set copies the entries: the caller keeps their bytes.
func (e *memoryEngine) set(entries []Pair) {
	for _, p := range entries {
		var old Pair
		if p.Value == nil {
			old, _ = e.tree.Delete(p)
		} else {
			b := make([]byte, 0, len(p.Key)+len(p.Value))
			b = append(append(b, p.Key...), p.Value...)
			n := len(p.Key)
			p = Pair{Key: b[:n:n], Value: b[n:]}
			old, _ = e.tree.Set(p)
			e.size += pairSize(p)
		}
		e.size -= pairSize(old)
	}
}

// pairSize estimates the memory of an entry: its bytes and two slice headers in
// a node that is two thirds full. That of no entry is 0.
func pairSize(p Pair) int64 {
	if p.Key == nil {
		return 0
	}
	return int64(len(p.Key) + len(p.Value) + 72)
}

func (e *memoryEngine) Flush() error { return nil }

func (e *memoryEngine) Metrics() EngineMetrics {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EngineMetrics{MemoryBytes: e.size}
}

func (e *memoryEngine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tree, e.size = btree.NewBTreeGOptions(lessPair, btree.Options{NoLocks: true}), 0
	return nil
}

// memorySnapshot reads a copy of the tree, which nobody writes.
type memorySnapshot struct {
	tree *btree.BTreeG[Pair]
}

func (s *memorySnapshot) Get(dst, key []byte) ([]byte, bool, error) {
	p, ok := s.tree.Get(Pair{Key: key})
	return append(dst, p.Value...), ok, nil
}

func (s *memorySnapshot) Iterate(span Span) (Iterator, error) {
	return iterateTree(s.tree, span), nil
}

func (s *memorySnapshot) Close() error { return nil }

// memoryIterator walks one tree up to a bound.
type memoryIterator struct {
	it      btree.IterG[Pair]
	span    Span
	started bool
}

func iterateTree(tree *btree.BTreeG[Pair], s Span) *memoryIterator {
	return &memoryIterator{it: tree.Iter(), span: Span{Lower: bytes.Clone(s.Lower), Upper: bytes.Clone(s.Upper)}}
}

func (m *memoryIterator) Next() bool {
	if !m.started {
		return m.Seek(m.span.Lower)
	}
	return m.it.Next() && m.inside()
}

func (m *memoryIterator) Seek(key []byte) bool {
	m.started = true
	return m.it.Seek(Pair{Key: key}) && m.inside()
}

func (m *memoryIterator) inside() bool { return bytes.Compare(m.it.Item().Key, m.span.Upper) < 0 }
func (m *memoryIterator) Key() []byte  { return m.it.Item().Key }
func (m *memoryIterator) Value() []byte {
	return m.it.Item().Value
}
func (m *memoryIterator) Err() error   { return nil }
func (m *memoryIterator) Close() error { m.it.Release(); return nil }
