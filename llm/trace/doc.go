// Package trace generates events of LLM serving from a trace of real LLM
// requests: Performance events, and modelled ones of the other kinds.
//
// The trace is the Azure LLM inference trace of 2023, which is part of the
// package: when each request came, and how many tokens it read and wrote. What
// the trace does not have (model, session, latency, cost, error, quality) is
// MODELLED, deterministically by a seed. README.md beside this file describes
// the model, and gives the licence and the attribution of the data, which
// Apache-2.0 does not cover.
//
// Load returns the rows, ReadCSV those of a file of the same form. A Generator
// makes events of them, one by one in the order of delivery; it holds no more
// than the rows and the events that are delayed, so it yields millions:
//
//	rows, err := trace.Load(trace.Both)
//	g, err := trace.NewGenerator(rows, trace.Options{Events: 2_000_000, Seed: 1, End: time.Now()})
//	for d := range g.All() {
//		// d.Event, and d.At: when it is to be sent, on the events' own clock
//	}
//
// # Disorder
//
// A share of the events is delivered late, by a random time of at most
// Options.Disorder. The bound holds for every event: when one is delivered, no
// event was delivered whose time is more than Disorder later. A source whose
// watermark delay is at least Disorder therefore sees none of them late.
//
// # Caveats
//
// A Generator is not safe for use by several goroutines at once. Equal rows and
// options give equal events; the events themselves do not depend on the
// options of delivery (disorder, duplicates).
package trace
