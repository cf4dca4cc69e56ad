package stores

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSortedByChance adds objects to a bucket, most of them next to each other, lets
// some go, and compares its order with that of a sort.
func TestSortedByChance(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := &bucket[int]{objs: map[string]*Live[int]{}}
		for range 20 {
			at := random.IntN(1000)
			for range random.IntN(30) {
				if at++; random.IntN(4) == 0 {
					at = random.IntN(1000)
				}
				key := fmt.Sprintf("%03d", at)
				if old := b.objs[key]; old != nil {
					old.gone = true
				}
				l := &Live[int]{key: key}
				b.objs[key] = l
				b.tail = append(b.tail, l)
			}
			if random.IntN(3) == 0 {
				for key, l := range b.objs {
					if random.IntN(5) == 0 {
						l.gone = true
						delete(b.objs, key)
					}
				}
			}
			before := slices.Clone(b.order)
			kept := b.order
			var want, got []string
			for key := range b.objs {
				want = append(want, key)
			}
			slices.Sort(want)
			for _, l := range b.sorted() {
				if !l.gone {
					got = append(got, l.key)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: in order %v, want %v", seed, got, want)
			}
			if !slices.Equal(before, kept) {
				t.Fatalf("seed %d: a slice that was handed out has changed", seed)
			}
			for range 10 {
				key := fmt.Sprintf("%03d", random.IntN(1100))
				n, _ := slices.BinarySearchFunc(b.order, key, func(l *Live[int], k string) int { return strings.Compare(l.key, k) })
				if got := countBelow(b.order, key); got != n {
					t.Fatalf("seed %d: %d keys below %s, want %d", seed, got, key, n)
				}
			}
		}
	}
}

// TestWhatIsGoneDoesNotPileUp: objects come and go between two commits, as in a queue,
// and somebody looks at the order each time.
func TestWhatIsGoneDoesNotPileUp(t *testing.T) {
	b := &bucket[int]{objs: map[string]*Live[int]{}}
	for i := range 10_000 {
		l := &Live[int]{key: fmt.Sprintf("%05d", i)}
		b.objs[l.key] = l
		b.tail = append(b.tail, l)
		if n := len(b.sorted()); n > 100 {
			t.Fatalf("%d objects in order, and one of them is there", n)
		}
		l.gone = true
		delete(b.objs, l.key)
	}
}
