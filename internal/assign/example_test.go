package assign_test

import (
	"fmt"

	"github.com/millrace/millrace/internal/assign"
)

// Two members share four tasks. A third one joins: what it is to run is withheld
// until its owners have let go.
func ExamplePlan() {
	task := func(p int32) assign.Task { return assign.Task{Sub: 0, Partition: p} }
	tasks := []assign.Task{task(0), task(1), task(2), task(3)}
	members := []assign.Member{
		{ID: "a", Subscription: assign.Subscription{Generation: 1, Owned: []assign.Task{task(0), task(2)}}},
		{ID: "b", Subscription: assign.Subscription{Generation: 1, Owned: []assign.Task{task(1), task(3)}}},
		{ID: "c", Subscription: assign.Subscription{Generation: assign.NoGeneration}},
	}
	for round := 1; ; round++ {
		plan := assign.Plan(members, tasks, assign.Policy{})
		for i := range members {
			m := &members[i]
			given := plan.For(m.ID, "http://leader:8080")
			revoke, start := assign.Diff(m.Owned, given.Active)
			fmt.Printf("round %d: %s runs %v, revokes %v, starts %v\n", round, m.ID, given.Active, revoke, start)
			m.Owned, m.Generation = given.Active, m.Generation+1
		}
		if len(plan.Withheld) == 0 {
			break
		}
	}
	// Output:
	// round 1: a runs [0_0], revokes [0_2], starts []
	// round 1: b runs [0_1 0_3], revokes [], starts []
	// round 1: c runs [], revokes [], starts []
	// round 2: a runs [0_0], revokes [], starts []
	// round 2: b runs [0_1 0_3], revokes [], starts []
	// round 2: c runs [0_2], revokes [], starts [0_2]
}
