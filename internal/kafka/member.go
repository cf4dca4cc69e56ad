package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// MemberConfig is a member of a consumer group.
type MemberConfig struct {
	Group string

	// InstanceID makes the member static: it keeps its place in the group over a
	// restart within the session timeout. Empty for a dynamic member.
	InstanceID string

	// Protocol is the name of the assignment protocol; all members of a group
	// must share one.
	Protocol string

	// SessionTimeout is how long the coordinator waits for a heartbeat before it
	// expels the member. Default 45 s.
	SessionTimeout time.Duration

	// RebalanceTimeout is how long the coordinator waits for the other members
	// to join. Join blocks up to that long. Default 60 s.
	RebalanceTimeout time.Duration
}

// Subscription is what a member tells the leader of its group when it joins.
type Subscription struct {
	Topics     []string
	Owned      []TopicPartition // what the member holds and keeps working on
	Generation int32            // the generation in which Owned was assigned; -1 for none
	UserData   []byte           // opaque to Kafka
}

// JoinedMember is a member of a group as its leader sees it.
type JoinedMember struct {
	ID           string
	InstanceID   string // empty for a dynamic member
	Subscription Subscription
}

// Joined is the outcome of a Join.
type Joined struct {
	MemberID   string
	Generation int32
	Leader     bool
	Members    []JoinedMember // of the whole group; for the leader only
}

// Assignment is what the leader gives one member.
type Assignment struct {
	Partitions map[string][]int32
	UserData   []byte // opaque to Kafka
}

// Size is how many bytes the assignment takes, about.
func (a Assignment) Size() int {
	size := len(a.UserData)
	for topic, partitions := range a.Partitions {
		size += len(topic) + 4*len(partitions) + 6 // the lengths of both
	}
	return size
}

// Member is one member of a consumer group, on a connection of its own. One
// goroutine may call Join, Sync, Heartbeat and Leave; Close may come from
// anywhere, and ends the call under way.
//
// The order is Join, Sync, then Heartbeat until it returns
// ErrRebalanceInProgress or the member wants to join again, then Join. Each of
// them finds a moved coordinator by itself and retries until ctx ends, so bound
// ctx by what the caller can wait. After ErrUnknownMember, ErrIllegalGeneration
// or ErrRebalanceInProgress join again: after the first, as a new member, since
// the id is dropped with the error.
type Member struct {
	client *Client
	cfg    MemberConfig
	life   context.Context
	end    context.CancelCauseFunc
	turn   chan struct{} // holds one token while a call is under way

	// What follows belongs to the holder of the turn.
	conn       *conn // to the coordinator; nil before the first use and after it moved
	id         string
	generation int32
}

// NewMember returns a member that has not joined.
func (c *Client) NewMember(cfg MemberConfig) (*Member, error) {
	var errs []error
	if cfg.Group == "" {
		errs = append(errs, fmt.Errorf("%w: member without a group", ErrInvalidConfig))
	}
	if cfg.Protocol == "" {
		errs = append(errs, fmt.Errorf("%w: member of group %q without a protocol name", ErrInvalidConfig, cfg.Group))
	}
	if cfg.SessionTimeout < 0 || cfg.RebalanceTimeout < 0 {
		errs = append(errs, fmt.Errorf("%w: member of group %q: a timeout is negative", ErrInvalidConfig, cfg.Group))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	orDefault(&cfg.SessionTimeout, 45*time.Second)
	orDefault(&cfg.RebalanceTimeout, 60*time.Second)
	m := &Member{client: c, cfg: cfg, turn: make(chan struct{}, 1), generation: sarama.GroupGenerationUndefined}
	m.life, m.end = context.WithCancelCause(context.Background())
	return m, nil
}

// Join enters the group or its next generation. It blocks until the other
// members have joined too, at most MemberConfig.RebalanceTimeout. Follow it with
// Sync.
func (m *Member) Join(ctx context.Context, s Subscription) (Joined, error) {
	meta := &sarama.ConsumerGroupMemberMetadata{Version: 2, Topics: s.Topics, UserData: s.UserData, GenerationID: s.Generation}
	for _, topic := range topicsOf(s.Owned) {
		owned := &sarama.OwnedPartition{Topic: topic}
		for _, tp := range s.Owned {
			if tp.Topic == topic {
				owned.Partitions = append(owned.Partitions, tp.Partition)
			}
		}
		meta.OwnedPartitions = append(meta.OwnedPartitions, owned)
	}
	var joined Joined
	err := m.call(ctx, "join", func(b *sarama.Broker) error {
		r, err := m.join(b, meta)
		if err != nil {
			return err
		}
		m.id, m.generation = r.MemberId, r.GenerationId
		joined = Joined{MemberID: r.MemberId, Generation: r.GenerationId, Leader: r.LeaderId == r.MemberId}
		if joined.Leader {
			joined.Members, err = membersOf(r)
		}
		return err
	})
	return joined, err
}

// join sends the request, twice if the coordinator first names the member.
func (m *Member) join(b *sarama.Broker, meta *sarama.ConsumerGroupMemberMetadata) (*sarama.JoinGroupResponse, error) {
	for {
		req := &sarama.JoinGroupRequest{
			Version:          versionJoinGroup,
			GroupId:          m.cfg.Group,
			MemberId:         m.id,
			GroupInstanceId:  optional(m.cfg.InstanceID),
			SessionTimeout:   int32(m.cfg.SessionTimeout.Milliseconds()),
			RebalanceTimeout: int32(m.cfg.RebalanceTimeout.Milliseconds()),
			ProtocolType:     "consumer",
		}
		if err := req.AddGroupProtocolMetadata(m.cfg.Protocol, meta); err != nil {
			return nil, err
		}
		r, err := b.JoinGroup(req)
		if err != nil {
			return nil, err
		}
		if r.Err != sarama.ErrMemberIdRequired {
			return r, answer(r.Err, nil)
		}
		m.id = r.MemberId
	}
}

func membersOf(r *sarama.JoinGroupResponse) ([]JoinedMember, error) {
	metas, err := r.GetMembers()
	if err != nil {
		return nil, fmt.Errorf("%w: a member's subscription does not decode: %w", ErrInconsistentProtocol, err)
	}
	members := make([]JoinedMember, 0, len(r.Members))
	for _, member := range r.Members {
		meta := metas[member.MemberId]
		jm := JoinedMember{ID: member.MemberId, Subscription: Subscription{
			Topics: meta.Topics, UserData: meta.UserData, Generation: sarama.GroupGenerationUndefined,
		}}
		if member.GroupInstanceId != nil {
			jm.InstanceID = *member.GroupInstanceId
		}
		if meta.Version >= 2 {
			jm.Subscription.Generation = meta.GenerationID
		}
		for _, owned := range meta.OwnedPartitions {
			for _, p := range owned.Partitions {
				jm.Subscription.Owned = append(jm.Subscription.Owned, TopicPartition{owned.Topic, p})
			}
		}
		members = append(members, jm)
	}
	return members, nil
}

// Sync hands in the leader's assignments, by member id, and returns this
// member's. Others than the leader pass nil. It blocks until the leader has
// called it.
func (m *Member) Sync(ctx context.Context, assignments map[string]Assignment) (Assignment, error) {
	var mine Assignment
	err := m.call(ctx, "sync", func(b *sarama.Broker) error {
		req := &sarama.SyncGroupRequest{
			Version:         versionSyncGroup,
			GroupId:         m.cfg.Group,
			MemberId:        m.id,
			GenerationId:    m.generation,
			GroupInstanceId: optional(m.cfg.InstanceID),
		}
		for id, a := range assignments {
			err := req.AddGroupAssignmentMember(id, &sarama.ConsumerGroupMemberAssignment{
				Version: 1, Topics: a.Partitions, UserData: a.UserData,
			})
			if err != nil {
				return err
			}
		}
		r, err := b.SyncGroup(req)
		if err != nil {
			return err
		}
		if err := answer(r.Err, nil); err != nil {
			return err
		}
		if len(r.MemberAssignment) == 0 {
			return nil // the leader left this member out
		}
		a, err := r.GetMemberAssignment()
		if err != nil {
			return fmt.Errorf("%w: the assignment does not decode: %w", ErrInconsistentProtocol, err)
		}
		mine = Assignment{Partitions: a.Topics, UserData: a.UserData}
		return nil
	})
	return mine, err
}

// Heartbeat keeps the member in the group for another session timeout. nil means
// that the generation still stands.
func (m *Member) Heartbeat(ctx context.Context) error {
	return m.call(ctx, "heartbeat", func(b *sarama.Broker) error {
		r, err := b.Heartbeat(&sarama.HeartbeatRequest{
			Version:         versionHeartbeat,
			GroupId:         m.cfg.Group,
			MemberId:        m.id,
			GenerationId:    m.generation,
			GroupInstanceId: optional(m.cfg.InstanceID),
		})
		if err != nil {
			return err
		}
		return answer(r.Err, nil)
	})
}

// Leave gives up the member's place at once; what it owned goes to the others. A
// static member that means to come back does not call it.
func (m *Member) Leave(ctx context.Context) error {
	err := m.call(ctx, "leave", func(b *sarama.Broker) error {
		if m.id == "" {
			return nil
		}
		r, err := b.LeaveGroup(&sarama.LeaveGroupRequest{
			Version: versionLeaveGroup,
			GroupId: m.cfg.Group,
			Members: []sarama.MemberIdentity{{MemberId: m.id, GroupInstanceId: optional(m.cfg.InstanceID)}},
		})
		if err != nil {
			return err
		}
		err = answer(r.Err, nil)
		for _, member := range r.Members {
			err = errors.Join(err, answer(member.Err, nil))
		}
		if err == nil {
			m.id, m.generation = "", sarama.GroupGenerationUndefined
		}
		return err
	})
	if errors.Is(err, ErrUnknownMember) {
		return nil // expelled before: it has no place to give up
	}
	return err
}

// Close cuts the connection. It does not leave the group.
func (m *Member) Close() {
	m.end(ErrClosed)
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	m.drop()
}

func (m *Member) drop() {
	if m.conn != nil {
		m.conn.close()
		m.conn = nil
	}
}

// call sends a request to the coordinator, looking it up again after each
// failure that another broker, or another attempt, may cure.
func (m *Member) call(ctx context.Context, what string, request func(*sarama.Broker) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.life, func() { cancel(ErrClosed) })()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case m.turn <- struct{}{}:
	}
	defer func() { <-m.turn }()
	err := m.client.Retry(ctx, fmt.Sprintf("%s group %q", what, m.cfg.Group), func(ctx context.Context) error {
		addr, err := m.client.coordinator(ctx, m.cfg.Group)
		if err != nil {
			return err
		}
		if m.conn != nil && m.conn.addr != addr {
			m.drop()
		}
		if m.conn == nil {
			m.conn = newConn(&m.client.cfg, addr, m.client.cfg.RequestTimeout+m.cfg.RebalanceTimeout)
		}
		err = m.conn.call(ctx, request)
		if err != nil && retriable(err) {
			m.client.forgetCoordinator(m.cfg.Group)
		}
		return err
	})
	if errors.Is(err, ErrUnknownMember) {
		m.id, m.generation = "", sarama.GroupGenerationUndefined
	}
	return err
}
