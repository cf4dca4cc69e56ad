package streams

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// plan is all that a seed decides: who runs, what is written, and what goes
// wrong when. It is drawn before the simulation begins, so that it does not
// depend on the order in which goroutines run.
type plan struct {
	seed       uint64
	guarantee  Guarantee // of all instances
	unfenced   bool      // the mutant 'fencing broken'
	partitions int32
	machines   int // of which running are on at first
	running    int
	workers    int
	commit     time.Duration
	latency    time.Duration // the most that a piece of data is on its way
	flush      float64       // the share of commits after which Pebble flushes
	// busy is the share of bursts that a partition has part in, and idle how long
	// it is silent when it counts as idle.
	busy float64
	idle time.Duration
	// align keeps the partitions together that closely, unless it is 0.
	align  time.Duration
	bursts []burst
	faults []fault
	// standby is that of all instances. Static ones return under their names, and
	// racks says that they are in two racks.
	standby       Standby
	static, racks bool
	// luck seeds what is drawn on the way: latencies and flushes.
	luck uint64
}

// burst is what is written at one moment.
type burst struct {
	at     time.Duration
	events []draft
}

// draft is an event before its time is known.
type draft struct {
	partition int32
	key       string
	behind    time.Duration // its time, before that of the burst
}

// kind is a kind of fault.
type kind string

const (
	join        kind = "join"
	leave       kind = "leave"
	crash       kind = "crash"
	crashAt     kind = "crash in a commit"
	stuck       kind = "stuck"
	moveLeaders kind = "leaders moved"
	moveGroup   kind = "coordinator moved"
	cut         kind = "cut"
	slow        kind = "slow"
	throttle    kind = "throttled"
	refuse      kind = "refused"
	crews       kind = "workers changed"
)

// kinds are all of them, those that happen more often several times.
var kinds = []kind{
	join, leave, crash, crashAt, crashAt, stuck, moveLeaders, moveGroup, moveGroup, cut, slow, throttle, refuse, refuse,
}

// steps are those of a commit.
var steps = []string{stepFlush, stepChangelog, stepOffsets, stepState, stepDone}

// graceful faults take nothing away from anybody: nothing is to be counted twice
// because of them.
var graceful = []kind{join, leave, moveLeaders, moveGroup, crews}

// fault is something that goes wrong.
type fault struct {
	at   time.Duration
	kind kind
	// machine chooses among those that it can happen to.
	machine int
	// lasts is how long it takes until it is over: a crashed machine is on again,
	// a stuck one wakes.
	lasts time.Duration
	// fresh gives a machine that starts an empty disk.
	fresh bool
	// keeps is the share, in percent, of unsynced data that outlives a crash.
	keeps int
	// step is the step of a commit at which a machine crashes, when it comes to
	// it for the nth time.
	step string
	nth  int
	// refusal is what brokers answer count times.
	refusal refusal
	count   int
	// workers is how many a machine is to have.
	workers int
}

// refusal is an answer in place of the real one.
type refusal struct {
	key kmsg.Key
	err *kerr.Error
}

// refusals are answers that a healthy client lives with.
var refusals = []refusal{
	{kmsg.Produce, kerr.NotLeaderForPartition}, {kmsg.Produce, kerr.NotEnoughReplicas},
	{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend}, {kmsg.Produce, kerr.RequestTimedOut},
	{kmsg.Fetch, kerr.NotLeaderForPartition}, {kmsg.Fetch, kerr.OffsetNotAvailable}, {kmsg.Fetch, kerr.KafkaStorageError},
	{kmsg.ListOffsets, kerr.NotLeaderForPartition},
	{kmsg.OffsetCommit, kerr.RebalanceInProgress}, {kmsg.OffsetCommit, kerr.IllegalGeneration},
	{kmsg.OffsetCommit, kerr.UnknownMemberID}, {kmsg.OffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.OffsetCommit, kerr.NotCoordinator}, {kmsg.OffsetCommit, kerr.RequestTimedOut},
	{kmsg.OffsetFetch, kerr.UnstableOffsetCommit}, {kmsg.OffsetFetch, kerr.CoordinatorLoadInProgress},
	{kmsg.Heartbeat, kerr.RebalanceInProgress}, {kmsg.Heartbeat, kerr.UnknownMemberID},
	{kmsg.Heartbeat, kerr.CoordinatorNotAvailable}, {kmsg.Heartbeat, kerr.NotCoordinator},
	{kmsg.JoinGroup, kerr.CoordinatorLoadInProgress}, {kmsg.JoinGroup, kerr.UnknownMemberID},
	{kmsg.SyncGroup, kerr.RebalanceInProgress}, {kmsg.SyncGroup, kerr.NotCoordinator},
	{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable},
}

// The times of a simulation.
const (
	// simulated is how long events are written and things go wrong, of which
	// the first settling is for the instances to begin.
	simulated = 20 * time.Second
	settling  = time.Second
	// session is the members' session time-out.
	session = 3 * time.Second
	// throttled is how long a client is told to keep silent.
	throttled = session / 3
	// delay is that of the topology's watermarks, and disorder less than that.
	delay    = 3 * time.Second
	disorder = 2500 * time.Millisecond
)

// draw makes the plan of a seed.
func draw(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := &plan{
		seed: seed, guarantee: AtLeastOnce, partitions: 1 + r.Int32N(4), machines: 2 + r.IntN(4), workers: 1 + r.IntN(2),
		commit:  pick(r, 50*time.Millisecond, 200*time.Millisecond, 500*time.Millisecond),
		latency: pick(r, 0, 2*time.Millisecond, 20*time.Millisecond), flush: pick(r, 0, 0.3, 1),
		busy: pick(r, 1, 0.5), idle: time.Minute, luck: r.Uint64(),
	}
	p.running = 1 + r.IntN(p.machines)
	among := kinds
	if r.IntN(5) == 0 {
		// Partitions fall silent only here: an event that wakes one up is late if it
		// is not processed soon.
		among, p.busy, p.idle = graceful, 0.2, 2*time.Second
	}
	if seed%4 == 3 {
		p.align = 2 * time.Second
	}
	for at := between(r, 0, time.Second); at < simulated; at += between(r, 100*time.Millisecond, 2*time.Second) {
		p.bursts = append(p.bursts, burst{at, p.drawEvents(r)})
	}
	for range 3 + r.IntN(8) {
		p.faults = append(p.faults, drawFault(r, among))
	}
	p.drawCrews(rand.New(rand.NewPCG(seed, 4)))
	slices.SortFunc(p.faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	p.drawCopies(rand.New(rand.NewPCG(seed, 3)))
	return p
}

// drawCopies draws how state is kept in several places, with a source of its own:
// the rest of a seed is what it was before there were copies.
func (p *plan) drawCopies(r *rand.Rand) {
	p.standby = Standby{
		Replicas: pick(r, 0, 1, 1, 2), AcceptableLag: pick[int64](r, 1, 10, 10_000), MaxWarmups: pick(r, -1, 1, 4),
		ProbingInterval: pick(r, 100*time.Millisecond, 2*time.Second),
	}
	p.static, p.racks = r.IntN(4) == 0 && p.idle >= time.Minute, r.IntN(2) == 0 // what a static member leaves stands still for a while
}

// drawCrews draws when machines get more or fewer workers, with a source of its own
// as well: sometimes twice within moments, so that the one meets the other half done.
func (p *plan) drawCrews(r *rand.Rand) {
	for range r.IntN(4) {
		f := fault{at: between(r, settling, simulated), kind: crews, machine: r.IntN(1 << 16), workers: 1 + r.IntN(5)}
		p.faults = append(p.faults, f)
		if r.IntN(3) == 0 {
			f.at, f.workers = f.at+between(r, 0, 300*time.Millisecond), 1+r.IntN(5)
			p.faults = append(p.faults, f)
		}
	}
}

func (p *plan) drawEvents(r *rand.Rand) []draft {
	var events []draft
	for partition := range p.partitions {
		if r.Float64() >= p.busy {
			continue
		}
		for range 1 + r.IntN(8) {
			events = append(events, draft{partition, fmt.Sprint("k", r.IntN(9)), between(r, 0, disorder)})
		}
	}
	return events
}

func drawFault(r *rand.Rand, among []kind) fault {
	f := fault{
		at: between(r, settling, simulated), kind: pick(r, among...), machine: r.IntN(1 << 16),
		lasts: between(r, 100*time.Millisecond, 2*session), fresh: r.IntN(2) == 0, keeps: pick(r, 0, 50, 100),
		step: pick(r, steps...), nth: 1 + r.IntN(3),
		refusal: pick(r, refusals...), count: 1 + r.IntN(4),
	}
	if f.kind == stuck && r.IntN(3) > 0 {
		f.lasts += session // it loses its tasks
	}
	return f
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from))).Truncate(time.Millisecond)
}

// graceful reports whether no fault of the plan may make an event count twice.
func (p *plan) graceful() bool {
	return !slices.ContainsFunc(p.faults, func(f fault) bool { return !slices.Contains(graceful, f.kind) })
}

func (p *plan) String() string {
	var b strings.Builder
	n := 0
	for _, burst := range p.bursts {
		n += len(burst.events)
	}
	fmt.Fprintf(&b, "seed %d: %d of %d machines, %d partitions, %d workers, commits each %v, latency up to %v, %v of commits flushed, %d events in %d bursts, each in %v of the partitions, idle after %v, aligned within %v\n",
		p.seed, p.running, p.machines, p.partitions, p.workers, p.commit, p.latency, p.flush, n, len(p.bursts), p.busy, p.idle, p.align)
	fmt.Fprintf(&b, "  standbys %+v, static %v, racks %v\n", p.standby, p.static, p.racks)
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  %6.3fs %s\n", f.at.Seconds(), f)
	}
	return b.String()
}

func (f fault) String() string {
	switch f.kind {
	case join:
		return fmt.Sprintf("%s, fresh %v", f.kind, f.fresh)
	case crash:
		return fmt.Sprintf("%s for %v, %d%% of unsynced data stays, fresh %v", f.kind, f.lasts, f.keeps, f.fresh)
	case crashAt:
		return fmt.Sprintf("crash at %s no. %d for %v, %d%% of unsynced data stays, fresh %v", f.step, f.nth, f.lasts, f.keeps, f.fresh)
	case stuck, slow:
		return fmt.Sprintf("%s for %v", f.kind, f.lasts)
	case crews:
		return fmt.Sprintf("%s to %d", f.kind, f.workers)
	case throttle:
		return fmt.Sprintf("%d heartbeats %s by %v", f.count, f.kind, throttled)
	case refuse:
		return fmt.Sprintf("%s %d times with %s", f.refusal.key.Name(), f.count, f.refusal.err.Message)
	}
	return string(f.kind)
}
