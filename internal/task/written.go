package task

import (
	"strings"

	"github.com/millrace/millrace/codec"
)

// Written says who wrote the last commit of a task to its changelogs, and where
// they ended then. It rides in the metadata of a committed offset. What stands
// behind an end and is another producer's comes from a process that has lost the
// task, or from one that has never committed it.
type Written struct {
	// Producer is the id of the producer.
	Producer int64
	// Ends are the offsets behind the last records, by store.
	Ends map[string]int64
}

// Names under which it rides there.
const (
	producerName = "millrace.producer"
	endName      = "millrace.end." // and the store
)

// metadataLimit is how long the metadata of an offset may become. Brokers take
// 4096 bytes by default.
const metadataLimit = 3 << 10

// Sign adds to a commit who has written its changelog records and where the
// changelogs end with them. If that takes too much room the commit stays as it is.
// Call it before the offsets of c are committed.
func (t *Task) Sign(c *Commit, by Written) {
	in := t.inputs[0]
	m := in.metadata()
	m.Processors[producerName] = by.Producer
	for store, end := range by.Ends {
		m.Processors[endName+store] = end
	}
	encoded := m.Encode()
	if len(encoded) > metadataLimit {
		return
	}
	signed := Offset{in.config.Topic, in.config.Partition, in.next, encoded}
	for i, o := range c.Offsets {
		if o.Topic == signed.Topic && o.Partition == signed.Partition {
			c.Offsets[i] = signed
			return
		}
	}
	c.Offsets = append(c.Offsets, signed)
}

// LastWritten returns what the committed offsets of a task's inputs say of its
// last commit; ok is false if they say nothing.
func LastWritten(inputs []InputConfig) (last Written, ok bool) {
	newest := int64(-1)
	for _, c := range inputs {
		m, err := codec.DecodeOffsetMetadata(c.Metadata)
		if err != nil {
			continue // New says it
		}
		producer, signed := m.Processors[producerName]
		number := m.Processors[numberName]
		if number < newest || number == newest && (ok || !signed) {
			continue
		}
		newest = number
		if !signed { // a newer commit that says nothing
			last, ok = Written{}, false
			continue
		}
		last, ok = Written{Producer: producer, Ends: map[string]int64{}}, true
		for name, end := range m.Processors {
			if store, is := strings.CutPrefix(name, endName); is {
				last.Ends[store] = end
			}
		}
	}
	return last, ok
}
