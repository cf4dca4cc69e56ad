package assign

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkBalance demands that every task runs once and every member has its fair
// share, rounded down or up.
func checkBalance(c *cluster) error {
	owners, err := c.owners()
	if err != nil {
		return err
	}
	if len(c.members) == 0 {
		return nil
	}
	if len(owners) != len(c.tasks) {
		return fmt.Errorf("%d of %d tasks run", len(owners), len(c.tasks))
	}
	var workers int
	for _, in := range c.members {
		workers += int(in.workers)
	}
	for id, in := range c.members {
		share := float64(len(c.tasks)) * float64(in.workers) / float64(workers)
		if n := float64(len(in.owned)); n <= share-1 || n >= share+1 {
			return fmt.Errorf("%s has %v tasks, its share is %.2f", id, n, share)
		}
	}
	return nil
}

func drawTasks(t *rapid.T) []Task {
	return grid(rapid.SliceOfN(rapid.IntRange(1, 24), 1, 5).Draw(t, "partitions")...)
}

// settled lets the group come to rest, within the promised rounds.
func settled(t *rapid.T, c *cluster) map[Task]string {
	plans, err := c.settle()
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) > 2 {
		t.Fatalf("stable after %d rounds, not 2", len(plans))
	}
	if err := checkBalance(c); err != nil {
		t.Fatal(err)
	}
	owners, err := c.owners()
	if err != nil {
		t.Fatal(err)
	}
	return owners
}

// TestChurn lets members with any number of workers come and go, several at a
// time and also between the two rounds of a rebalance.
func TestChurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(drawTasks(t))
		change := func(t *rapid.T) {
			id := rapid.StringMatching("[a-h]").Draw(t, "id")
			if c.members[id] != nil {
				c.leave(id)
			} else {
				c.join(id, rapid.Int32Range(1, 4).Draw(t, "workers"))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": change,
			"change and start a rebalance": func(t *rapid.T) {
				change(t)
				if _, err := c.round(); err != nil {
					t.Fatal(err)
				}
			},
			"settle": func(t *rapid.T) {
				before := settled(t, c)
				if again := settled(t, c); !maps.Equal(before, again) {
					t.Fatalf("moved without a reason: %v to %v", before, again)
				}
			},
		})
		settled(t, c)
	})
}

// TestMovementIsMinimal compares with what the limits alone allow: a member
// keeps at most its share rounded up, and only so many keep more than rounded
// down as the sum of tasks leaves over.
func TestMovementIsMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := make([]Member, rapid.IntRange(1, 7).Draw(t, "members"))
		workers := 0
		for i := range members {
			members[i].ID = string(rune('a' + i))
			members[i].Workers = rapid.Int32Range(1, 4).Draw(t, "workers")
			workers += int(members[i].Workers)
		}
		owned := 0
		for _, task := range tasks {
			if i := rapid.IntRange(-1, len(members)-1).Draw(t, "owner"); i >= 0 {
				members[i].Owned = append(members[i].Owned, task)
				owned++
			}
			if i := rapid.IntRange(-1, len(members)-1).Draw(t, "copy"); i >= 0 {
				members[i].State = append(members[i].State, TaskState{Task: task, Lag: rapid.Int64Range(0, 3).Draw(t, "lag")})
			}
		}
		kept, above, extras := 0, 0, len(tasks)
		for _, m := range members {
			share := len(tasks) * int(m.Workers)
			low := share / workers
			extras -= low
			kept += min(len(m.Owned), low)
			if len(m.Owned) > low && share%workers != 0 {
				above++
			}
		}
		kept += min(above, extras)

		plan := Plan(members, tasks, Policy{})
		if got := len(plan.Withheld); got != owned-kept {
			t.Fatalf("%d tasks move, %d need to", got, owned-kept)
		}
	})
}

// TestJoinAndLeave bounds what one member's coming and going moves in a group of
// equal members: the newcomer's share, and the leaver's tasks.
func TestJoinAndLeave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(drawTasks(t))
		for i := range rapid.IntRange(1, 8).Draw(t, "members") {
			c.join(string(rune('a'+i)), 1)
			settled(t, c)
		}
		before := settled(t, c)
		c.join("newcomer", 1)
		after := settled(t, c)
		if n, most := moved(before, after), (len(c.tasks)+len(c.members)-1)/len(c.members); n > most {
			t.Fatalf("a join moved %d tasks, at most %d are allowed", n, most)
		}
		leaver := rapid.SampledFrom(c.ids()).Draw(t, "leaver")
		c.leave(leaver)
		for task, id := range settled(t, c) {
			if after[task] != id && after[task] != leaver {
				t.Fatalf("%s left, and %v moved from %s to %s", leaver, task, after[task], id)
			}
		}
	})
}

// TestFirstStartIsSpread demands that each sub-topology by itself is balanced
// when nobody runs anything yet.
func TestFirstStartIsSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(drawTasks(t))
		for i := range rapid.IntRange(1, 9).Draw(t, "members") {
			c.join(string(rune('a'+i)), 1)
		}
		settled(t, c)
		if d := spread(c); d > 1 {
			t.Fatalf("members differ by %d tasks of one sub-topology", d)
		}
	})
}

// spread returns the largest difference between two members in tasks of one
// sub-topology.
func spread(c *cluster) int {
	worst := 0
	for sub := range c.tasks[len(c.tasks)-1].Sub + 1 {
		low, high := len(c.tasks), 0
		for _, in := range c.members {
			n := 0
			for _, task := range in.owned {
				if task.Sub == sub {
					n++
				}
			}
			low, high = min(low, n), max(high, n)
		}
		worst = max(worst, high-low)
	}
	return worst
}

// TestOrderDoesNotMatter shuffles everything that has an order, with claims
// that contradict each other.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		var members []Member
		for i := range rapid.IntRange(0, 6).Draw(t, "members") {
			sub := drawSubscription(t)
			sub.Owned = rapid.SliceOfNDistinct(rapid.SampledFrom(tasks), 0, len(tasks), rapid.ID[Task]).Draw(t, "owned")
			for _, task := range rapid.SliceOfNDistinct(rapid.SampledFrom(tasks), 0, len(tasks), rapid.ID[Task]).Draw(t, "state") {
				sub.State = append(sub.State, TaskState{Task: task, Lag: rapid.Int64Range(-1, 2).Draw(t, "lag")})
			}
			members = append(members, Member{ID: string(rune('a' + i)), Subscription: sub})
		}
		want := Plan(members, tasks, Policy{})
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		tasks = append(tasks, tasks[:len(tasks)/2]...)
		random.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
		for i := range members {
			members[i].Owned = slices.Clone(members[i].Owned)
			slices.Reverse(members[i].Owned)
			slices.Reverse(members[i].State)
		}
		if got := Plan(members, tasks, Policy{}); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order, another plan:\n%v\n%v", got, want)
		}
	})
}
