// Package truth computes the metrics of the application directly, to check the
// ones that a topology computed: a Truth those of Performance events, and
// Sessions, Responses, Components, Experiments and Verdicts the others.
//
// It shares no code with the engine: windows are a division, groups are a map,
// percentiles come from all latencies sorted. From package llm it takes the
// events' and the results' declarations only. So it holds every latency, cost
// and quality, 24 bytes an event, and is for tests and the demonstration.
//
//	t := truth.New(5 * time.Minute)
//	for event := range sent {
//		t.Add(event)
//	}
//	for event := range late {
//		t.Drop(event)
//	}
//	report := t.Compare(results)
//	fmt.Println(report, report.Equal())
//
// Compare looks at the final result of each model and window. Counts, errors
// and tokens must be equal, cost and means equal within 1e-9 of the value,
// percentiles within 1 %. A window without a final result is open, which is no
// difference: Report.Open says how many events are in such windows.
//
// # Caveats
//
// A Truth is not safe for use by several goroutines at once.
package truth
