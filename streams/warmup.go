package streams

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
)

// A task moves when the member that is to have it has copied its state. The
// leader plans so (assign.Policy); that member follows the changelogs, and asks
// for a rebalance when it is close to their ends. What the leader must know for
// that is how far everybody is behind: each member says so of what its disk holds,
// and the leader finds out how much there is altogether of what a member has
// nothing of.

// lagTimeout is how long a member looks for the ends of changelogs before it
// joins without them.
const lagTimeout = time.Second

// probe asks for a rebalance if warm-ups have caught up: at once when all have,
// else a while after the first, so that several move together. again: those that
// had caught up before, and were left where they are, are tried again after that
// while. mu is held.
func (s *standbys) probe(again bool) {
	if s.probing != nil {
		s.probing.Stop()
		s.probing = nil
	}
	if !s.settled || s.closed {
		return
	}
	warmups, caught := 0, 0
	for _, sb := range s.tasks {
		if sb.warmup {
			warmups++
			if sb.caught {
				caught++
			}
		}
	}
	switch {
	case caught == 0:
	case caught == warmups && !again:
		s.in.group.Load().rejoin()
	default:
		s.probing = time.AfterFunc(s.in.cfg.Standby.ProbingInterval, s.in.group.Load().rejoin)
	}
}

// stateOnDisk returns the tasks of which this instance has state and which it
// does not hold, with how far that is behind.
func (in *Instance) stateOnDisk(ctx context.Context, p *task.Plan, owned []assign.Task) []assign.TaskState {
	lags := map[processors.TaskID]int64{}
	s := in.standbys
	s.mu.Lock()
	closed := maps.Clone(s.offsets)
	for id, sb := range s.tasks {
		if lag := sb.lag(); lag >= 0 {
			lags[id] = lag
			delete(closed, id)
		}
	}
	s.mu.Unlock()
	var tps []kafka.TopicPartition
	for id := range closed {
		if slices.Contains(owned, toAssign(id)) || !p.Has(id) {
			delete(closed, id)
			continue
		}
		tps = slices.AppendSeq(tps, maps.Values(in.changelogsOf(p, id)))
	}
	ends, err := in.endsOf(ctx, tps)
	if err != nil && ctx.Err() == nil {
		in.log.Warn("the group is not told how far local state is behind: the ends of changelogs cannot be found", "error", err)
	}
	for id, offsets := range closed {
		lag := int64(0)
		for store, tp := range in.changelogsOf(p, id) {
			lag += max(0, ends[tp]-offsets[store])
		}
		if err != nil {
			lag = assign.LagUnknown
		}
		lags[id] = lag
	}
	var states []assign.TaskState
	for id, lag := range lags {
		if t := toAssign(id); !slices.Contains(owned, t) {
			states = append(states, assign.TaskState{Task: t, Lag: lag})
		}
	}
	return states
}

// endsOf returns where changelogs end, if brokers say so soon.
func (in *Instance) endsOf(ctx context.Context, tps []kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	if len(tps) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	return in.client.ListOffsets(ctx, kafka.Latest, tps...)
}

// policy is how the group's tasks are to be assigned.
func (in *Instance) policy(p *task.Plan) assign.Policy {
	policy := assign.Policy{
		Standbys: in.cfg.Standby.Replicas, Warmups: in.cfg.Standby.MaxWarmups, AcceptableLag: in.cfg.Standby.AcceptableLag,
	}
	for i, sub := range p.Subs {
		if len(sub.Changelogs()) == 0 {
			policy.Stateless = append(policy.Stateless, int32(i))
		}
	}
	return policy
}

// planFor plans for the whole group. What members are to copy for tasks that have
// little state altogether need not be copied first, so those are looked for.
func (in *Instance) planFor(ctx context.Context, p *task.Plan, members []assign.Member, tasks []assign.Task) assign.Assignments {
	policy := in.policy(p)
	all := policy
	all.Warmups *= len(tasks)
	plan := assign.Plan(members, tasks, all)
	if len(plan.Warmup) == 0 {
		return plan
	}
	var tps []kafka.TopicPartition
	for _, warmups := range plan.Warmup {
		for _, t := range warmups {
			tps = slices.AppendSeq(tps, maps.Values(in.changelogsOf(p, fromAssign(t))))
		}
	}
	ends, err := in.endsOf(ctx, tps)
	if err != nil {
		return assign.Plan(members, tasks, policy)
	}
	policy.Sizes = map[assign.Task]int64{}
	for _, warmups := range plan.Warmup {
		for _, t := range warmups {
			var size int64
			for _, tp := range in.changelogsOf(p, fromAssign(t)) {
				size += ends[tp]
			}
			policy.Sizes[t] = size
		}
	}
	return assign.Plan(members, tasks, policy)
}
