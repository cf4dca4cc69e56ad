package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// shapeKey is the key, in the task's own store, of the shape of the
// sub-topology that wrote the task's state: see [topology.Shape].
const shapeKey = "shape"

// CheckShape compares the topology with the one that wrote the state, as far as
// the task's own store is restored. The error wraps [topology.ErrIncompatible]
// and says what differs. State from before shapes were kept fits everything.
func (s *State) CheckShape(sub topology.SubTopology) error { return s.progress.checkShape(sub) }

func (p *progress) checkShape(sub topology.SubTopology) error {
	if p.store == nil {
		return nil
	}
	stored, ok, err := p.store.Get(shapeKey)
	if err != nil || !ok {
		return err
	}
	var shape topology.SubShape
	if err := json.Unmarshal(stored, &shape); err != nil {
		return fmt.Errorf("%w: shape of the topology: %w", stores.ErrCorrupt, err)
	}
	p.stored = bytes.Clone(stored)
	p.noteAll(shape)
	return sub.CheckState(shape)
}

// saveShape writes the shape, and which versions of values may be left, if that is
// not what is in the store.
func (p *progress) saveShape() error {
	shape := p.shape
	shape.Stores = slices.Clone(shape.Stores)
	for i := range shape.Stores {
		st := &shape.Stores[i]
		if oldest := p.oldestOf(st.Name); oldest < st.Version {
			st.Oldest = oldest
		}
	}
	b, err := json.Marshal(shape)
	if err != nil || bytes.Equal(p.stored, b) {
		return err
	}
	p.stored = b
	return p.store.PutAt(shapeKey, b, 0)
}
