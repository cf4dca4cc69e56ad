package assign

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestLargeGroup lets 1,000 members with 10,000 tasks come and go, and logs what
// a plan takes, moves and leaves uneven. Run it with -v to read the table.
func TestLargeGroup(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newCluster(grid(1000, 1000, 2000, 2000, 4000))
	name := func(i int) string { return fmt.Sprintf("instance-%04d", i) }
	up, down := []string{}, []string{}
	for i := range 1000 {
		c.join(name(i), 1)
		up = append(up, name(i))
	}
	pick := func(from *[]string) string {
		i := random.IntN(len(*from))
		id := (*from)[i]
		*from = append((*from)[:i], (*from)[i+1:]...)
		return id
	}
	steps := []struct {
		what        string
		leave, join int
	}{
		{"first start", 0, 0},
		{"1 leaves", 1, 0}, {"it returns", 0, 1},
		{"10 leave", 10, 0}, {"5 return", 0, 5}, {"20 leave, 15 return", 20, 15},
		{"a third leaves", 330, 0}, {"200 return", 0, 200}, {"the rest returns", 0, 140},
		{"nothing", 0, 0},
	}
	t.Logf("%-22s %7s %6s %10s %6s %7s %6s %9s", "what", "members", "rounds", "plan", "moved", "lost", "spread", "record")
	for _, step := range steps {
		before, err := c.owners()
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		returning := min(step.join, len(down))
		for range step.leave {
			id := pick(&up)
			lost += len(c.members[id].owned)
			c.leave(id)
			down = append(down, id)
		}
		for range returning {
			id := pick(&down)
			c.join(id, 1)
			up = append(up, id)
		}
		rounds := 0
		c.slowest = 0
		for again := true; again; rounds++ {
			plan, err := c.round()
			if err != nil {
				t.Fatal(err)
			}
			again = len(plan.Withheld) > 0
		}
		if err := checkBalance(c); err != nil {
			t.Fatal(err)
		}
		if rounds > 2 {
			t.Errorf("%s: %d rounds", step.what, rounds)
		}
		after, err := c.owners()
		if err != nil {
			t.Fatal(err)
		}
		// Of the tasks that changed hands, those of members that left had to.
		moves := moved(before, after)
		if share := (len(c.tasks)/len(c.members) + 1) * returning; moves-lost > share {
			t.Errorf("%s: %d tasks moved, %d were without a member and %d were the share of those that joined", step.what, moves, lost, share)
		}
		uneven := spread(c)
		if uneven > 2 {
			t.Errorf("%s: members differ by %d tasks of one sub-topology", step.what, uneven)
		}
		record := groupRecord(c)
		if record > GroupLimit {
			t.Errorf("%s: the group's record takes %d bytes, at most %d are allowed", step.what, record, GroupLimit)
		}
		t.Logf("%-22s %7d %6d %10v %6d %7d %6d %9d", step.what, len(c.members), rounds, c.slowest.Round(time.Millisecond), moves, lost, uneven, record)
	}
}

// groupRecord returns about how many bytes Kafka's coordinator writes for the
// group if every member has long names and has a copy of many tasks' state.
func groupRecord(c *cluster) int {
	total := 0
	for i, id := range c.ids() {
		in := c.members[id]
		s := c.subscribe(id).Subscription
		s.Endpoint = "https://" + id + ".millrace.production.svc.cluster.local:8080"
		s.Rack = "eu-central-1a"
		s.Topology = strings.Repeat("f", 16)
		s.Application = "v1.20.3-0.20261123"
		for k := range 80 {
			s.State = append(s.State, TaskState{Task: c.tasks[(i*31+k*47)%len(c.tasks)], Lag: int64(k) * 100_000})
		}
		s = s.Fit(len(c.members))
		a := Assignment{Members: int32(len(c.members)), Leader: s.Endpoint, Active: in.owned, Standby: in.owned, Remember: in.remembers}
		total += memberOverhead + len(s.Append(nil)) + len(a.Append(nil))
	}
	return total
}

// TestFitLeavesOutTheFurthestBehind shrinks a subscription for a large group,
// and leaves it alone for a small one.
func TestFitLeavesOutTheFurthestBehind(t *testing.T) {
	s := goldenSub()
	s.State = nil
	for i := range int32(400) {
		s.State = append(s.State, TaskState{Task: Task{1, i}, Lag: int64((i * 7919) % 400 * 1000)})
	}
	s.State[0].Lag = LagUnknown
	if got := s.Fit(10); len(got.State) != 400 {
		t.Errorf("10 members: %d of 400 kept", len(got.State))
	}
	got := s.Fit(1000)
	if n := len(got.State); n < 40 || n > 200 {
		t.Fatalf("1,000 members: %d of 400 kept", n)
	}
	kept := map[Task]bool{}
	worst := int64(0)
	for _, k := range got.State {
		kept[k.Task] = true
		worst = max(worst, k.Lag)
	}
	for _, k := range s.State {
		if !kept[k.Task] && k.Lag != LagUnknown && k.Lag < worst {
			t.Errorf("%v with lag %d was left out, one with %d was kept", k.Task, k.Lag, worst)
		}
	}
	if kept[Task{1, 0}] {
		t.Error("an unknown lag was kept before a known one")
	}
	if len(got.Owned) != 4 || len(s.State) != 400 {
		t.Error("Fit changed more than the state it returns")
	}
	if none := s.Fit(hugeGroup); len(none.State) != 0 || len(none.Owned) != 4 {
		t.Errorf("no room at all: %d kept", len(none.State))
	}
}

// hugeGroup is a group so large that it has no room for any state.
const hugeGroup = 1_000_000_000
