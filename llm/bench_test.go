package llm_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/llm"
)

// typical is a Performance with every field, as long as the usual one.
func typical() llm.Performance {
	return llm.Performance{
		Event: llm.Event{
			Timestamp: 1_700_158_623_979,
			RequestID: llm.RequestID{0x8d, 0x8a, 0xc6, 0x10, 0x56, 0x6d, 0x4e, 0xf0, 0x9c, 0x22, 0x18, 0x6b, 0x2a, 0x5e, 0xd7, 0x93},
			SessionID: llm.Some("session-004711"),
			Model:     "chat-large",
		},
		LatencyMS: 5210.4, PromptTokens: 4808, CompletionTokens: 210,
		CostUSD: llm.Some(0.0125), Quality: llm.Some(0.83),
	}
}

func BenchmarkPerformanceDecode(b *testing.B) {
	data, err := llm.PerformanceCodec.Append(nil, typical())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := llm.PerformanceCodec.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPerformanceAppend(b *testing.B) {
	v := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = llm.PerformanceCodec.Append(buf[:0], v); err != nil {
			b.Fatal(err)
		}
	}
}

// spread returns events with latencies as a busy window has them.
func spread(n int) []llm.Performance {
	random := rand.New(rand.NewPCG(1, 2))
	events := make([]llm.Performance, n)
	for i := range events {
		events[i] = typical()
		events[i].LatencyMS = 2000 * math.Exp(random.NormFloat64())
	}
	return events
}

func BenchmarkStatsAdd(b *testing.B) {
	events := spread(1 << 10)
	s := llm.NewStats()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Add(events[i&(1<<10-1)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatsAppend(b *testing.B) {
	s := llm.NewStats()
	for _, e := range spread(10_000) {
		if err := s.Add(e); err != nil {
			b.Fatal(err)
		}
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = llm.StatsCodec.Append(buf[:0], *s)
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

func BenchmarkStatsDecode(b *testing.B) {
	s := llm.NewStats()
	for _, e := range spread(10_000) {
		if err := s.Add(e); err != nil {
			b.Fatal(err)
		}
	}
	buf, _ := llm.StatsCodec.Append(nil, *s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := llm.StatsCodec.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
