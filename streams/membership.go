package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
)

// membership is this instance's place in the consumer group. It has one
// goroutine, which joins, hands out assignments if it leads, and sends
// heartbeats. It never waits for a worker: tasks that stay keep running through
// a rebalance, and those that must go are committed and closed on the side,
// after which the member joins again.
type membership struct {
	in     *Instance
	member *kafka.Member
	again  chan struct{} // capacity 1: somebody wants a rebalance
	// members is the size of the group at the last assignment, and remembers the
	// producers that it asked this member to remember.
	members   int
	remembers []assign.Producers
	// common is the newest version of subscriptions that the whole group reads, as
	// far as this member was told.
	common uint8
	// hasty is until when heartbeats are sent often: a rebalance is about to come.
	hasty time.Time
	// greeted is set once the first assignment came.
	greeted bool
	// unheard is set while heartbeats are not answered, and told once it was said
	// that nobody can ask this member.
	unheard, told bool

	mu       sync.Mutex // guards what follows; never held across a wait
	now      identity
	joining  bool
	beat     beat          // when the last answered heartbeat was sent
	changed  chan struct{} // closed at the next change of the above
	route    routing       // what queries are told of the group
	assigned time.Time     // when the last assignment came
	// aborting are producers of processes that are gone, not yet fenced.
	aborting []assign.Producers
}

// identity is what a commit is fenced by.
type identity struct {
	id         string
	generation int32
	// epoch counts how often the member was expelled: tasks taken in an
	// earlier epoch are not its own any more.
	epoch int
}

// routing is where queries are sent. It is of the last generation whose tasks this
// member has taken: an instance that is in its group shows all of its tasks, those
// that restore too, or it would seem ready to answer for none.
type routing struct {
	generation int32
	leader     string     // the leader's endpoint
	directory  *Directory // of the generation, if this member leads
}

// nowhere is the routing of a member that is not in its group.
var nowhere = routing{generation: assign.NoGeneration}

// beat is a moment on two clocks: the monotonic one stands still while a machine
// sleeps, and the wall clock may be set.
type beat struct{ monotonic, wall time.Time }

func (m *membership) tick() beat { return beat{time.Now(), m.in.cfg.Clock().Round(0)} }

// within reports whether neither clock says that more than d has gone by.
func (m *membership) within(b beat, d time.Duration) bool {
	return time.Since(b.monotonic) < d && m.in.cfg.Clock().Sub(b.wall) < d
}

// Directory says which instance runs which tasks. The leader of the group has
// it, and the others ask the leader.
type Directory struct {
	Generation int32             `json:"generation"`
	Members    []DirectoryMember `json:"members"`
}

// DirectoryMember is one instance.
type DirectoryMember struct {
	// Endpoint is its URL; empty if it answers no queries.
	Endpoint string   `json:"endpoint"`
	Tasks    []string `json:"tasks"`
	// Standbys are the tasks of which it keeps a copy of the state.
	Standbys []string `json:"standbys,omitempty"`
}

func newMembership(in *Instance) (*membership, error) {
	m := &membership{
		in: in, again: make(chan struct{}, 1), changed: make(chan struct{}),
		now: identity{generation: assign.NoGeneration}, joining: true, route: nowhere,
	}
	var err error
	m.member, err = in.client.NewMember(kafka.MemberConfig{
		Group: in.cfg.Application, InstanceID: in.cfg.InstanceID, Protocol: assign.Protocol,
		SessionTimeout: in.cfg.SessionTimeout, RebalanceTimeout: in.cfg.RebalanceTimeout,
	})
	return m, err
}

// current returns the identity to commit under.
func (m *membership) current() identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// rejoin asks for a rebalance. Any goroutine may call it.
func (m *membership) rejoin() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// change applies f and wakes everybody who waits for a change.
func (m *membership) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait returns when done says so of the state, or ctx ends.
func (m *membership) wait(ctx context.Context, done func() bool) error {
	for {
		m.mu.Lock()
		ok, changed := done(), m.changed
		m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// settled waits for a generation other than the one that a commit was refused
// under. It returns errLost if the member was expelled.
func (m *membership) settled(ctx context.Context, refused identity) error {
	m.mu.Lock()
	unaware := !m.joining && m.now == refused
	m.mu.Unlock()
	if unaware {
		m.rejoin()
	}
	err := m.wait(ctx, func() bool {
		return m.now.epoch != refused.epoch || !m.joining && m.now.generation != refused.generation
	})
	if err == nil && m.current().epoch != refused.epoch {
		return errLost
	}
	return err
}

// alive returns when this member is known to be in the group, and to have been
// since the epoch: a heartbeat succeeded within the session timeout. A process
// that was stopped and wakes up finds out here that its tasks may have gone,
// before it writes to their changelogs.
func (m *membership) alive(ctx context.Context, epoch int) error {
	err := m.wait(ctx, func() bool {
		return m.now.epoch != epoch || m.within(m.beat, m.in.cfg.SessionTimeout)
	})
	if err == nil && m.current().epoch != epoch {
		return errLost
	}
	return err
}

// run keeps the member in the group until ctx ends.
func (m *membership) run(ctx context.Context) error {
	for ctx.Err() == nil {
		m.in.life.set(Rebalancing)
		m.change(func() { m.joining = true })
		select {
		case <-m.again: // this is the rebalance that was wanted
		default:
		}
		err := m.round(ctx)
		if err == nil {
			err = m.beats(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, errors.Is(err, kafka.ErrRebalanceInProgress):
		case errors.Is(err, kafka.ErrUnknownMember), errors.Is(err, kafka.ErrIllegalGeneration):
			m.in.log.Warn("expelled from the group: tasks are lost", "error", err)
			m.lose()
		case errors.Is(err, kafka.ErrFencedInstance):
			return fmt.Errorf("group %q: %w, %q: this one stops; give each an InstanceID (--instance-id) of its own: %w", m.in.cfg.Application, ErrFencedInstance, m.in.cfg.InstanceID, err)
		case errors.Is(err, kafka.ErrInconsistentProtocol):
			return fmt.Errorf("group %q: %w: other consumers use a group of this name, perhaps of Kafka Streams: stop them, or choose another name with Application (--application)", m.in.cfg.Application, err)
		default:
			return fmt.Errorf("group %q: %w", m.in.cfg.Application, err)
		}
	}
	return nil
}

// round joins the group's next generation and applies the assignment.
func (m *membership) round(ctx context.Context) error {
	p, err := m.in.replan(ctx)
	if err != nil {
		return err
	}
	owned := m.in.owned()
	workers, producers := m.in.wish()
	sub := assign.Subscription{
		Process: assign.ProcessID(m.in.storage.Process()), Endpoint: m.in.cfg.Advertise, Rack: m.in.cfg.Rack, Topology: m.in.topology.Hash(),
		Workers: int32(workers), Generation: m.current().generation, Owned: owned, State: m.in.stateOnDisk(ctx, p, owned),
		Remembers: m.remembered(),
	}
	if m.in.cfg.Guarantee == ExactlyOnce {
		sub.Producers = int32(producers)
	}
	if len(owned) == 0 {
		sub.Generation = assign.NoGeneration
	}
	if err := m.introduce(&sub); err != nil {
		return err
	}
	userData := sub.Fit(m.members).Append(nil)
	if err := assign.CheckSize("subscription", len(userData)); err != nil {
		return err
	}
	began := m.tick()
	joined, err := m.member.Join(ctx, kafka.Subscription{Topics: p.SourceTopics(), Generation: sub.Generation, UserData: userData})
	if err != nil {
		return err
	}
	var given map[string]kafka.Assignment
	var directory *Directory
	if joined.Leader {
		if given, directory, err = m.assign(ctx, p, joined); err != nil {
			return err
		}
	}
	mine, err := m.member.Sync(ctx, given)
	if err != nil {
		return err
	}
	a, err := assign.DecodeAssignment(mine.UserData)
	if err != nil {
		return fmt.Errorf("assignment by the group's leader: %w", err)
	}
	if a.Refused != "" {
		return m.in.refusedError(a.Refused)
	}
	m.members, m.common = int(a.Members), a.Common
	m.in.control.tell(sub.Draining)
	revoke, start := assign.Diff(owned, a.Active)
	m.change(func() {
		m.now.id, m.now.generation = joined.MemberID, joined.Generation
		m.joining, m.beat = false, began
		m.assigned = time.Now()
		m.inherit(a)
	})
	m.hasty = time.Time{}
	if a.Follows {
		m.hasty = time.Now().Add(m.in.cfg.SessionTimeout)
	}
	m.in.metrics.rebalanced()
	m.in.log.Info("rebalanced", "generation", joined.Generation, "leader", joined.Leader, "members", a.Members,
		"tasks", len(a.Active), "standbys", len(a.Standby), "warm_ups", len(a.Warmup), "started", len(start), "revoked", len(revoke), "took", time.Since(began.monotonic).Round(time.Millisecond))
	m.in.apply(joined.Generation, fromAssigns(start), fromAssigns(revoke), a, workers)
	if found := m.returned(ctx, joined, sub, a); found != nil {
		directory = found
	}
	m.change(func() { m.route = routing{joined.Generation, a.Leader, directory} })
	m.in.life.settle()
	if m.members > 1 && m.in.cfg.Advertise == "" && !m.told {
		m.told = true
		m.in.log.Warn("queries cannot be forwarded to this instance, which has told the others no URL: set Advertise (--advertise) if they are wanted",
			"members", m.members)
	}
	return nil
}

// inherit notes which producers this member is to remember, and which to abort.
// The leader has shared out anew what the members told it of: what this one had
// to abort before and is not named any more is settled, or another's. mu is held.
func (m *membership) inherit(a assign.Assignment) {
	m.remembers, m.aborting = a.Remember, slices.Clone(a.Abort)
}

// remembered returns the producers that the leader is to know of: if their
// processes are gone, somebody has to abort what they have left open.
func (m *membership) remembered() []assign.Producers {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Concat(m.remembers, m.aborting)
	slices.SortFunc(all, assign.Producers.Compare)
	return slices.Compact(all)
}

// aborted notes that nothing of some producers is open any more.
func (m *membership) aborted(done []assign.Producers) {
	m.change(func() {
		m.aborting = slices.DeleteFunc(m.aborting, func(p assign.Producers) bool { return slices.Contains(done, p) })
	})
}

// assign plans for the whole group.
func (m *membership) assign(ctx context.Context, p *task.Plan, joined kafka.Joined) (map[string]kafka.Assignment, *Directory, error) {
	var members []assign.Member
	subscriptions := map[string]int{} // their bytes
	for _, j := range joined.Members {
		subscriptions[j.ID] = len(j.Subscription.UserData)
		sub, err := assign.DecodeSubscription(j.Subscription.UserData)
		if err != nil {
			return nil, nil, fmt.Errorf("subscription of member %q: %w", j.ID, err)
		}
		members = append(members, assign.Member{ID: j.ID, Subscription: sub})
	}
	var tasks []assign.Task
	for _, id := range p.Tasks() {
		tasks = append(tasks, toAssign(id))
	}
	j := m.judge(joined.MemberID, members)
	if j.foreign {
		return j.keepAll(m.in.cfg.Advertise), nil, nil
	}
	planned := m.in.planFor(ctx, p, j.admitted, tasks)
	given := map[string]kafka.Assignment{}
	directory := &Directory{Generation: joined.Generation}
	j.refuse(given, m.in.cfg.Advertise)
	for _, member := range j.admitted {
		a := planned.For(member.ID, m.in.cfg.Advertise)
		given[member.ID] = kafka.Assignment{Partitions: partitionsRead(p, fromAssigns(a.Active)), UserData: a.Append(nil)}
		directory.add(member.Endpoint, a)
	}
	if err := m.weigh(subscriptions, given); err != nil {
		return nil, nil, err
	}
	for _, move := range planned.Withheld {
		m.in.log.Info("task moves", "task", move.Task.String(), "from", move.From, "to", move.To)
	}
	return given, directory, nil
}

// weigh looks at what the coordinator has to keep of the group in one record. What
// it can never take is an error; what it may refuse is told.
func (m *membership) weigh(subscriptions map[string]int, given map[string]kafka.Assignment) error {
	var record assign.Record
	for id, a := range given {
		if err := assign.CheckSize("assignment", a.Size()); err != nil {
			return fmt.Errorf("member %q: %w", id, err)
		}
		record.Add(subscriptions[id], a.Size())
	}
	if err := record.Check(); err != nil {
		m.in.log.Error("the group is about to become too large for its coordinator, which would refuse every rebalance", "members", len(given), "error", err)
	}
	return nil
}

// beats sends heartbeats until the member has to join again.
func (m *membership) beats(ctx context.Context) error {
	interval := m.in.cfg.Heartbeat
	if !m.hasty.IsZero() {
		interval = min(interval, hastyInterval)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	look := time.NewTicker(topicsInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.again:
			return nil
		case <-look.C:
			if changed, err := m.in.topicsChanged(ctx); err != nil || changed {
				return err
			}
		case <-ticker.C:
			if err := m.heartbeat(ctx); err != nil {
				return err
			}
			if !m.hasty.IsZero() && time.Now().After(m.hasty) {
				m.hasty = time.Time{}
				ticker.Reset(m.in.cfg.Heartbeat)
			}
		}
	}
}

// hastyInterval is the time between heartbeats while another rebalance is about to
// come: a task that is on its way stands still until all members have heard of it.
const hastyInterval = 50 * time.Millisecond

// heartbeat sends one heartbeat. A coordinator that keeps silent is asked again
// over another connection, while the session still lasts.
func (m *membership) heartbeat(ctx context.Context) error {
	sent := m.tick()
	bounded, cancel := context.WithTimeout(ctx, m.in.cfg.SessionTimeout/3)
	defer cancel()
	err := m.member.Heartbeat(bounded)
	switch {
	case err == nil:
		if m.unheard {
			m.in.log.Info("heartbeats are answered again")
		}
		m.unheard = false
		m.change(func() { m.beat = sent })
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		if !m.unheard {
			m.in.log.Warn("no answer to a heartbeat", "waited", time.Since(sent.monotonic), "error", err)
		}
		m.unheard = true
		return nil
	}
	return err
}

// quiet reports whether there was no assignment for as long as a member may be
// away: no task is on its way here.
func (m *membership) quiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.joining && time.Since(m.assigned) >= m.in.cfg.SessionTimeout
}

// lose gives up every task without a commit: somebody else may run them.
func (m *membership) lose() {
	m.change(func() {
		m.now = identity{generation: assign.NoGeneration, epoch: m.now.epoch + 1}
		m.route = nowhere
	})
	m.in.lose()
}

// leave gives up the member's place, so that its tasks go to others at once.
func (m *membership) leave(ctx context.Context) error { return m.member.Leave(ctx) }

// routing returns where queries are to be sent.
func (m *membership) routing() routing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.route
}

func fromAssigns(tasks []assign.Task) []processors.TaskID {
	ids := make([]processors.TaskID, 0, len(tasks))
	for _, t := range tasks {
		ids = append(ids, fromAssign(t))
	}
	return ids
}

// partitionsRead returns what some tasks read, by topic, for tools that show a
// group's assignment.
func partitionsRead(p *task.Plan, ids []processors.TaskID) map[string][]int32 {
	read := map[string][]int32{}
	for _, id := range ids {
		for _, c := range p.Inputs(id) {
			read[c.Topic] = append(read[c.Topic], c.Partition)
		}
	}
	return read
}
