package topology

import "github.com/millrace/millrace/processors"

// These are the processors package's types under the names that users need,
// so that an application imports topology alone.

// Record is one record on its way through a topology.
type Record[K, V any] = processors.Record[K, V]

// Header is one header of a record.
type Header = processors.Header

// Processor is a user's own node; see [Process].
type Processor[K, V, K2, V2 any] = processors.Processor[K, V, K2, V2]

// Context is what a Processor is given at Init.
type Context[K, V any] = processors.Context[K, V]

// State is a processor's access to a key-value store; [KeyValue.In] returns it.
type State[K, V any] = processors.Store[K, V]

// ProcessorStore is a store as a Processor uses it; [KeyValue.In] returns it.
type ProcessorStore[K, V any] = processors.Store[K, V]

// Aggregator says how values of type V are gathered in an aggregate of type A.
type Aggregator[V, A any] = processors.Aggregator[V, A]

// Partitioner chooses the partition of a record by its key bytes.
type Partitioner = processors.Partitioner

// ErrorPolicy says what to do with a record that user code or a codec cannot
// handle.
type ErrorPolicy = processors.ErrorPolicy

// The error policies, for [OnError].
const (
	Fail       = processors.Fail
	Skip       = processors.Skip
	DeadLetter = processors.DeadLetter
)

// Punctuator is what Context.Punctuate returns.
type Punctuator = processors.Punctuator
