package assign

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestANewerProgramIsReadByAnOlderOne has a subscription of a program that reads
// more and says more than this one knows.
func TestANewerProgramIsReadByAnOlderOne(t *testing.T) {
	s := goldenSub()
	s.Newest, s.Shape, s.Draining = 9, `{"subs":[]}`, true
	b := s.Append(nil)
	if b[0] != Oldest {
		t.Errorf("a newcomer writes version %d, want the oldest, %d", b[0], Oldest)
	}
	// Another field comes behind those that are known.
	s2 := goldenSub()
	s2.Newest = 9
	unknown := s2.Append(nil)
	unknown = append(unknown[:len(unknown)-1], 1) // one tagged field
	unknown = binary.AppendUvarint(unknown, 1000)
	unknown = append(binary.AppendUvarint(unknown, 3), "new"...)
	for name, b := range map[string][]byte{"known fields": b, "an unknown field": unknown} {
		got, err := DecodeSubscription(b)
		if err != nil || got.Newest != 9 || got.Endpoint != s.Endpoint || !slices.Equal(got.Owned, s.Owned) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, _ := DecodeSubscription(b); got.Shape != s.Shape || !got.Draining {
		t.Errorf("shape %q, draining %v", got.Shape, got.Draining)
	}
}

// TestTheLeaderWritesWhatAllRead plans for members of several programs.
func TestTheLeaderWritesWhatAllRead(t *testing.T) {
	members := []Member{
		{ID: "new", Subscription: Subscription{Newest: 7}},
		{ID: "old", Subscription: Subscription{Newest: Version}},
	}
	a := Plan(members, grid(4), Policy{}).For("new", "")
	if a.Common != Version {
		t.Errorf("common version %d, want %d", a.Common, Version)
	}
	if b := a.Append(nil); b[0] > Version {
		t.Errorf("written in version %d", b[0])
	}
	// A program that reads more than the whole group does is told so, and does not
	// write above it.
	s := Subscription{Newest: 7, Write: a.Common}
	if b := s.Append(nil); b[0] != Version || b[1] != 7 {
		t.Errorf("head %v", b[:2])
	}
	for common, want := range map[uint8]uint8{0: Oldest, 1: 1, 200: Version} {
		if got := written(common); got != want {
			t.Errorf("to readers of %d version %d is written, want %d", common, got, want)
		}
	}
	future := Subscription{}.Append(nil)
	future[0], future[1] = Version+1, Version+1
	if _, err := DecodeSubscription(future); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a newer version: %v", err)
	}
}

func TestARefusalIsRead(t *testing.T) {
	want := Assignment{Common: Version, Members: 3, Leader: "http://l:1", Refused: `store "a" differs`}
	if got, err := DecodeAssignment(want.Append(nil)); err != nil || got.Refused != want.Refused {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheShapeGivesWayInALargeGroup(t *testing.T) {
	s := goldenSub()
	s.Shape = strings.Repeat("x", 2000)
	if s.Fit(10).Shape == "" {
		t.Error("a small group has room")
	}
	if s.Fit(1000).Shape != "" {
		t.Error("a large group has none for members that own tasks")
	}
	s.Owned = nil
	if s.Fit(100).Shape == "" {
		t.Error("a newcomer to a large group has to say it")
	}
}

// TestADrainingMemberGivesEverythingAway plans until the plan is complete.
func TestADrainingMemberGivesEverythingAway(t *testing.T) {
	tasks := grid(7, 5)
	members := []Member{
		{ID: "a", Subscription: Subscription{Workers: 2, Generation: 1, Owned: tasks[:6], Draining: true}},
		{ID: "b", Subscription: Subscription{Workers: 2, Generation: 1, Owned: tasks[6:]}},
		{ID: "c", Subscription: Subscription{Workers: 1, Generation: NoGeneration}},
	}
	for range 3 {
		plan := Plan(members, tasks, Policy{})
		for i := range members {
			members[i].Owned = plan.Active[members[i].ID]
			members[i].Generation++
		}
		if len(plan.Withheld) == 0 {
			break
		}
	}
	if len(members[0].Owned) > 0 || len(members[1].Owned) != 8 || len(members[2].Owned) != 4 {
		t.Errorf("a %v, b %v, c %v: want none, 8 and 4", members[0].Owned, members[1].Owned, members[2].Owned)
	}
	alone := []Member{{ID: "a", Subscription: Subscription{Workers: 1, Generation: 1, Owned: tasks, Draining: true}}}
	if plan := Plan(alone, tasks, Policy{}); len(plan.Active["a"]) != len(tasks) {
		t.Error("tasks that nobody else can take are to stay")
	}
}
