package streams

import (
	"testing"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/topology"
)

// memberFor returns what a leader sees of a member that runs a topology.
func memberFor(t *testing.T, id string, top *topology.Topology, owned []assign.Task) []assign.Member {
	t.Helper()
	shape, err := top.Shape().Encode()
	if err != nil {
		t.Fatal(err)
	}
	sub := assign.Subscription{Topology: top.Hash(), Shape: string(shape), Workers: 1, Generation: assign.NoGeneration, Owned: owned}
	copy(sub.Process[:], id)
	if len(owned) > 0 {
		sub.Generation = 1
	}
	return []assign.Member{{ID: id, Subscription: sub}}
}

func decodeAssignment(t *testing.T, b []byte) assign.Assignment {
	t.Helper()
	a, err := assign.DecodeAssignment(b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
