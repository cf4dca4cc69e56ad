package task

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/delimited"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// progress is the task's own store: what upstream tasks have said of their
// watermarks, how far time had come at each stateful node, and which deletes
// were yet to go out, all as of one commit.
//
// At least once, the store is written before the offsets are committed, so
// that it may be one commit ahead of them. It therefore keeps the last two
// entries. They are numbered, and the number goes into the metadata of the
// committed offsets: a start uses the entry of that number. The offsets alone do
// not tell entries apart, since a commit need not move any.
type progress struct {
	store *stores.KeyValue[string, []byte]
	// number is that of the last entry.
	number int64
	// slot is where the next entry goes: never over the one that the
	// committed offsets point to.
	slot int
	// parts is how many records each slot takes.
	parts [2]int
	// last is the last entry, buf what the next one is made in.
	last, buf []byte
	// shape is that of the sub-topology, and stored the one in the store as JSON.
	shape  topology.SubShape
	stored []byte
	// oldest is, by store, the oldest version that its values may be of.
	oldest map[string]int
}

// numberName is the name under which the number of the entry rides in the
// metadata of committed offsets.
const numberName = "millrace.progress"

// partBytes bounds the records of an entry. Brokers take 1 MiB by default, and
// the deletes of a processor that clears its store can be many times that.
const partBytes = 256 << 10

// partKey returns the key of a record of an entry: "0" and "1" are the first of
// each slot, "0.1" is the second of the first slot.
func partKey(slot, part int) string {
	if part == 0 {
		return strconv.Itoa(slot)
	}
	return fmt.Sprintf("%d.%d", slot, part)
}

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
	return &progress{store: store, shape: sub.Shape()}, nil
}

// saved is what an entry says.
type saved struct {
	// vectors are those of the inputs that have one.
	vectors [][]byte
	// told are the input watermarks of the stateful nodes by name, and the last
	// ticks of the clock by tickName.
	told map[string]int64
	// deletes is what stores.DB.AppendDeletes wrote.
	deletes []byte
}

// tickName names the ticks of a punctuator; no node's name has a comma.
func tickName(node, punctuator string) string { return node + "," + punctuator }

// load returns the entry of that number, if it was made at the inputs' offsets;
// else one that says nothing. A number of 0 stands for none.
func (p *progress) load(number int64, inputs []InputConfig) (s saved, found bool, err error) {
	s = saved{vectors: make([][]byte, len(inputs))}
	if p.store == nil {
		return s, true, nil
	}
	slots, err := p.read()
	if err != nil {
		return s, false, fmt.Errorf("progress: %w", err)
	}
	p.number = number
	for slot, parts := range slots {
		n, entry, whole, err := joinParts(parts)
		if err != nil {
			return s, false, fmt.Errorf("progress: slot %d: %w", slot, err)
		}
		// The number of an entry that no offsets point to is not used again.
		p.number = max(p.number, n)
		if number == 0 || n != number || !whole {
			continue
		}
		entered, ok, err := parseProgress(entry, inputs)
		if err != nil {
			return s, false, fmt.Errorf("progress: slot %d: %w", slot, err)
		}
		if ok {
			s, found, p.slot = entered, true, 1-slot
		}
	}
	return s, found || number == 0, nil
}

// read returns the records of both slots, and notes how many there are.
func (p *progress) read() (slots [2]map[int][]byte, err error) {
	for i := range slots {
		slots[i] = map[int][]byte{}
	}
	for e, err := range p.store.All() {
		if err != nil {
			return slots, err
		}
		if e.Key == shapeKey {
			continue
		}
		var slot, part int
		if n, _ := fmt.Sscanf(e.Key, "%d.%d", &slot, &part); n == 0 || slot < 0 || slot >= len(slots) || part < 0 {
			return slots, fmt.Errorf("%w: key %q", stores.ErrCorrupt, e.Key)
		}
		slots[slot][part] = e.Value
		p.parts[slot] = max(p.parts[slot], part+1)
	}
	return slots, nil
}

// The form of a record is a version byte, the number of its entry, the number of
// the entry's records, and a part of the entry. Numbers are varints.
const progressVersion = 2

// joinParts puts an entry together from its records. It is not whole if a crash
// came while it was written.
func joinParts(parts map[int][]byte) (number int64, entry []byte, whole bool, err error) {
	total := uint64(0)
	for i := 0; ; i++ {
		b, ok := parts[i]
		if !ok {
			return number, nil, false, nil
		}
		if len(b) == 0 || b[0] != progressVersion {
			return 0, nil, false, fmt.Errorf("%w: progress of an unknown version", stores.ErrCorrupt)
		}
		at, n := binary.Varint(b[1:])
		if n <= 0 {
			return 0, nil, false, errShortProgress
		}
		b = b[1+n:]
		count, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, nil, false, errShortProgress
		}
		if i == 0 {
			number, total = at, count
		} else if at != number || count != total {
			return max(number, at), nil, false, nil
		}
		entry = append(entry, b[n:]...)
		if uint64(i)+1 >= total {
			return number, entry, true, nil
		}
	}
}

// save writes the next entry, unless it says what the last one does, and reports
// whether it has. db has the deletes that are yet to go out, and Collect is yet
// to come.
//
// The form of an entry is the number of stateful nodes and punctuators by the clock
// and for each the length of its name, the name and its input watermark or last
// tick; the number of inputs and for
// each the length of its topic, the topic, partition, offset, the length of its
// vector and the vector; and the deletes. Numbers are varints.
func (p *progress) save(inputs []*Input, nodes []topology.StatefulNode, told []int64, db *stores.DB) (bool, error) {
	if p.store == nil {
		return false, nil
	}
	if err := p.saveShape(); err != nil {
		return false, err
	}
	b := binary.AppendUvarint(p.buf[:0], uint64(len(told)+ticks(nodes, func(string, int64) {})))
	for i, w := range told {
		b = delimited.Append(b, nodes[i].Name)
		b = binary.AppendVarint(b, w)
	}
	ticks(nodes, func(name string, last int64) {
		b = delimited.Append(b, name)
		b = binary.AppendVarint(b, last)
	})
	b = binary.AppendUvarint(b, uint64(len(inputs)))
	for _, in := range inputs {
		b = delimited.Append(b, in.config.Topic)
		b = binary.AppendVarint(b, int64(in.config.Partition))
		b = binary.AppendVarint(b, in.next)
		var vector []byte
		if in.upstreams != nil {
			vector = in.upstreams.Append(nil)
		}
		b = delimited.Append(b, vector)
	}
	b = db.AppendDeletes(b)
	p.buf = b
	if slices.Equal(b, p.last) {
		return false, nil
	}
	if err := p.write(b); err != nil {
		return false, err
	}
	p.last, p.buf = b, p.last
	if cap(p.buf) > partBytes {
		p.buf = nil
	}
	return true, nil
}

// ticks calls do with the last tick of each punctuator by the clock, and returns how
// many there are.
func ticks(nodes []topology.StatefulNode, do func(name string, last int64)) (count int) {
	for _, n := range nodes {
		if t, ok := n.Stateful.(processors.Ticking); ok {
			for name, last := range t.Ticks() {
				do(tickName(n.Name, name), last)
				count++
			}
		}
	}
	return count
}

// write writes an entry over the older one.
func (p *progress) write(entry []byte) error {
	p.number++
	total := max(1, (len(entry)+partBytes-1)/partBytes)
	for part := range total {
		n := min(len(entry), partBytes)
		b := binary.AppendVarint([]byte{progressVersion}, p.number)
		b = append(binary.AppendUvarint(b, uint64(total)), entry[:n]...)
		if err := p.store.PutAt(partKey(p.slot, part), b, 0); err != nil {
			return err
		}
		entry = entry[n:]
	}
	for part := total; part < p.parts[p.slot]; part++ {
		if err := p.store.Delete(partKey(p.slot, part)); err != nil {
			return err
		}
	}
	p.parts[p.slot] = total
	p.slot = 1 - p.slot
	return nil
}

// parseProgress reads an entry; ok is false if it was made at other offsets than
// the inputs'.
func parseProgress(b []byte, inputs []InputConfig) (s saved, ok bool, err error) {
	nodes, n := binary.Uvarint(b)
	if n <= 0 {
		return s, false, errShortProgress
	}
	b = b[n:]
	s.told = map[string]int64{}
	for range nodes {
		name, rest, ok := delimited.Cut(b)
		w, n := binary.Varint(rest)
		if !ok || n <= 0 {
			return s, false, errShortProgress
		}
		s.told[string(name)] = w
		b = rest[n:]
	}
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return s, false, errShortProgress
	}
	b = b[n:]
	s.vectors = make([][]byte, len(inputs))
	for range count {
		topic, rest, ok := delimited.Cut(b)
		partition, n := binary.Varint(rest)
		if !ok || n <= 0 {
			return s, false, errShortProgress
		}
		rest = rest[n:]
		offset, n := binary.Varint(rest)
		if n <= 0 {
			return s, false, errShortProgress
		}
		vector, rest, ok := delimited.Cut(rest[n:])
		if !ok {
			return s, false, errShortProgress
		}
		b = rest
		i := slices.IndexFunc(inputs, func(c InputConfig) bool {
			return c.Topic == string(topic) && int64(c.Partition) == partition
		})
		if i < 0 || inputs[i].Offset != offset {
			return s, false, nil
		}
		if len(vector) > 0 {
			s.vectors[i] = vector
		}
	}
	s.deletes = b
	return s, count == uint64(len(inputs)), nil
}

var errShortProgress = fmt.Errorf("%w: progress is cut short", stores.ErrCorrupt)
