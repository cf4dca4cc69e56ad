package codectest

import (
	"sync"

	"github.com/millrace/millrace/codec"
)

// Poisoned is a codec whose decoded values can be spoilt. It is safe for use by
// several goroutines at once.
type Poisoned[T any] struct {
	codec.Codec[T]

	mu   sync.Mutex
	lent [][]byte
}

// Poison returns a codec that does what c does, but hands c a copy of the input
// of each Decode and can scribble over it later. Run the code under test with
// it, call Scribble where decoded values have ceased to be valid, and see
// whether what the code has kept is still right.
func Poison[T any](c codec.Codec[T]) *Poisoned[T] {
	return &Poisoned[T]{Codec: c}
}

// Decode decodes a copy of b.
func (p *Poisoned[T]) Decode(b []byte) (T, error) {
	c := append(make([]byte, 0, len(b)+1), b...)
	p.mu.Lock()
	p.lent = append(p.lent, c)
	p.mu.Unlock()
	return p.Codec.Decode(c)
}

// Scribble overwrites the input of every Decode so far and returns how many
// there were since the last call. Strings and slices that alias it change.
func (p *Poisoned[T]) Scribble() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.lent {
		for i := range b {
			b[i] = 0xDB
		}
	}
	n := len(p.lent)
	p.lent = nil
	return n
}
