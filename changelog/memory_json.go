package changelog

import (
	"cmp"
	"encoding/json"
	"slices"
)

// savedLog is a Memory as JSON.
type savedLog struct {
	Made  int         `json:"made"`
	Parts []savedPart `json:"partitions"`
}

// savedPart is a partition as JSON. Bytes are in base64, and null for none.
type savedPart struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	ID        int      `json:"id"`
	Start     int64    `json:"start"`
	End       int64    `json:"end"`
	Records   []Record `json:"records,omitempty"`
}

// MarshalJSON returns all that was flushed, so that a test can keep it.
func (m *Memory) MarshalJSON() ([]byte, error) {
	m.mu.Lock()
	saved := savedLog{Made: m.made}
	for at, p := range m.parts {
		saved.Parts = append(saved.Parts, savedPart{at.topic, at.partition, p.id, p.start, p.end, slices.Clone(p.records)})
	}
	m.mu.Unlock()
	slices.SortFunc(saved.Parts, func(a, b savedPart) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return json.Marshal(saved)
}

// UnmarshalJSON adds the topics of what MarshalJSON returned, in place of those of
// the same names. Positions in them stay good.
func (m *Memory) UnmarshalJSON(b []byte) error {
	var saved savedLog
	if err := json.Unmarshal(b, &saved); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made += saved.Made
	for _, p := range saved.Parts {
		m.parts[place{p.Topic, p.Partition}] = &part{id: p.ID, start: p.Start, end: p.End, records: p.Records}
	}
	m.wake()
	return nil
}
