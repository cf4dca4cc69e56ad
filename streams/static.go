package streams

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
)

// A static member that returns within its session is handed the assignment of its
// earlier self, in the generation that there is, and nobody else notices. So
// nothing was planned for what it says now, and if it leads the group it has seen
// no plan.

// returned looks after what a member misses whose first assignment was made for
// its earlier self: it joins again if its subscription differs from that one, and
// a leader finds out who has which tasks. It returns the directory that it has found, or nil.
func (m *membership) returned(ctx context.Context, joined kafka.Joined, sub assign.Subscription, a assign.Assignment) *Directory {
	first := !m.greeted
	m.greeted = true
	if !first || joined.Leader || m.in.cfg.InstanceID == "" {
		return nil
	}
	if a.Planned != 0 && a.Planned != sub.Fingerprint() {
		m.in.log.Info("returned with another subscription than before: asking for a rebalance")
		m.rejoin()
		return nil
	}
	if a.Leader == "" || a.Leader != m.in.cfg.Advertise {
		return nil
	}
	directory, err := m.findDirectory(ctx, joined.Generation)
	if err != nil {
		m.in.log.Warn("the other members cannot ask this one who has which tasks before the next rebalance", "error", err)
		return nil
	}
	return directory
}

// findDirectory makes the directory from what the coordinator keeps of the group.
func (m *membership) findDirectory(ctx context.Context, generation int32) (*Directory, error) {
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	group, err := m.in.client.DescribeGroup(ctx, m.in.cfg.Application)
	if err != nil {
		return nil, err
	}
	d := &Directory{Generation: generation}
	for _, member := range group.Assigned {
		s, err := assign.DecodeSubscription(member.Subscription)
		if err != nil {
			return nil, fmt.Errorf("subscription of member %q: %w", member.ID, err)
		}
		a, err := assign.DecodeAssignment(member.Assignment)
		if err != nil {
			return nil, fmt.Errorf("assignment of member %q: %w", member.ID, err)
		}
		d.add(s.Endpoint, a)
	}
	return d, nil
}

// add adds what a member was given.
func (d *Directory) add(endpoint string, a assign.Assignment) {
	entry := DirectoryMember{Endpoint: endpoint}
	for _, t := range a.Active {
		entry.Tasks = append(entry.Tasks, t.String())
	}
	for _, t := range a.Standby {
		entry.Standbys = append(entry.Standbys, t.String())
	}
	d.Members = append(d.Members, entry)
}
