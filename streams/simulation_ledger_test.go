package streams

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// judge checks everything that is to hold when a simulation is over.
func (s *simulation) judge() {
	for _, p := range s.processes {
		if p.result(); p.err != nil && !s.killed[p] {
			s.t.Errorf("instance %s ended by itself: %v", p.name, p.err)
		}
		s.tally.add(throttle, p.wire.throttledSoFar())
	}
	for k, text := range logged {
		s.tally.add(k, s.log.count(text))
	}
	if group := s.cluster.Fake().GroupInfo(s.topology.Application()); group != nil {
		s.tally.add(generations, int(group.Epoch))
	}
	results := s.read("results")
	repeats, err := s.want.atLeastOnce(results)
	if err != nil {
		s.t.Error(err)
	}
	if repeats > 0 {
		s.tally.add(repeated, 1)
	}
	repeatable := len(s.killed) > 0
	for _, k := range []kind{lost, thrownAway, unfinished} {
		repeatable = repeatable || s.log.count(logged[k]) > 0
	}
	if s.plan.graceful() && repeatable {
		s.t.Error("tasks were thrown away, and no fault was a reason for that")
	}
	if !repeatable || s.plan.guarantee == ExactlyOnce {
		if err := s.want.exactlyOnce(results); err != nil {
			s.t.Error(err)
		}
	}
	s.judgeDisks()
}

// exactlyOnce compares results with the truth: each window has one final
// result, and it is right.
func (t truth) exactlyOnce(records []*kgo.Record) error {
	got, err := finals(records)
	if err != nil {
		return err
	}
	var errs []error
	for s, want := range t {
		if len(got[s]) != 1 || got[s][0] != want {
			errs = append(errs, fmt.Errorf("key %s, window %d: final results %d, want one of %d: nothing gave a reason to repeat", s.key, s.start, got[s], want))
		}
	}
	return errors.Join(errs...)
}

// judgeDisks compares what instances left on their disks with the changelogs as
// they were then.
func (s *simulation) judgeDisks() {
	full := logs{}
	for topic := range s.relics[0].ends {
		full[topic] = s.readMarkers(topic)
	}
	for _, r := range s.relics {
		found, err := s.checkDisk(r.disk, s.topology, full.upTo(r.ends))
		if err != nil {
			s.t.Errorf("disk of %s: %v", r.what, err)
		}
		if found > 0 {
			s.tally.add(states, 1)
		}
	}
}

// upTo returns the records before the ends, by topic and partition.
func (l logs) upTo(ends map[string]map[int32]int64) logs {
	cut := logs{}
	for topic, records := range l {
		cut[topic] = []*kgo.Record{}
		for _, r := range records {
			if r.Offset < ends[topic][r.Partition] {
				cut[topic] = append(cut[topic], r)
			}
		}
	}
	return cut
}
