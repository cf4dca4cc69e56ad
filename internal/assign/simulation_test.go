package assign

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLargeGroup lets 1,000 members with 10,000 tasks come and go, and logs what
// a plan takes, moves and leaves uneven. Run it with -v to read the table.
func TestLargeGroup(t *testing.T) {
	large := &largeGroup{T: t, cluster: newCluster(grid(1000, 1000, 2000, 2000, 4000)), random: rand.New(rand.NewPCG(1, 2)), most: 2}
	large.start(1000)
	large.churn()
}

// TestLargeGroupWithStandbys is the same in three racks, with a copy of each task
// of the sub-topologies with state. Tasks that move wait for their state, so it
// takes more rounds.
func TestLargeGroupWithStandbys(t *testing.T) {
	c := newCluster(grid(1000, 1000, 2000, 2000, 4000))
	c.policy = Policy{Standbys: 1, Warmups: 4, AcceptableLag: 10_000, Stateless: []int32{0}}
	large := &largeGroup{T: t, cluster: c, random: rand.New(rand.NewPCG(1, 2)), racks: 3, most: 6}
	large.start(1000)
	large.churn()
}

// largeGroup is a group that changes much.
type largeGroup struct {
	*testing.T
	*cluster
	random   *rand.Rand
	racks    int
	most     int // by how many tasks of a sub-topology members may differ
	up, down []string
}

func (g *largeGroup) start(n int) {
	for i := range n {
		g.enter(fmt.Sprintf("instance-%04d", i))
	}
}

func (g *largeGroup) enter(id string) {
	g.join(id, 1)
	if g.racks > 0 {
		g.members[id].rack = fmt.Sprint("eu-central-1", string('a'+id[len(id)-1]%byte(g.racks)))
	}
	g.up = append(g.up, id)
}

// churn lets members come and go.
func (g *largeGroup) churn() {
	pick := func(from *[]string) string {
		i := g.random.IntN(len(*from))
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
	g.Logf("%-22s %7s %6s %10s %6s %7s %6s %9s %9s", "what", "members", "rounds", "plan", "moved", "lost", "spread", "standbys", "record")
	for _, step := range steps {
		before, err := g.owners()
		if err != nil {
			g.Fatal(err)
		}
		lost := 0
		returning := min(step.join, len(g.down))
		for range step.leave {
			id := pick(&g.up)
			lost += len(g.members[id].owned)
			g.leave(id)
			g.down = append(g.down, id)
		}
		for range returning {
			g.enter(pick(&g.down))
		}
		g.slowest, g.record = 0, 0
		plans, err := g.converge()
		if err != nil {
			g.Fatal(err)
		}
		if err := checkBalance(g.cluster); err != nil {
			g.Fatal(err)
		}
		if g.policy.Warmups == 0 && len(plans) > 2 {
			g.Errorf("%s: %d rounds", step.what, len(plans))
		}
		after, err := g.owners()
		if err != nil {
			g.Fatal(err)
		}
		// Of the tasks that changed hands, those of members that left had to.
		moves := moved(before, after)
		share := (len(g.tasks)/len(g.members) + 1) * returning
		if g.policy.Warmups > 0 { // and some twice: to where their state is, and to where there is room
			share += lost
		}
		if moves-lost > share {
			g.Errorf("%s: %d tasks moved, %d were without a member and %d were the share of those that joined", step.what, moves, lost, share)
		}
		uneven := spread(g.cluster)
		if uneven > g.most {
			g.Errorf("%s: members differ by %d tasks of one sub-topology", step.what, uneven)
		}
		if g.record > GroupLimit {
			g.Errorf("%s: the group's record takes %d bytes, at most %d are allowed", step.what, g.record, GroupLimit)
		}
		least, greatest := len(g.tasks), 0
		for _, in := range g.members {
			least, greatest = min(least, len(in.copying)), max(greatest, len(in.copying))
		}
		g.Logf("%-22s %7d %6d %10v %6d %7d %6d %4d-%4d %9d", step.what, len(g.members), len(plans), g.slowest.Round(time.Millisecond), moves, lost, uneven, least, greatest, g.record)
	}
}

// groupRecord returns how many bytes the coordinator writes for a group whose
// members have long names, in the form in which Kafka keeps it.
func groupRecord(members []Member, plan Assignments) int {
	text := func(s string) *string { return &s }
	record := kmsg.NewGroupMetadataValue()
	record.Version, record.ProtocolType, record.Protocol = 3, "consumer", text(Protocol)
	for _, m := range members {
		s := m.Subscription
		s.Endpoint = "https://" + m.ID + ".millrace.production.svc.cluster.local:8080"
		s.Topology, s.Application = strings.Repeat("f", 16), "v1.20.3-0.20261123"
		s = s.Fit(len(members))
		subscription := kmsg.NewConsumerMemberMetadata()
		subscription.Version, subscription.Topics, subscription.UserData = 2, []string{"llm.performance", "llm.feedback"}, s.Append(nil)
		a := plan.For(m.ID, s.Endpoint)
		assignment := kmsg.NewConsumerMemberAssignment()
		assignment.Version, assignment.UserData = 1, a.Append(nil)
		bySub := map[int32][]int32{}
		for _, t := range a.Active {
			bySub[t.Sub] = append(bySub[t.Sub], t.Partition)
		}
		for sub, partitions := range bySub {
			assignment.Topics = append(assignment.Topics, kmsg.ConsumerMemberAssignmentTopic{
				Topic: fmt.Sprintf("llm-metrics-by-model-%d-repartition", sub), Partitions: partitions,
			})
		}
		member := kmsg.NewGroupMetadataValueMember()
		member.MemberID, member.InstanceID = m.ID+"-01234567-89ab-cdef-0123-456789abcdef", text(m.ID)
		member.ClientID, member.ClientHost = "llm-metrics", "/10.100.200.100"
		member.Subscription, member.Assignment = subscription.AppendTo(nil), assignment.AppendTo(nil)
		record.Members = append(record.Members, member)
	}
	return len(record.AppendTo(nil))
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
