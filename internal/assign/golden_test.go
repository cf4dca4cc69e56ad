package assign

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestGoldenPlans runs the tables of testdata. Their commands:
//
//	tasks      sub-topologies on the command line as sub=partitions: a new group
//	policy     standbys=N warmups=N acceptable=N stateless=SUB, of the group
//	sizes      of tasks, as 0_0:records,...
//	catchup    standbys and warm-ups are up to date; then settle
//	join       ids, then settle; workers=N rack=NAME; a known id finds its disk again
//	leave      ids, then settle
//	plan       one round without any history, members given line by line as
//	           "id [workers=N] [rack=NAME] [generation=N] [owned=0_1,...] [state=0_1:lag,...]"
func TestGoldenPlans(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := newCluster(nil)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "tasks":
				var sizes []int
				for sub := 0; d.HasArg(strconv.Itoa(sub)); sub++ {
					var n int
					d.ScanArgs(t, strconv.Itoa(sub), &n)
					sizes = append(sizes, n)
				}
				c = newCluster(grid(sizes...))
				return fmt.Sprintf("%d tasks\n", len(c.tasks))
			case "policy":
				c.policy.Stateless = nil
				d.MaybeScanArgs(t, "standbys", &c.policy.Standbys)
				d.MaybeScanArgs(t, "warmups", &c.policy.Warmups)
				d.MaybeScanArgs(t, "acceptable", &c.policy.AcceptableLag)
				var sub int32
				if d.MaybeScanArgs(t, "stateless", &sub) {
					c.policy.Stateless = []int32{sub}
				}
				return ""
			case "sizes":
				c.policy.Sizes = map[Task]int64{}
				for _, arg := range d.CmdArgs {
					task, n, _ := strings.Cut(arg.Key, ":")
					c.policy.Sizes[parseTask(t, task)] = parseInt(t, n)
				}
				return ""
			case "catchup":
				c.catchUp()
				return settleAndShow(t, c)
			case "join":
				workers, rack := int32(1), ""
				d.MaybeScanArgs(t, "workers", &workers)
				d.MaybeScanArgs(t, "rack", &rack)
				for _, arg := range d.CmdArgs {
					if arg.Key != "workers" && arg.Key != "rack" {
						c.join(arg.Key, workers)
						c.members[arg.Key].rack = rack
					}
				}
				return settleAndShow(t, c)
			case "leave":
				for _, arg := range d.CmdArgs {
					c.leave(arg.Key)
				}
				return settleAndShow(t, c)
			case "plan":
				var members []Member
				for line := range strings.Lines(d.Input) {
					members = append(members, parseMember(t, line))
				}
				var b strings.Builder
				ids := make([]string, len(members))
				for i, m := range members {
					ids[i] = m.ID
				}
				show(&b, ids, Plan(members, c.tasks, c.policy))
				return b.String()
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

func settleAndShow(t *testing.T, c *cluster) string {
	before, err := c.owners()
	if err != nil {
		t.Fatal(err)
	}
	plans, err := c.settle()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, plan := range plans {
		fmt.Fprintf(&b, "round %d\n", i+1)
		show(&b, c.ids(), plan)
	}
	after, err := c.owners()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "moved %d\n", moved(before, after))
	return b.String()
}

func show(b *strings.Builder, ids []string, plan Assignments) {
	for _, id := range ids {
		fmt.Fprintf(b, "  %s  %s", id, format(plan.Active[id]))
		if tasks := plan.Standby[id]; len(tasks) > 0 {
			fmt.Fprintf(b, "   standby %s", format(tasks))
		}
		if tasks := plan.Warmup[id]; len(tasks) > 0 {
			fmt.Fprintf(b, "   warm-up %s", format(tasks))
		}
		b.WriteByte('\n')
	}
	for _, m := range plan.Withheld {
		fmt.Fprintf(b, "  withheld %v from %s to %s\n", m.Task, m.From, m.To)
	}
}

func parseMember(t *testing.T, line string) Member {
	fields := strings.Fields(line)
	m := Member{ID: fields[0], Subscription: Subscription{Workers: 1, Generation: NoGeneration}}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "workers":
			m.Workers = int32(parseInt(t, value))
		case "rack":
			m.Rack = value
		case "generation":
			m.Generation = int32(parseInt(t, value))
		case "owned":
			for text := range strings.SplitSeq(value, ",") {
				m.Owned = append(m.Owned, parseTask(t, text))
			}
		case "state":
			for text := range strings.SplitSeq(value, ",") {
				task, lag, _ := strings.Cut(text, ":")
				s := TaskState{Task: parseTask(t, task), Lag: LagUnknown}
				if lag != "unknown" {
					s.Lag = parseInt(t, lag)
				}
				m.State = append(m.State, s)
			}
		default:
			t.Fatalf("unknown field %q", f)
		}
	}
	return m
}

func parseTask(t *testing.T, text string) Task {
	sub, partition, _ := strings.Cut(text, "_")
	return Task{Sub: int32(parseInt(t, sub)), Partition: int32(parseInt(t, partition))}
}

func parseInt(t *testing.T, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
