package assign

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// group is members with transactional producers, which keep what their last
// assignment said.
type group struct {
	members map[string]*Member
	tasks   []Task
}

func process(n int) ProcessID { return ProcessID{byte(n >> 8), byte(n), 1} }

func newGroup(members int) *group {
	g := &group{members: map[string]*Member{}}
	for p := range int32(2 * members) {
		g.tasks = append(g.tasks, Task{0, p})
	}
	for n := range members {
		g.add(n, 2)
	}
	return g
}

func (g *group) add(n int, producers int32) {
	id := fmt.Sprintf("m%04d", n)
	g.members[id] = &Member{ID: id, Subscription: Subscription{
		Process: process(n), Workers: 2, Producers: producers, Generation: NoGeneration,
	}}
}

// round plans, over the wire, and returns what each member is to abort.
func (g *group) round(t *testing.T) map[string][]Producers {
	t.Helper()
	var members []Member
	for _, m := range g.members {
		s, err := DecodeSubscription(m.Append(nil))
		if err != nil || !reflect.DeepEqual(s.Remembers, m.Remembers) || s.Producers != m.Producers {
			t.Fatalf("%+v came as %+v, %v", m.Subscription, s, err)
		}
		members = append(members, Member{ID: m.ID, Subscription: s})
	}
	plan := Plan(members, g.tasks, Policy{})
	abort := map[string][]Producers{}
	for id, m := range g.members {
		want := plan.For(id, "")
		a, err := DecodeAssignment(want.Append(nil))
		if err != nil || !reflect.DeepEqual(a.Remember, want.Remember) || !reflect.DeepEqual(a.Abort, want.Abort) {
			t.Fatalf("%+v came as %+v, %v", want, a, err)
		}
		if len(a.Abort) > 0 {
			abort[id] = a.Abort
		}
		m.Owned, m.Generation, m.Remembers = a.Active, m.Generation+1, a.Remember
	}
	return abort
}

// TestProducersThatAreGoneAreAbortedOnce removes members, any of which may have
// led, and expects each of their producers to be named once, to members that get
// tasks; and never those of a process that is there.
func TestProducersThatAreGoneAreAbortedOnce(t *testing.T) {
	for _, size := range []int{2, 3, 5, 40, 150} {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 1))
			g := newGroup(size)
			if abort := g.round(t); len(abort) > 0 {
				t.Fatalf("before anybody was gone: %v", abort)
			}
			g.round(t)
			ids := slices.Sorted(func(yield func(string) bool) {
				for id := range g.members {
					if !yield(id) {
						return
					}
				}
			})
			// As many as one of those who remember survives.
			lost := 1 + random.IntN(min(remembrances(size), size-1))
			gone := map[Producers]int{}
			for _, i := range random.Perm(size)[:lost] {
				m := g.members[ids[i]]
				gone[Producers{Process: m.Process, Count: m.Producers}]++
				delete(g.members, ids[i])
			}
			for id, list := range g.round(t) {
				for _, p := range list {
					if gone[p]--; gone[p] < 0 {
						t.Errorf("%d members, seed %d: %s is to abort %v, which is there or was named before", size, seed, id, p)
					}
				}
			}
			for p, n := range gone {
				if n > 0 {
					t.Errorf("%d members, seed %d: nobody aborts %v", size, seed, p)
				}
			}
			if abort := g.round(t); len(abort) > 0 {
				t.Errorf("%d members, seed %d: named again: %v", size, seed, abort)
			}
		}
	}
}

func TestProducersOfAProcessThatIsBackAreItsOwn(t *testing.T) {
	g := newGroup(3)
	g.add(1, 5)
	g.round(t)
	g.round(t)
	g.add(1, 2) // it has restarted, with fewer workers
	abort := g.round(t)
	var got []Producers
	for _, list := range abort {
		got = append(got, list...)
	}
	if want := []Producers{{Process: process(1), First: 2, Count: 3}}; !slices.Equal(got, want) {
		t.Errorf("aborted %v, want the three that it has no more: %v", got, want)
	}
}

func TestWithoutTransactionsNothingIsRemembered(t *testing.T) {
	g := newGroup(0)
	for n := range 4 {
		g.add(n, 0)
	}
	g.tasks = []Task{{0, 0}, {0, 1}}
	g.round(t)
	for id, m := range g.members {
		if len(m.Remembers) > 0 {
			t.Errorf("%s remembers %v", id, m.Remembers)
		}
	}
}

// TestAMemberThatHasNotAbortedIsAskedAgain keeps in a subscription what is still
// to be done.
func TestAMemberThatHasNotAbortedIsAskedAgain(t *testing.T) {
	g := newGroup(3)
	g.round(t)
	gone := Producers{Process: process(99), Count: 4}
	g.members["m0000"].Remembers = append(g.members["m0000"].Remembers, gone)
	var got []Producers
	for _, list := range g.round(t) {
		got = append(got, list...)
	}
	if !slices.Equal(got, []Producers{gone}) {
		t.Errorf("aborted %v, want %v", got, gone)
	}
}

// TestTaggedFieldsKeepTheirBytes pins what members of other versions read.
func TestTaggedFieldsKeepTheirBytes(t *testing.T) {
	p := []Producers{{Process: process(1), First: 2, Count: 300}}
	empty := len(Subscription{}.Append(nil)) - 1
	s := Subscription{Producers: 7, Remembers: p}.Append(nil)[empty:]
	if got, want := hex.EncodeToString(s), "02"+"010107"+"0214"+"01"+"00010100000000000000000000000000"+"02ac02"; got != want {
		t.Errorf("subscription: %s, want %s", got, want)
	}
	empty = len(Assignment{}.Append(nil)) - 1
	a := Assignment{Abort: p}.Append(nil)[empty:]
	if got, want := hex.EncodeToString(a), "01"+"0214"+"01"+"00010100000000000000000000000000"+"02ac02"; got != want {
		t.Errorf("assignment: %s, want %s", got, want)
	}
	for _, short := range []int{1, 5, 12} {
		b := Subscription{Producers: 7, Remembers: p}.Append(nil)
		b = b[:len(b)-short]
		if _, err := DecodeSubscription(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut by %d bytes: %v", short, err)
		}
	}
}
