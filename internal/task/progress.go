package task

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// progress is the task's own store: what upstream tasks have said of their
// watermarks, and how far time had come at each stateful node, by the input
// offsets at which that was so.
//
// At least once, the store is written before the offsets are committed, so
// that it may be one commit ahead of them. It therefore keeps the last two
// entries, and a start uses the one whose offsets are the committed ones.
type progress struct {
	store *stores.KeyValue[string, []byte]
	// slot is where the next entry goes: never over the one that the
	// committed offsets point to.
	slot int
	last []byte
	buf  []byte
}

var slots = [2]string{"0", "1"}

// openProgress opens the task's own store, if its sub-topology has one.
func openProgress(db *stores.DB, sub topology.SubTopology) (*progress, error) {
	name := sub.Meta()
	if name == "" {
		return &progress{}, nil
	}
	store, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, []byte]{Name: name, Key: codec.String, Value: codec.Bytes})
	if err != nil {
		return nil, err
	}
	return &progress{store: store}, nil
}

// load returns, for each input, the vector that was saved at the committed
// offsets, and the input watermarks of the stateful nodes by name; nils and no
// watermarks if nothing was saved there.
func (p *progress) load(inputs []InputConfig) (vectors [][]byte, told map[string]int64, err error) {
	none := make([][]byte, len(inputs))
	if p.store == nil {
		return none, nil, nil
	}
	for i, slot := range slots {
		entry, ok, err := p.store.Get(slot)
		if err != nil {
			return nil, nil, fmt.Errorf("progress: %w", err)
		}
		if !ok {
			continue
		}
		vectors, told, err := parseProgress(entry, inputs)
		if err != nil {
			return nil, nil, fmt.Errorf("progress: slot %s: %w", slot, err)
		}
		if vectors != nil {
			p.slot, p.last = 1-i, slices.Clone(entry)
			return vectors, told, nil
		}
	}
	return none, nil, nil
}

// The form of an entry is a version byte; the number of stateful nodes and for
// each the length of its name, the name and its input watermark; and, for each
// input, the length of its topic, the topic, partition, offset, the length of
// its vector and the vector. Numbers are varints.
const progressVersion = 1

func (p *progress) save(inputs []*Input, nodes []topology.StatefulNode, told []int64) error {
	if p.store == nil {
		return nil
	}
	b := append(p.buf[:0], progressVersion)
	b = binary.AppendUvarint(b, uint64(len(told)))
	for i, w := range told {
		b = binary.AppendUvarint(b, uint64(len(nodes[i].Name)))
		b = append(b, nodes[i].Name...)
		b = binary.AppendVarint(b, w)
	}
	for _, in := range inputs {
		b = binary.AppendUvarint(b, uint64(len(in.config.Topic)))
		b = append(b, in.config.Topic...)
		b = binary.AppendVarint(b, int64(in.config.Partition))
		b = binary.AppendVarint(b, in.next)
		var vector []byte
		if in.upstreams != nil {
			vector = in.upstreams.Append(nil)
		}
		b = binary.AppendUvarint(b, uint64(len(vector)))
		b = append(b, vector...)
	}
	p.buf = b
	if slices.Equal(b, p.last) {
		return nil
	}
	if err := p.store.PutAt(slots[p.slot], b, 0); err != nil {
		return err
	}
	p.slot = 1 - p.slot
	p.last = append(p.last[:0], b...)
	return nil
}

// parseProgress reads an entry. The vectors are nil if it was made at other
// offsets than the inputs'.
func parseProgress(b []byte, inputs []InputConfig) (vectors [][]byte, told map[string]int64, err error) {
	if len(b) == 0 || b[0] != progressVersion {
		return nil, nil, fmt.Errorf("%w: progress of an unknown version", stores.ErrCorrupt)
	}
	nodes, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return nil, nil, errShortProgress
	}
	b = b[1+n:]
	told = map[string]int64{}
	for range nodes {
		name, rest, ok := cutBytes(b)
		w, n := binary.Varint(rest)
		if !ok || n <= 0 {
			return nil, nil, errShortProgress
		}
		told[string(name)] = w
		b = rest[n:]
	}
	vectors = make([][]byte, len(inputs))
	matched := 0
	for len(b) > 0 {
		topic, rest, ok := cutBytes(b)
		partition, n := binary.Varint(rest)
		if !ok || n <= 0 {
			return nil, nil, errShortProgress
		}
		rest = rest[n:]
		offset, n := binary.Varint(rest)
		if n <= 0 {
			return nil, nil, errShortProgress
		}
		vector, rest, ok := cutBytes(rest[n:])
		if !ok {
			return nil, nil, errShortProgress
		}
		b = rest
		i := slices.IndexFunc(inputs, func(c InputConfig) bool {
			return c.Topic == string(topic) && int64(c.Partition) == partition
		})
		if i < 0 || inputs[i].Offset != offset {
			return nil, nil, nil
		}
		if len(vector) > 0 {
			vectors[i] = vector
		}
		matched++
	}
	if matched != len(inputs) {
		return nil, nil, nil
	}
	return vectors, told, nil
}

var errShortProgress = fmt.Errorf("%w: progress is cut short", stores.ErrCorrupt)

// cutBytes cuts a length and as many bytes from the front of b.
func cutBytes(b []byte) (cut, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size], b[size:], true
}
