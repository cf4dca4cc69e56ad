package topology

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// Options are typed by the family of calls that take them, so that one in the
// wrong place does not compile.
type (
	// SourceOption is an option of [Source] and [SourcePattern].
	SourceOption interface{ source(*options) }
	// NodeOption is an option of a step without state.
	NodeOption interface{ node(*options) }
	// GroupOption is an option of a step that may repartition.
	GroupOption interface{ group(*options) }
	// TableOption is an option of an aggregate without windows.
	TableOption interface{ table(*options) }
	// StoreOption is an option of [KeyValueStore].
	StoreOption interface{ keyValue(*options) }
	// WindowOption is an option of a windowed aggregate.
	WindowOption interface{ windowed(*options) }
	// SuppressOption is an option of Suppress.
	SuppressOption interface{ suppress(*options) }
	// ProcessOption is an option of [Process].
	ProcessOption interface{ process(*options) }
	// SinkOption is an option of a sink.
	SinkOption interface{ sink(*options) }
)

// options gathers what the options of one call said.
type options struct {
	name        string
	policy      processors.ErrorPolicy
	topics      []string
	store       string
	emit        window.Emit
	partitions  *int32
	partitioner processors.Partitioner
	headers     []processors.Header
	uses        []anyStore
	reset       OffsetReset
	tiers       *Tiers
	replicates  string
	ttl         *time.Duration
}

type nameOption string

// Named gives a node its name. A step that repartitions uses it for the topic,
// <application>-<name>-repartition, and must have one.
func Named(name string) interface {
	SourceOption
	NodeOption
	GroupOption
	TableOption
	WindowOption
	SuppressOption
	ProcessOption
	SinkOption
} {
	return nameOption(name)
}

func (n nameOption) source(o *options)   { o.name = string(n) }
func (n nameOption) node(o *options)     { o.name = string(n) }
func (n nameOption) group(o *options)    { o.name = string(n) }
func (n nameOption) table(o *options)    { o.name = string(n) }
func (n nameOption) windowed(o *options) { o.name = string(n) }
func (n nameOption) suppress(o *options) { o.name = string(n) }
func (n nameOption) process(o *options)  { o.name = string(n) }
func (n nameOption) sink(o *options)     { o.name = string(n) }

type policyOption processors.ErrorPolicy

// OnError sets what happens when this node's code or codec fails: [Fail],
// [Skip] or [DeadLetter]. The default is the application's, and its default is
// Fail.
func OnError(p ErrorPolicy) interface {
	SourceOption
	NodeOption
	GroupOption
	TableOption
	WindowOption
	SuppressOption
	ProcessOption
	SinkOption
} {
	return policyOption(p)
}

func (p policyOption) source(o *options)   { o.policy = ErrorPolicy(p) }
func (p policyOption) node(o *options)     { o.policy = ErrorPolicy(p) }
func (p policyOption) group(o *options)    { o.policy = ErrorPolicy(p) }
func (p policyOption) table(o *options)    { o.policy = ErrorPolicy(p) }
func (p policyOption) windowed(o *options) { o.policy = ErrorPolicy(p) }
func (p policyOption) suppress(o *options) { o.policy = ErrorPolicy(p) }
func (p policyOption) process(o *options)  { o.policy = ErrorPolicy(p) }
func (p policyOption) sink(o *options)     { o.policy = ErrorPolicy(p) }

type topicsOption []string

// AndTopics adds further topics to a source.
func AndTopics(topics ...string) SourceOption { return topicsOption(topics) }

func (t topicsOption) source(o *options) { o.topics = append(o.topics, t...) }

type storeOption string

// Store names an aggregate's store. Its changelog topic is
// <application>-<name>-changelog, and queries ask for it by this name.
func Store(name string) interface {
	TableOption
	WindowOption
} {
	return storeOption(name)
}

func (s storeOption) table(o *options)    { o.store = string(s) }
func (s storeOption) windowed(o *options) { o.store = string(s) }

type ttlOption time.Duration

// TTL gives each entry of a store without windows a time to live, in whole
// milliseconds. An entry has the greatest event time that went into it: that of the
// records of an aggregate, or of those whose processing put the entry. When the
// watermark of the nodes that use the store has passed that by d, as of the last
// commit, the entry is gone: for the nodes and for queries at once, and soon after from
// the store, with a tombstone in its changelog. A later record of the key begins a new
// one; a record that is so late that its own entry would have expired is dropped, and
// counted as late. An aggregate sends nothing when it expires.
//
// By default entries live for ever. The time to live may be changed, or given to a store
// that is there, at any restart.
func TTL(d time.Duration) interface {
	TableOption
	StoreOption
} {
	return ttlOption(d)
}

func (t ttlOption) table(o *options)    { o.ttl = (*time.Duration)(&t) }
func (t ttlOption) keyValue(o *options) { o.ttl = (*time.Duration)(&t) }

// checkTTL takes over the time to live of a store, and says what is wrong with it.
func (s *store) checkTTL(ttl *time.Duration) (mistake string) {
	if ttl == nil {
		return ""
	}
	if *ttl < time.Millisecond || *ttl%time.Millisecond != 0 {
		return fmt.Sprintf("topology.TTL(%v): use whole milliseconds, at least one, or leave it out for entries that live for ever", *ttl)
	}
	s.ttl = *ttl
	return ""
}

type emitOption window.Emit

// Emit says when a windowed aggregate sends results. The default is
// window.OnTime, and each update of a late event.
func Emit(e window.Emit) WindowOption { return emitOption(e) }

func (e emitOption) windowed(o *options) { o.emit = window.Emit(e) }

type partitionsOption int32

// Partitions fixes how many partitions a repartition topic has. The default is
// the greatest number among the topics that lead to it.
func Partitions(n int32) GroupOption { return partitionsOption(n) }

func (p partitionsOption) group(o *options) { o.partitions = (*int32)(&p) }

type partitionerOption struct{ choose Partitioner }

// PartitionedBy replaces Kafka's own partitioner, murmur2 of the key bytes.
func PartitionedBy(p Partitioner) SinkOption { return partitionerOption{p} }

func (p partitionerOption) sink(o *options) { o.partitioner = p.choose }

type headerOption Header

// WithHeader adds a header to each record that a sink writes, after those
// that the record carries.
func WithHeader(key string, value []byte) SinkOption { return headerOption{key, value} }

func (h headerOption) sink(o *options) { o.headers = append(o.headers, Header(h)) }

type replicatedOption string

// Replicated has what a sink writes go to the replica of the instances that have
// one (streams.Config.Replica), as the latest results of a store: for each key
// and window the last record, after the commit that made it. The store is that
// of the aggregate that the results come from, or any other one of the sink's
// sub-topology. The values should be JSON objects, whose members become fields
// there.
func Replicated(store string) SinkOption { return replicatedOption(store) }

func (r replicatedOption) sink(o *options) { o.replicates = string(r) }

type usesOption []anyStore

// Uses gives a processor access to stores made by [KeyValueStore].
func Uses(stores ...anyStore) ProcessOption { return usesOption(stores) }

func (u usesOption) process(o *options) { o.uses = append(o.uses, u...) }
