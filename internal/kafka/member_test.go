package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/kafka"
)

func (e *env) member(c *kafka.Client, instance string) *kafka.Member {
	e.t.Helper()
	m, err := c.NewMember(kafka.MemberConfig{
		Group: "g", InstanceID: instance, Protocol: "test", SessionTimeout: 10 * time.Second, RebalanceTimeout: 40 * time.Second,
	})
	e.check(err)
	e.t.Cleanup(m.Close)
	return m
}

// rejoin runs joins at the same time and completes the generation: each member is
// assigned one partition and its own user data.
func (e *env) rejoin(members map[string]*kafka.Member) map[string]kafka.Joined {
	e.t.Helper()
	type result struct {
		name   string
		joined kafka.Joined
		err    error
	}
	results := make(chan result)
	for name, m := range members {
		go func() {
			joined, err := m.Join(e.context(), kafka.Subscription{
				Topics: []string{"in"}, UserData: []byte("data of " + name), Generation: 7,
				Owned: []kafka.TopicPartition{tp("in", 1), tp("other", 0)},
			})
			if err == nil {
				var plan map[string]kafka.Assignment
				if joined.Leader {
					plan = map[string]kafka.Assignment{}
					for i, jm := range joined.Members {
						plan[jm.ID] = kafka.Assignment{Partitions: map[string][]int32{"in": {int32(i)}}, UserData: jm.Subscription.UserData}
					}
				}
				var mine kafka.Assignment
				mine, err = m.Sync(e.context(), plan)
				if err == nil && (string(mine.UserData) != "data of "+name || len(mine.Partitions["in"]) != 1) {
					err = fmt.Errorf("%s was assigned %v %q", name, mine.Partitions, mine.UserData)
				}
			}
			results <- result{name, joined, err}
		}()
	}
	joined := map[string]kafka.Joined{}
	for range members {
		r := <-results
		if r.err != nil {
			e.t.Errorf("%s: %v", r.name, r.err)
		}
		joined[r.name] = r.joined
	}
	return joined
}

func TestTwoMembersFormAGroup(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
		c := e.client()
		a, b := e.member(c, ""), e.member(c, "")
		first := e.rejoin(map[string]*kafka.Member{"a": a})["a"]
		if !first.Leader || len(first.Members) != 1 || first.MemberID == "" {
			t.Errorf("the only member: %+v", first)
		}
		e.check(a.Heartbeat(e.context()))

		bJoined := make(chan error, 1)
		go func() {
			_, err := b.Join(e.context(), kafka.Subscription{Topics: []string{"in"}})
			bJoined <- err
		}()
		time.Sleep(time.Second)
		if err := a.Heartbeat(e.context()); !errors.Is(err, kafka.ErrRebalanceInProgress) {
			t.Errorf("heartbeat while another joins: %v", err)
		}
		_, err := a.Join(e.context(), kafka.Subscription{Topics: []string{"in"}})
		e.check(err)
		e.check(<-bJoined)

		joined := e.rejoin(map[string]*kafka.Member{"a": a, "b": b})
		leader := joined["a"]
		if joined["b"].Leader {
			leader = joined["b"]
		}
		if joined["a"].Generation != joined["b"].Generation || len(leader.Members) != 2 || joined["a"].Leader == joined["b"].Leader {
			t.Fatalf("got %+v", joined)
		}
		for _, jm := range leader.Members {
			s := jm.Subscription
			if !slices.Equal(s.Topics, []string{"in"}) || s.Generation != 7 || !slices.Equal(s.Owned, []kafka.TopicPartition{tp("in", 1), tp("other", 0)}) {
				t.Errorf("the leader sees %+v", s)
			}
		}
		e.check(b.Heartbeat(e.context()))
		e.check(b.Leave(e.context()))
		e.check(b.Leave(e.context())) // it has no place any more
		if err := a.Heartbeat(e.context()); !errors.Is(err, kafka.ErrRebalanceInProgress) {
			t.Errorf("heartbeat after another left: %v", err)
		}
	})
}

func TestACommitIsFencedByGenerationAndMember(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		m := e.member(c, "")
		joined := e.rejoin(map[string]*kafka.Member{"m": m})["m"]
		commit := kafka.Commit{
			Group: "g", MemberID: joined.MemberID, Generation: joined.Generation,
			Offsets: map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: 3, Metadata: "watermark"}},
		}
		e.check(c.CommitOffsets(e.context(), commit))

		stale := commit
		stale.Generation--
		if err := c.CommitOffsets(e.context(), stale); !errors.Is(err, kafka.ErrIllegalGeneration) && !errors.Is(err, kafka.ErrInvalidConfig) {
			t.Errorf("an old generation: %v", err)
		}
		stale.Generation = commit.Generation + 1
		if err := c.CommitOffsets(e.context(), stale); !errors.Is(err, kafka.ErrIllegalGeneration) {
			t.Errorf("another generation: %v", err)
		}
		stale = commit
		stale.MemberID = "somebody"
		if err := c.CommitOffsets(e.context(), stale); !errors.Is(err, kafka.ErrUnknownMember) {
			t.Errorf("another member: %v", err)
		}
		stale.MemberID = ""
		if err := c.CommitOffsets(e.context(), stale); !errors.Is(err, kafka.ErrInvalidConfig) {
			t.Errorf("no member: %v", err)
		}
		got, err := c.CommittedOffsets(e.context(), "g", tp("in", 0))
		e.check(err)
		if len(got) != 1 || got[tp("in", 0)] != commit.Offsets[tp("in", 0)] {
			t.Errorf("committed %v", got)
		}

		time.Sleep(time.Minute) // past the session timeout
		if err := m.Heartbeat(e.context()); !errors.Is(err, kafka.ErrUnknownMember) {
			t.Errorf("heartbeat of an expelled member: %v", err)
		}
		if again := e.rejoin(map[string]*kafka.Member{"m": m})["m"]; again.MemberID == joined.MemberID || again.Generation <= joined.Generation {
			t.Errorf("joined again as %+v after %+v", again, joined)
		}
	})
}

func TestASecondProcessTakesOverAnInstance(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		first, second := e.member(c, "node-1"), e.member(c, "node-1")
		was := e.rejoin(map[string]*kafka.Member{"first": first})["first"]
		if was.Members[0].InstanceID != "node-1" {
			t.Errorf("the leader sees instance %q", was.Members[0].InstanceID)
		}
		e.rejoin(map[string]*kafka.Member{"second": second})
		if err := first.Heartbeat(e.context()); !errors.Is(err, kafka.ErrFencedInstance) {
			t.Errorf("the first process: %v", err)
		}
		err := c.CommitOffsets(e.context(), kafka.Commit{
			Group: "g", MemberID: was.MemberID, Generation: was.Generation, InstanceID: "node-1",
			Offsets: map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: 1}},
		})
		if !errors.Is(err, kafka.ErrFencedInstance) {
			t.Errorf("a commit of the first process: %v", err)
		}
	})
}

// moveCoordinator moves the coordinator of a group to another node.
func (e *env) moveCoordinator(group string) {
	fake := e.cluster.Fake()
	for was := fake.CoordinatorFor(group); fake.CoordinatorFor(group) == was; {
		fake.RehashCoordinators()
	}
}

func TestAMemberFollowsItsCoordinator(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		m := e.member(c, "")
		joined := e.rejoin(map[string]*kafka.Member{"m": m})["m"]
		commit := kafka.Commit{
			Group: "g", MemberID: joined.MemberID, Generation: joined.Generation,
			Offsets: map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: 1}},
		}
		e.check(c.CommitOffsets(e.context(), commit))
		e.moveCoordinator("g")
		e.check(m.Heartbeat(e.context()))
		e.moveCoordinator("g")
		e.check(c.CommitOffsets(e.context(), commit))
		e.cut(kmsg.Heartbeat, 2)
		e.check(m.Heartbeat(e.context()))
		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress, Count: 3})
		e.check(m.Heartbeat(e.context()))
		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.NotCoordinator, Count: 2})
		e.check(m.Heartbeat(e.context()))
	})
}

func TestAJoinUnderWayCanBeEnded(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.rejoin(map[string]*kafka.Member{"stuck": e.member(c, "")}) // sends no heartbeat, and never joins again
		ends := map[string]func(m *kafka.Member, cancel context.CancelFunc){
			"context": func(_ *kafka.Member, cancel context.CancelFunc) { cancel() },
			"close":   func(m *kafka.Member, _ context.CancelFunc) { m.Close() },
		}
		want := map[string]error{"context": context.Canceled, "close": kafka.ErrClosed}
		for name, end := range ends {
			m := e.member(c, "")
			ctx, cancel := context.WithCancel(e.context())
			defer cancel()
			result := make(chan error, 1)
			go func() {
				_, err := m.Join(ctx, kafka.Subscription{Topics: []string{"in"}})
				result <- err
			}()
			time.Sleep(time.Second)
			began := time.Now()
			end(m, cancel)
			if err := <-result; !errors.Is(err, want[name]) || time.Since(began) > 0 {
				t.Errorf("%s: got %v after %v", name, err, time.Since(began))
			}
		}
	})
}
