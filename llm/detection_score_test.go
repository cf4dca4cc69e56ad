package llm_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

// The thresholds of DefaultDetection are chosen on the traffic of the tuning
// seeds, and scored on that of the scoring seeds, which nothing was chosen on.
// The degradations in either are drawn by the seed; see trace.Plan.
var (
	tuningSeeds  = []uint64{1, 2, 3, 4}
	scoringSeeds = []uint64{101, 102, 103, 104, 105, 106}
	// thresholds are what the tuning chooses from.
	thresholds = []float64{2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8}
)

const (
	scoredHours = 4
	// grace is how long after its end a degradation may still be told of: the
	// newest fifth of a window is three minutes.
	grace = 3 * time.Minute
)

// watched is the verdicts on the traffic of one seed, and what was planted.
type watched struct {
	plan     []trace.Degradation
	verdicts map[string][]llm.Verdict // by key, in the order of time
}

// watch runs the detection over the traffic of a seed.
func watch(tb testing.TB, seed uint64) watched {
	tb.Helper()
	all, err := trace.Load(trace.Both)
	if err != nil {
		tb.Fatal(err)
	}
	// The trace is just under an hour long.
	o := trace.Options{Events: scoredHours * int64(len(all)), Seed: seed}
	kinds := []string{llm.PerformanceSource, llm.SystemSource}
	plain, err := trace.NewTraffic(all, o, kinds, nil)
	if err != nil {
		tb.Fatal(err)
	}
	w := watched{verdicts: map[string][]llm.Verdict{}}
	w.plan = trace.Plan(seed, first(plain.Span()), second(plain.Span()))
	traffic, err := trace.NewTraffic(all, o, kinds, w.plan)
	if err != nil {
		tb.Fatal(err)
	}
	c := llm.FullConfig()
	models, components := llm.ModelSignals(c.AnomalyEvery), llm.ComponentSignals(c.AnomalyEvery)
	panes := map[string]map[int64]*llm.Signals{}
	pane := func(key string, at int64) *llm.Signals {
		start := at - at%c.AnomalyEvery.Milliseconds()
		if panes[key] == nil {
			panes[key] = map[int64]*llm.Signals{}
		}
		if panes[key][start] == nil {
			panes[key][start] = llm.NewSignals()
		}
		return panes[key][start]
	}
	for item := range traffic.All() {
		switch v := item.Event.(type) {
		case llm.Performance:
			err = models.Add(pane(v.Model, v.Timestamp), v)
		case llm.Health:
			err = components.Add(pane(v.Component, v.Timestamp), v)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	size, every := c.AnomalySize.Milliseconds(), c.AnomalyEvery.Milliseconds()
	for key, of := range panes {
		begin, end := int64(math.MaxInt64), int64(0)
		for start := range of {
			begin, end = min(begin, start), max(end, start)
		}
		for start := begin - size + every; start <= end; start += every {
			merged := llm.NewSignals()
			for at := start; at < start+size; at += every {
				if of[at] != nil {
					if err := merged.Merge(of[at]); err != nil {
						tb.Fatal(err)
					}
				}
			}
			at := llm.Place{Key: key, WindowStart: start, WindowEnd: start + size}
			w.verdicts[key] = append(w.verdicts[key], c.Detection.Judge(at, merged, every))
		}
	}
	return w
}

func first(a, _ int64) int64  { return a }
func second(_, b int64) int64 { return b }

// signalsOf are the signals that tell of a kind of degradation.
var signalsOf = map[trace.DegradationKind][]string{
	trace.SlowModel:     {llm.PaceSignal},
	trace.FailingModel:  {llm.ErrorSignal},
	trace.SickComponent: {llm.UnhealthySignal, llm.CPUSignal, llm.MemorySignal, llm.QueueSignal},
}

// score counts alarms and degradations. An alarm is a run of minutes in which a
// key's signals for one kind are anomalous; it is right if a degradation of that
// kind and key lasts at one of them, or has ended within the grace. A degradation
// is found if an alarm is right by it.
type score struct {
	alarms, right, planted, found int
	delay                         time.Duration // sum, from begin to alarm
}

func (s score) precision() float64 { return float64(s.right) / float64(max(s.alarms, 1)) }
func (s score) recall() float64    { return float64(s.found) / float64(max(s.planted, 1)) }

// f1 is the harmonic mean of precision and recall.
func (s score) f1() float64 {
	return 2 * s.precision() * s.recall() / max(s.precision()+s.recall(), 1e-9)
}

// judge scores the verdicts for a kind, as if the threshold of a signal were
// another.
func (w watched) judge(kind trace.DegradationKind, threshold func(signal string) float64) score {
	var s score
	seen := map[int]time.Duration{}
	for key, verdicts := range w.verdicts {
		running, right := false, false
		for _, v := range verdicts {
			anomalous := slices.ContainsFunc(v.Signals, func(s llm.Signal) bool {
				score, ok := s.Score.Get()
				return ok && slices.Contains(signalsOf[kind], s.Name) && score > threshold(s.Name)
			})
			if anomalous && !running {
				s.alarms++
				right = false
			}
			running = anomalous
			if !anomalous {
				continue
			}
			for i, d := range w.plan {
				if d.Kind != kind || d.Target != key || v.WindowEnd <= d.From || v.WindowEnd > d.To+grace.Milliseconds() {
					continue
				}
				if !right {
					s.right++
					right = true
				}
				if _, ok := seen[i]; !ok {
					seen[i] = time.Duration(v.WindowEnd-d.From) * time.Millisecond
				}
			}
		}
	}
	for i, d := range w.plan {
		if d.Kind != kind {
			continue
		}
		s.planted++
		if after, ok := seen[i]; ok {
			s.found++
			s.delay += after
		}
	}
	return s
}

func (s *score) add(o score) {
	s.alarms += o.alarms
	s.right += o.right
	s.planted += o.planted
	s.found += o.found
	s.delay += o.delay
}

// over adds up the scores of some seeds.
func over(all []watched, kind trace.DegradationKind, threshold func(string) float64) score {
	var sum score
	for _, w := range all {
		sum.add(w.judge(kind, threshold))
	}
	return sum
}

func watchAll(tb testing.TB, seeds []uint64) []watched {
	var all []watched
	for _, seed := range seeds {
		all = append(all, watch(tb, seed))
	}
	return all
}

// knob is a threshold of a Detection, and what it is chosen by.
type knob struct {
	name    string
	kind    trace.DegradationKind
	signals []string
	of      func(llm.Detection) float64
}

var knobs = []knob{
	{"Pace", trace.SlowModel, []string{llm.PaceSignal}, func(d llm.Detection) float64 { return d.Pace }},
	{"Errors", trace.FailingModel, []string{llm.ErrorSignal}, func(d llm.Detection) float64 { return d.Errors }},
	{"Unhealthy", trace.SickComponent, []string{llm.UnhealthySignal}, func(d llm.Detection) float64 { return d.Unhealthy }},
	{"Load", trace.SickComponent, []string{llm.CPUSignal, llm.MemorySignal, llm.QueueSignal}, func(d llm.Detection) float64 { return d.Load }},
}

// best returns the threshold with the greatest F1, the middle of equal ones, and
// each with its score. Signals that the knob is not for are left out.
func (k knob) best(all []watched) (float64, string) {
	var report strings.Builder
	var chosen []float64
	greatest := 0.0
	for _, candidate := range thresholds {
		s := over(all, k.kind, func(signal string) float64 {
			if slices.Contains(k.signals, signal) {
				return candidate
			}
			return math.Inf(1)
		})
		fmt.Fprintf(&report, "  %4.1f: precision %.3f recall %.3f F1 %.3f\n", candidate, s.precision(), s.recall(), s.f1())
		switch f1 := s.f1(); {
		case f1 > greatest+1e-9:
			chosen, greatest = []float64{candidate}, f1
		case f1 > greatest-1e-9:
			chosen = append(chosen, candidate)
		}
	}
	return chosen[(len(chosen)-1)/2], report.String()
}

// TestTheThresholdsAreThoseThatTuningChooses keeps the committed thresholds and
// what they were chosen on together.
func TestTheThresholdsAreThoseThatTuningChooses(t *testing.T) {
	all := watchAll(t, tuningSeeds)
	for _, k := range knobs {
		chosen, report := k.best(all)
		t.Logf("%s:\n%s", k.name, report)
		if committed := k.of(llm.DefaultDetection()); chosen != committed {
			t.Errorf("%s is %v, and tuning chooses %v", k.name, committed, chosen)
		}
	}
}

// TestDetectionFindsPlantedDegradations prints precision and recall by kind on
// traffic that the thresholds were not chosen on.
func TestDetectionFindsPlantedDegradations(t *testing.T) {
	for _, seed := range scoringSeeds {
		if slices.Contains(tuningSeeds, seed) {
			t.Fatalf("seed %d is in both sets", seed)
		}
	}
	all := watchAll(t, scoringSeeds)
	d := llm.DefaultDetection()
	threshold := func(signal string) float64 {
		for _, k := range knobs {
			if slices.Contains(k.signals, signal) {
				return k.of(d)
			}
		}
		t.Fatalf("no threshold of %s", signal)
		return 0
	}
	t.Logf("%-15s %8s %7s %9s %8s %6s %7s  %s", "KIND", "PLANTED", "FOUND", "RECALL", "ALARMS", "RIGHT", "PRECISION", "MEAN DELAY")
	kinds := []trace.DegradationKind{trace.SlowModel, trace.FailingModel, trace.SickComponent}
	for _, kind := range kinds {
		s := over(all, kind, threshold)
		t.Logf("%-15v %8d %7d %8.1f%% %8d %6d %8.1f%%  %v", kind, s.planted, s.found, 100*s.recall(), s.alarms, s.right, 100*s.precision(),
			(s.delay / time.Duration(max(s.found, 1))).Round(time.Second))
		if s.planted < 50 || s.precision() < 0.8 || s.recall() < 0.8 {
			t.Errorf("%v: %+v", kind, s)
		}
	}
	// The flags are those of the thresholds.
	for _, w := range all {
		for _, verdicts := range w.verdicts {
			for _, v := range verdicts {
				for _, s := range v.Signals {
					if score, ok := s.Score.Get(); s.Anomalous != (ok && score > threshold(s.Name)) {
						t.Fatalf("%s at %d: %+v", v.Key, v.WindowEnd, s)
					}
				}
			}
		}
	}
}
