// Package topology is the language in which a stream application is written: a
// typed DSL that builds an immutable graph of sources, processors, stores and
// sinks.
//
//	b := topology.New("word-count")
//	words := topology.Source(b, "words", codec.String, codec.String)
//	counts := topology.GroupBy(words, codec.String, codec.String, word, topology.Named("by-word")).
//		Count(topology.Store("counts"))
//	counts.Stream().To("word-counts", codec.String, codec.Int64)
//	t, err := b.Build()
//
// The types to know:
//
//   - [Builder] collects nodes; [Builder.Build] returns the [Topology], or
//     every mistake at once, each with its node and the file and line of the
//     call that made it.
//   - [Stream] is a flow of records. Steps that keep its types are methods;
//     steps that change them are functions with the stream first and options
//     last ([Map], [MapValues], [GroupBy], [Aggregate] ...).
//   - [Grouped] and [Windowed] say how records are gathered; [Table] and
//     [WindowedTable] are the state that an aggregate keeps of them.
//   - [Process] puts a [Processor] of one's own into the graph, with stores.
//
// # Names
//
// Whatever makes a topic on the broker, a store or a repartition, has a name
// that the user gave, and Build lists those that lack one. There are no
// counters: adding a step never renames the state of another. Names of other
// nodes are made from their parent's name and their operator.
//
// # Sub-topologies
//
// A repartition cuts the graph. Each part that hangs together is a
// sub-topology; it runs as one task for each partition of its inputs.
//
// # Caveats
//
// Functions given to the DSL run on a task's goroutine, and the same function
// serves every task: keep state in stores or in a [Processor], never in the
// closure. A record's key and value may alias the fetched bytes; clone what is
// kept. The handles are values and safe to copy; a Builder is used by one
// goroutine, a Topology by any number.
package topology
