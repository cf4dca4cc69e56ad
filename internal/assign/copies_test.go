package assign

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawPolicy(t *rapid.T) Policy {
	p := Policy{
		Standbys: rapid.IntRange(0, 3).Draw(t, "standbys"), Warmups: rapid.IntRange(0, 3).Draw(t, "warm-ups"),
		AcceptableLag: rapid.Int64Range(0, 50).Draw(t, "acceptable lag"),
	}
	if rapid.Bool().Draw(t, "stateless") {
		p.Stateless = []int32{0}
	}
	return p
}

// drawGroup draws members with claims and copies of any kind.
func drawGroup(t *rapid.T, tasks []Task) []Member {
	members := make([]Member, rapid.IntRange(1, 6).Draw(t, "members"))
	for i := range members {
		m := &members[i]
		m.ID, m.Rack = string(rune('a'+i)), rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "rack")
		m.Workers, m.Generation = rapid.Int32Range(1, 3).Draw(t, "workers"), rapid.Int32Range(0, 2).Draw(t, "generation")
	}
	for _, task := range tasks {
		if i := rapid.IntRange(-1, len(members)-1).Draw(t, "owner"); i >= 0 {
			members[i].Owned = append(members[i].Owned, task)
		}
		for i := range members {
			if !slices.Contains(members[i].Owned, task) && rapid.IntRange(0, 2).Draw(t, "copy") == 0 {
				members[i].State = append(members[i].State, TaskState{Task: task, Lag: rapid.Int64Range(-1, 100).Draw(t, "lag")})
			}
		}
	}
	return members
}

// TestNoTaskIsLostOrTwice makes single plans for any group: every task is given
// to one member or waits for one; whoever copies it has nothing else to do with
// it; and there are as many copies as there can be.
func TestNoTaskIsLostOrTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks, policy := drawTasks(t), drawPolicy(t)
		members := drawGroup(t, tasks)
		plan := Plan(members, tasks, policy)
		given := map[Task]map[string]string{}
		add := func(task Task, id, as string) {
			if given[task] == nil {
				given[task] = map[string]string{}
			}
			if before, ok := given[task][id]; ok {
				t.Fatalf("%v is given to %s as %s and as %s", task, id, before, as)
			}
			given[task][id] = as
		}
		for as, by := range map[string]map[string][]Task{"active": plan.Active, "standby": plan.Standby, "warm-up": plan.Warmup} {
			for id, all := range by {
				if !slices.IsSortedFunc(all, Task.Compare) {
					t.Fatalf("%s of %s is not sorted: %v", as, id, all)
				}
				for _, task := range all {
					add(task, id, as)
				}
			}
		}
		for _, m := range plan.Withheld {
			add(m.Task, m.From, "withheld")
			if given[m.Task][m.To] == "warm-up" { // it follows until it has the task
				delete(given[m.Task], m.To)
			}
			add(m.Task, m.To, "destination")
		}
		for _, task := range tasks {
			count := map[string]int{}
			for _, as := range given[task] {
				count[as]++
			}
			if count["active"]+count["withheld"] != 1 || count["withheld"] != count["destination"] || count["warm-up"] > 1 {
				t.Fatalf("%v: %v", task, given[task])
			}
			want := min(policy.Standbys, len(members)-count["active"]-count["withheld"]-count["destination"]-count["warm-up"])
			if slices.Contains(policy.Stateless, task.Sub) {
				want = 0
			}
			if count["standby"] != want {
				t.Fatalf("%v has %d copies of %d members, want %d: %v", task, count["standby"], len(members), want, given[task])
			}
		}
	})
}

// TestATaskMovesWhenItsStateIsThere looks at every task that has an owner: its
// next one has caught up, or need not.
func TestATaskMovesWhenItsStateIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks, policy := drawTasks(t), drawPolicy(t)
		policy.Warmups++
		policy.Sizes = map[Task]int64{}
		for _, task := range tasks {
			if rapid.Bool().Draw(t, "sized") {
				policy.Sizes[task] = rapid.Int64Range(0, 100).Draw(t, "size")
			}
		}
		members := drawGroup(t, tasks)
		by := map[string]Member{}
		for _, m := range members {
			by[m.ID] = m
		}
		plan := Plan(members, tasks, policy)
		for _, m := range plan.Withheld {
			lag, known := policy.Sizes[m.Task]
			for _, s := range by[m.To].State {
				if s.Task == m.Task {
					lag, known = s.Lag, s.Lag != LagUnknown
				}
			}
			if !slices.Contains(policy.Stateless, m.Task.Sub) && (!known || lag > policy.AcceptableLag) {
				t.Fatalf("%v moves to %s, whose copy is behind by %d (known: %v)", m.Task, m.To, lag, known)
			}
		}
		for id, warming := range plan.Warmup {
			warming = slices.DeleteFunc(slices.Clone(warming), func(task Task) bool {
				return slices.Contains(plan.Withheld, Move{Task: task, From: fromOf(plan, task), To: id})
			})
			if len(warming) > policy.Warmups {
				t.Fatalf("%s is to warm up %v at a time", id, warming)
			}
		}
	})
}

// fromOf returns who still runs a task that is on its way.
func fromOf(plan Assignments, task Task) string {
	for _, m := range plan.Withheld {
		if m.Task == task {
			return m.From
		}
	}
	return ""
}

// TestStandbysLieInOtherRacks demands that no copy is in the rack of its task
// while a member of another rack has nothing to do with the task.
func TestStandbysLieInOtherRacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawGroup(t, tasks)
		plan := Plan(members, tasks, Policy{Standbys: 1})
		racks, at := map[string]string{}, map[Task][]string{} // at: runs, goes to, was claimed by
		for _, m := range members {
			racks[m.ID] = m.Rack
			for _, task := range plan.Active[m.ID] {
				at[task] = append(at[task], m.ID)
			}
		}
		for _, m := range plan.Withheld {
			at[m.Task] = append(at[m.Task], m.To, m.From)
		}
		for id, copies := range plan.Standby {
			for _, task := range copies {
				rack := racks[at[task][0]]
				if rack == "" || racks[id] != rack {
					continue
				}
				for other, r := range racks {
					if r != rack && !slices.Contains(at[task], other) {
						t.Fatalf("%v runs on %s in rack %s, its copy is on %s in the same one, and %s in rack %q has neither", task, at[task][0], rack, id, other, r)
					}
				}
			}
		}
	})
}

// TestWarmupsComeToAnEnd lets members come and go while copies catch up, and
// demands that the group is balanced in the end, that nothing moves after that,
// and that the number of rebalances is bounded by the number of tasks to copy.
func TestWarmupsComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(drawTasks(t))
		c.policy = drawPolicy(t)
		converged := func() map[Task]string {
			plans, err := c.converge()
			if err != nil {
				t.Fatal(err)
			}
			if most := 3 * (len(c.tasks) + 2); len(plans) > most {
				t.Fatalf("%d rounds for %d tasks", len(plans), len(c.tasks))
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
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				id := rapid.StringMatching("[a-f]").Draw(t, "id")
				if c.members[id] != nil {
					c.leave(id)
				} else {
					c.join(id, rapid.Int32Range(1, 3).Draw(t, "workers"))
					c.members[id].rack = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "rack")
				}
				if rapid.Bool().Draw(t, "rebalance") {
					if _, err := c.round(); err != nil {
						t.Fatal(err)
					}
				}
			},
			"converge": func(t *rapid.T) {
				before := converged()
				if again := converged(); !maps.Equal(before, again) {
					t.Fatalf("moved without a reason: %v to %v", before, again)
				}
			},
		})
		converged()
	})
}

// TestCopiesMakeNoTaskMove compares with a plan that knows no copies to wait for:
// when everything has caught up, the same number of tasks moves.
func TestCopiesMakeNoTaskMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawGroup(t, tasks)
		policy := Policy{Standbys: 2, Warmups: 1, AcceptableLag: 10, Sizes: map[Task]int64{}}
		for _, task := range tasks {
			policy.Sizes[task] = 0
		}
		for i := range members {
			for j := range members[i].State {
				members[i].State[j].Lag = 0
			}
		}
		with, without := Plan(members, tasks, policy), Plan(members, tasks, Policy{})
		if len(with.Withheld) != len(without.Withheld) {
			t.Fatalf("%d tasks move, without copies %d", len(with.Withheld), len(without.Withheld))
		}
	})
}

// TestAFailoverGoesToTheCopies kills a member of a settled group: each of its
// tasks runs at once where its copy was.
func TestAFailoverGoesToTheCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(drawTasks(t))
		c.policy = Policy{Standbys: 1, Warmups: 2, AcceptableLag: 5}
		for i := range rapid.IntRange(2, 6).Draw(t, "members") {
			c.join(string(rune('a'+i)), 1)
		}
		if _, err := c.converge(); err != nil {
			t.Fatal(err)
		}
		c.catchUp()
		copies := map[Task]string{}
		for id, in := range c.members {
			for _, task := range in.copying {
				copies[task] = id
			}
		}
		dead := rapid.SampledFrom(c.ids()).Draw(t, "dead")
		lost := c.members[dead].owned
		c.leave(dead)
		if _, err := c.round(); err != nil {
			t.Fatal(err)
		}
		owners, err := c.owners()
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range lost {
			if owners[task] == "" || owners[task] != copies[task] && c.disks[owners[task]][task] > c.policy.AcceptableLag {
				t.Fatal(fmt.Sprintf("%v ran on %s with a copy on %s, and runs on %q", task, dead, copies[task], owners[task]))
			}
		}
	})
}

// TestFingerprint tells subscriptions apart by what a plan makes of them, and not
// by what changes from one rebalance to the next.
func TestFingerprint(t *testing.T) {
	s := goldenSub()
	same := s
	same.Generation, same.Owned, same.State, same.Remembers = 99, nil, nil, nil
	if s.Fingerprint() != same.Fingerprint() || s.Fingerprint() == 0 {
		t.Error("what a member holds changes the fingerprint")
	}
	for what, change := range map[string]func(*Subscription){
		"process": func(s *Subscription) { s.Process[0]++ }, "endpoint": func(s *Subscription) { s.Endpoint += "x" },
		"rack": func(s *Subscription) { s.Rack += "x" }, "topology": func(s *Subscription) { s.Topology += "x" },
		"workers": func(s *Subscription) { s.Workers++ }, "producers": func(s *Subscription) { s.Producers++ },
	} {
		other := s
		change(&other)
		if other.Fingerprint() == s.Fingerprint() {
			t.Errorf("another %s, and the same fingerprint", what)
		}
	}
}
