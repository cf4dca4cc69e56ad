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
}

// instance is a running member.
type instance struct {
	workers    int32
	generation int32
	owned      []Task
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
		Workers: in.workers, Generation: in.generation, Owned: in.owned, Producers: in.workers, Remembers: in.remembers,
	}
	copy(sub.Process[:], id)
	for t, lag := range c.disks[id] {
		if !slices.Contains(in.owned, t) {
			sub.State = append(sub.State, TaskState{Task: t, Lag: lag})
		}
	}
	decoded, err := DecodeSubscription(sub.Append(nil))
	if err != nil {
		panic(err)
	}
	return Member{ID: id, Subscription: decoded}
}

// round is one rebalance: join, plan, and every member acts. It fails if a task
// is given to a member while another one runs it.
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
	plan := Plan(members, c.tasks)
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
	}
	c.age()
	return plan, nil
}

// age lets the changelogs of running tasks grow by 10 records.
func (c *cluster) age() {
	for id, disk := range c.disks {
		for t := range disk {
			disk[t] += 10
		}
		if in := c.members[id]; in != nil {
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
