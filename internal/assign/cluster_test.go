package assign

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// cluster is a group in which members do what they are told at once: the model
// under which plans are tested. Everything goes over the wire form.
type cluster struct {
	tasks      []Task
	generation int32
	members    map[string]*instance
	disks      map[string]map[Task]int64 // state by instance, running or not, with its lag
	slowest    time.Duration             // of all plans; the simulation resets it
	policy     Policy
	record     int // bytes of the largest group record so far; the simulation resets it
}

// instance is a running member.
type instance struct {
	workers    int32
	rack       string
	generation int32
	owned      []Task
	copying    []Task // standbys and warm-ups
	remembers  []Producers
}

func newCluster(tasks []Task) *cluster {
	return &cluster{tasks: tasks, members: map[string]*instance{}, disks: map[string]map[Task]int64{}}
}

// grid returns the tasks of sub-topologies with the given numbers of partitions.
func grid(partitions ...int) []Task {
	var tasks []Task
	for sub, n := range partitions {
		for p := range n {
			tasks = append(tasks, Task{Sub: int32(sub), Partition: int32(p)})
		}
	}
	return tasks
}

// join starts an instance, with what its disk holds from earlier runs.
func (c *cluster) join(id string, workers int32) {
	c.members[id] = &instance{workers: workers, generation: NoGeneration}
	if c.disks[id] == nil {
		c.disks[id] = map[Task]int64{}
	}
}

// leave stops an instance, gracefully or not: for the plan it is the same.
func (c *cluster) leave(id string) { delete(c.members, id) }

func (c *cluster) ids() []string { return slices.Sorted(maps.Keys(c.members)) }

// owners returns who runs each task; it fails if two do.
func (c *cluster) owners() (map[Task]string, error) {
	owners := map[Task]string{}
	for _, id := range c.ids() {
		for _, t := range c.members[id].owned {
			if other, ok := owners[t]; ok {
				return nil, fmt.Errorf("task %v runs on %s and %s", t, other, id)
			}
			owners[t] = id
		}
	}
	return owners, nil
}

// subscribe returns what a member says when it joins.
func (c *cluster) subscribe(id string) Member {
	in := c.members[id]
	sub := Subscription{
		Workers: in.workers, Rack: in.rack, Generation: in.generation, Owned: in.owned, Producers: in.workers, Remembers: in.remembers,
	}
	copy(sub.Process[:], id)
	for t, lag := range c.disks[id] {
		if !slices.Contains(in.owned, t) {
			sub.State = append(sub.State, TaskState{Task: t, Lag: lag})
		}
	}
	sub = sub.Fit(len(c.members))
	decoded, err := DecodeSubscription(sub.Append(nil))
	if err != nil {
		panic(err)
	}
	return Member{ID: id, Subscription: decoded}
}

// round is one rebalance: join, plan, and every member acts. It fails if a task
// is given to a member while another one runs it, or if a member is to copy what
// it runs.
func (c *cluster) round() (Assignments, error) {
	var members []Member
	for _, id := range c.ids() {
		members = append(members, c.subscribe(id))
	}
	running, err := c.owners()
	if err != nil {
		return Assignments{}, err
	}
	began := time.Now()
	plan := Plan(members, c.tasks, c.policy)
	c.slowest = max(c.slowest, time.Since(began))
	c.generation++
	for _, id := range c.ids() {
		a, err := DecodeAssignment(plan.For(id, "http://leader:8080").Append(nil))
		if err != nil {
			return plan, err
		}
		in := c.members[id]
		_, start := Diff(in.owned, a.Active)
		for _, t := range start {
			if other, ok := running[t]; ok {
				return plan, fmt.Errorf("task %v starts on %s while it runs on %s", t, id, other)
			}
		}
		in.owned, in.generation, in.remembers = a.Active, c.generation, a.Remember
		in.copying = slices.Concat(a.Standby, a.Warmup)
		for _, t := range in.copying {
			if slices.Contains(a.Active, t) || slices.Contains(a.Standby, t) && slices.Contains(a.Warmup, t) {
				return plan, fmt.Errorf("%s is to run and to copy task %v, or to copy it twice", id, t)
			}
			if _, ok := c.disks[id][t]; !ok {
				c.disks[id][t] = c.policy.AcceptableLag + 1000
			}
		}
	}
	c.record = max(c.record, groupRecord(members, plan))
	c.age()
	return plan, nil
}

// catchUp brings all standbys and warm-ups up to date.
func (c *cluster) catchUp() {
	for id, in := range c.members {
		for _, t := range in.copying {
			c.disks[id][t] = 0
		}
	}
}

// converge settles the group, lets warm-ups catch up, and does it again while
// there are some. It returns all plans.
func (c *cluster) converge() (plans []Assignments, err error) {
	for range len(c.tasks) + 2 {
		more, err := c.settle()
		plans = append(plans, more...)
		if err != nil || len(plans[len(plans)-1].Warmup) == 0 {
			return plans, err
		}
		c.catchUp()
	}
	return plans, fmt.Errorf("warm-ups without end: %d rounds", len(plans))
}

// age lets the changelogs of running tasks grow by 10 records, which those who
// follow them read.
func (c *cluster) age() {
	for id, disk := range c.disks {
		in := c.members[id]
		for t := range disk {
			if in == nil || !slices.Contains(in.copying, t) {
				disk[t] += 10
			}
		}
		if in != nil {
			for _, t := range in.owned {
				disk[t] = 0
			}
		}
	}
}

// settle runs rounds while the plan asks for another one.
func (c *cluster) settle() (plans []Assignments, err error) {
	for range 5 {
		plan, err := c.round()
		plans = append(plans, plan)
		if err != nil || len(plan.Withheld) == 0 {
			return plans, err
		}
	}
	return plans, fmt.Errorf("not stable after %d rounds", len(plans))
}

// moved counts the tasks that ran before, run now, and changed their member.
func moved(before, after map[Task]string) int {
	n := 0
	for t, id := range before {
		if now, ok := after[t]; ok && now != id {
			n++
		}
	}
	return n
}

// format writes tasks as "0: 0-3 5  1: 2".
func format(tasks []Task) string {
	if len(tasks) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for i := 0; i < len(tasks); {
		t := tasks[i]
		if i == 0 {
			fmt.Fprintf(&b, "%d:", t.Sub)
		} else if t.Sub != tasks[i-1].Sub {
			fmt.Fprintf(&b, "  %d:", t.Sub)
		}
		n := 1
		for i+n < len(tasks) && tasks[i+n] == (Task{t.Sub, t.Partition + int32(n)}) {
			n++
		}
		switch n {
		case 1:
			fmt.Fprintf(&b, " %d", t.Partition)
		case 2:
			fmt.Fprintf(&b, " %d %d", t.Partition, t.Partition+1)
		default:
			fmt.Fprintf(&b, " %d-%d", t.Partition, t.Partition+int32(n)-1)
		}
		i += n
	}
	return b.String()
}
