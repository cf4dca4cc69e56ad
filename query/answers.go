package query

import (
	"encoding/json"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// StoreList is the answer of /v1/stores.
type StoreList struct {
	Application string  `json:"application"`
	Stores      []Store `json:"stores"`
}

// Store is a store of the topology.
type Store struct {
	Name string `json:"name"`
	// Kind is key-value, aggregate or windowed.
	Kind        stores.Kind `json:"kind"`
	SubTopology int         `json:"sub_topology"`
	// Tasks is the number of partitions; 0 while the instance is starting.
	Tasks          int32  `json:"tasks"`
	ChangelogTopic string `json:"changelog_topic"`
	// Standbys are the copies of the store's state that the answering instance
	// keeps of tasks which others run.
	Standbys []Lag `json:"standbys,omitempty"`
}

// Entry is one entry of a store.
type Entry struct {
	// Key in its text form can be put into a path.
	Key json.RawMessage `json:"key"`
	// Window is nil for stores without windows.
	Window *Window         `json:"window,omitempty"`
	Value  json.RawMessage `json:"value"`
	// Time is the greatest event time in Value, in Unix milliseconds.
	Time int64 `json:"time"`
	// Final says of a window that nothing will change its value any more.
	Final     bool  `json:"final"`
	Partition int32 `json:"partition"`
	// Position and Tier are for instances among themselves.
	Position []byte `json:"position,omitempty"`
	Tier     Tier   `json:"tier,omitempty"`
}

// Tier is where an entry was read.
type Tier string

// The tiers that queries read.
const (
	// Warm is the state of the task that owns the key.
	Warm Tier = "warm"
	// Cold is the cold tier.
	Cold Tier = "cold"
)

// Window is the span of event time of an entry, the end exclusive: in Unix
// milliseconds, and as RFC 3339.
type Window struct {
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
}

// Lag is how far a task's state is behind.
type Lag struct {
	Task string `json:"task"`
	// Remaining is how many changelog offsets are yet to be read; -1 if it is
	// not known yet.
	Remaining int64 `json:"remaining"`
}

// KeyValue is the answer about one key of a store without windows.
type KeyValue struct {
	Store string `json:"store"`
	Entry
	Staleness
}

// Page is the answer to a scan.
type Page struct {
	Store string  `json:"store"`
	Items []Entry `json:"items"`
	// Next is the parameter cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
	// Tiers counts the items by where they were read, if the store has a cold tier.
	Tiers map[Tier]int `json:"tiers,omitempty"`
	// Partial is set if the cold tier could not be asked: windows that have left the
	// warm tier are missing. ColdError then says why.
	Partial   bool   `json:"partial,omitempty"`
	ColdError string `json:"cold_error,omitempty"`
	Staleness
}

// Staleness says whether state that is behind has been read.
type Staleness struct {
	Stale bool `json:"stale"`
	// Lag has the tasks whose state is behind.
	Lag []Lag `json:"lag,omitempty"`
}

// Owner is the answer of /v1/stores/{store}/owner.
type Owner struct {
	Store     string `json:"store"`
	Key       string `json:"key"`
	Task      string `json:"task"`
	Partition int32  `json:"partition"`
	// Endpoint is the URL of the instance that runs the task; empty if it
	// advertises none.
	Endpoint string `json:"endpoint"`
	// Here: it is the instance that answers.
	Here bool `json:"here"`
}

// decoded is a codec of a value that is decoded already.
type decoded struct{ v any }

func (decoded) Append(dst []byte, _ any) ([]byte, error) { return dst, nil }
func (d decoded) Decode([]byte) (any, error)             { return d.v, nil }

// toJSON writes a key or value in the form of codec.JSONValue. Aggregates come
// as pointers.
func toJSON(v any) (json.RawMessage, error) {
	switch p := v.(type) {
	case *float64:
		v = *p
	case *[]byte:
		v = *p
	case *[16]byte:
		v = *p
	case *time.Time:
		v = *p
	}
	v, err := codec.JSONValue[any](decoded{v}, nil)
	if err != nil {
		return nil, err
	}
	return codec.JSON[any]().Append(nil, v)
}

func toWindow(w *window.Window) *Window {
	if w == nil {
		return nil
	}
	return &Window{Start: w.Start, End: w.End, StartTime: window.FormatTime(w.Start), EndTime: window.FormatTime(w.End)}
}

// entry turns an item into an Entry.
func (st *store) entry(item stores.Item, partition int32) (Entry, error) {
	e := Entry{Window: toWindow(item.Window), Time: item.Time, Final: item.Final, Partition: partition}
	var err error
	if e.Key, err = toJSON(item.Key); err == nil {
		e.Value, err = toJSON(item.Value)
	}
	if err != nil {
		return Entry{}, fail(500, CodeInternal, "store %q: an entry of partition %d cannot be written as JSON; give its type a MarshalJSON: %v", st.name, partition, err)
	}
	return e, nil
}

// size is roughly the bytes of e in an answer.
func (e *Entry) size() int {
	const frame = 100
	n := len(e.Key) + len(e.Value) + len(e.Position)*4/3 + frame
	if e.Window != nil {
		n += frame
	}
	return n
}
