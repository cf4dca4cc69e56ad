// Package live measures under a load that arrives: it sends events at a pace,
// reads them back with the times at which the broker has appended them, and notes
// when results are readable.
//
// The types to know: [Load] is the events and their pace; [ReadBack] reads a topic
// from its start to its end; [Follow] hands on results as a consumer sees them that
// shares no code with the engine and reads what is committed; [Distribution] is a
// sample of times.
//
// # The clock
//
// The broker stamps the input's records with the time of their appending
// (message.timestamp.type; [CreateInput] sets it), so that whatever the generator
// and its linger take counts for nothing. It is in whole milliseconds, rounded down.
// Broker, generator and reader must be on one machine, and so go by one clock.
//
// # Caveats
//
// The generator and the reader run in the process that calls them, and what they
// take of the machine is in the figures.
package live
