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
//	join       ids, then settle; workers=N; a known id finds its disk again
//	leave      ids, then settle
//	plan       one round without any history, members given line by line as
//	           "id [workers=N] [generation=N] [owned=0_1,...] [state=0_1:lag,...]"
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
			case "join":
				workers := int32(1)
				d.MaybeScanArgs(t, "workers", &workers)
				for _, arg := range d.CmdArgs {
					if arg.Key != "workers" {
						c.join(arg.Key, workers)
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
				show(&b, ids, Plan(members, c.tasks))
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
		fmt.Fprintf(b, "  %s  %s\n", id, format(plan.Active[id]))
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
