package stores_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// some is a Visitor that takes note of so many objects, and does something with each.
type some struct {
	left int
	each func(*stores.Live[int64])
}

func (s *some) Visit(l *stores.Live[int64]) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	s.each(l)
	return true
}

// TestVisitHeldComesToTheHeldOnes, in the order of Visit and in slices, and to no other:
// those that are not held may have left memory. What it says comes next is no later than
// the next one that is held. A visit may let go of objects, and delete them.
func TestVisitHeldComesToTheHeldOnes(t *testing.T) {
	type store interface {
		Visit(from, to int64, after stores.Cursor, v stores.Visitor[int64]) (int64, bool, error)
		VisitHeld(from, to int64, after stores.Cursor, bits uint8, v stores.Visitor[int64]) (int64, bool, error)
		Delete(*stores.Live[int64])
	}
	type create func(key []byte, order int64) (*stores.Live[int64], error)
	kinds := map[string]func(stores.Config) (*stores.DB, store, create){
		"windows": func(cfg stores.Config) (*stores.DB, store, create) {
			k := newKit(t, cfg)
			return k.db, k.win, k.win.Create
		},
		"spans": func(cfg stores.Config) (*stores.DB, store, create) {
			db, s := openSpans(t, cfg)
			return db, s, func(key []byte, order int64) (*stores.Live[int64], error) {
				return s.Create(key, window.Window{Start: order - 1, End: order})
			}
		},
	}
	name := func(l *stores.Live[int64]) string { return fmt.Sprintf("%d %s", l.Order(), l.Key()) }
	for kind, open := range kinds {
		for seed := range uint64(50) {
			rng := rand.New(rand.NewPCG(seed, 1))
			db, s, create := open(stores.Config{Budget: stores.NewBudget(1), Engine: stores.NewMemory()})
			held := map[string]uint8{}
			for i := range 200 {
				l, err := create(fmt.Append(nil, i), rng.Int64N(10))
				check(t, err)
				*l.Value, l.Held = int64(i), uint8(rng.IntN(4))
				held[name(l)] = l.Held
			}
			commitAll(t, db)
			db.Shrink() // what is not held leaves memory

			bits := uint8(1 + rng.IntN(3))
			from, to := rng.Int64N(5), 5+rng.Int64N(6)
			var want []string
			_, done, err := s.Visit(from, to, stores.Cursor{}, &some{-1, func(l *stores.Live[int64]) {
				if held[name(l)]&bits != 0 {
					want = append(want, name(l))
				}
			}})
			if check(t, err); !done {
				t.Fatalf("%s, seed %d: Visit has stopped", kind, seed)
			}
			db.Shrink()

			var got []string
			var after stores.Cursor
			var next int64
			for done = false; !done; {
				next, done, err = s.VisitHeld(from, to, after, bits, &some{1 + rng.IntN(7), func(l *stores.Live[int64]) {
					got, after = append(got, name(l)), l.Cursor()
					switch rng.IntN(3) {
					case 0:
						l.Held = 0
					case 1:
						s.Delete(l)
					}
				}})
				check(t, err)
				db.Shrink()
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s, seed %d: VisitHeld(%d, %d) comes to %q, want %q", kind, seed, from, to, got, want)
			}
			least := window.MaxTime
			_, _, err = s.Visit(to, window.MaxTime, stores.Cursor{}, &some{-1, func(l *stores.Live[int64]) {
				if held[name(l)]&bits != 0 {
					least = min(least, l.Order())
				}
			}})
			check(t, err)
			if next < to || next > least {
				t.Fatalf("%s, seed %d: next is %d, want from %d to %d", kind, seed, next, to, least)
			}
			check(t, db.Close())
		}
	}
}
