package trace

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/llm"
)

// The model of the other kinds of events; README.md describes it. The figures
// are plausible, not measured.
const (
	streamedShare = 0.8
	cutShare      = 0.08 // responses that end by length
	ttftShare     = 0.12 // of the latency, on average

	feedbackShare  = 0.06 // of the requests of a session
	dwellMean      = 25 * time.Second
	dwellMax       = 5 * time.Minute
	commentShare   = 0.1
	reportInterval = 10 * time.Second
	healthDisorder = 10 * time.Second

	experimentShare = 0.3 // of the requests of the conversation service
	treatmentFaster = 0.93
	treatmentBetter = 0.03
)

// experimentName is the one experiment of the model, with the variants
// llm.BaselineVariant and treatment.
const (
	experimentName = "prompt-v2"
	treatment      = "treatment"
)

// componentOf names the component that serves a model.
func componentOf(model string) string { return "server-" + model }

// companions makes the other events that belong to a request, and the reports of
// the components.
type companions struct {
	random *rand.Rand
	plan   []Degradation
	next   int64 // when the components report again
}

func newCompanions(seed uint64, plan []Degradation, begin int64) *companions {
	return &companions{random: rand.New(rand.NewPCG(seed, 0x636f6d70616e)), plan: plan, next: begin}
}

// of calls add with each event that belongs to a request, with its source and
// time. They happen at the time of the request or later.
func (c *companions) of(v *llm.Performance, add func(source string, at int64, event any)) {
	add(llm.ResponseSource, v.Timestamp, c.response(v))
	_, inSession := v.SessionID.Get()
	if !v.Error && inSession && c.random.Float64() < feedbackShare {
		f := c.feedback(v)
		add(llm.FeedbackSource, f.Timestamp, f)
	}
	if c.random.Float64() < experimentShare && isConversation(v.Model) {
		c.experiment(v, add)
	}
}

func isConversation(model string) bool {
	for i := range profiles[ConversationService] {
		if profiles[ConversationService][i].name == model {
			return true
		}
	}
	return false
}

func (c *companions) response(v *llm.Performance) llm.Response {
	r := llm.Response{
		Event: v.Event, Status: "ok", FinishReason: "stop", LatencyMS: v.LatencyMS,
		PromptTokens: v.PromptTokens, CompletionTokens: v.CompletionTokens,
	}
	switch {
	case v.Error:
		r.Status, r.FinishReason = "error", "error"
	case c.random.Float64() < cutShare:
		r.FinishReason = "length"
	}
	if !v.Error && c.random.Float64() < streamedShare {
		share := min(ttftShare*math.Exp(0.3*c.random.NormFloat64()), 1)
		r.TTFTMS = llm.Some(math.Round(1000*v.LatencyMS*share) / 1000)
	}
	return r
}

func (c *companions) feedback(v *llm.Performance) llm.Feedback {
	dwell := min(time.Duration(float64(dwellMean)*c.random.ExpFloat64()), dwellMax).Milliseconds()
	f := llm.Feedback{Event: v.Event, DwellMS: dwell}
	f.Timestamp += int64(v.LatencyMS) + dwell
	liked := 4 + c.random.NormFloat64() - v.LatencyMS/20_000
	f.Rating = int64(min(max(math.Round(liked), 1), 5))
	f.TaskCompleted = c.random.Float64() < float64(f.Rating)/5.5
	if c.random.Float64() < commentShare {
		f.Comment = llm.Some([...]string{"no", "too slow", "so so", "helpful", "just right"}[f.Rating-1])
	}
	return f
}

// experiment measures a request of the experiment, whose variant is drawn by
// request.
func (c *companions) experiment(v *llm.Performance, add func(source string, at int64, event any)) {
	e := llm.Experiment{Event: v.Event, Experiment: experimentName, Variant: llm.BaselineVariant, Metric: "latency_ms", Value: v.LatencyMS}
	treated := c.random.IntN(2) == 0
	if treated {
		e.Variant = treatment
		e.Value = math.Round(1000*v.LatencyMS*treatmentFaster) / 1000
	}
	add(llm.ExperimentSource, e.Timestamp, e)
	if quality, ok := v.Quality.Get(); ok {
		e.Metric, e.Value = "quality", quality
		if treated {
			e.Value = min(quality+treatmentBetter, 1)
		}
		add(llm.ExperimentSource, e.Timestamp, e)
	}
}

// report calls add with one report of each component, in the interval that
// begins at next.
func (c *companions) report(add func(source string, at int64, event any)) {
	for _, of := range profiles {
		for i := range of {
			at := c.next + c.random.Int64N(reportInterval.Milliseconds())
			add(llm.SystemSource, at, c.health(of[i].name, at))
		}
	}
	c.next += reportInterval.Milliseconds()
}

func (c *companions) health(model string, at int64) llm.Health {
	share := func(mean, sigma float64) float64 {
		return math.Round(1000*min(max(mean+sigma*c.random.NormFloat64(), 0), 1)) / 1000
	}
	h := llm.Health{
		Event:     llm.Event{Timestamp: at, RequestID: randomID(c.random), Model: model},
		Component: componentOf(model), Healthy: c.random.Float64() >= 0.005,
		CPU: share(0.45, 0.06), Memory: share(0.6, 0.03),
	}
	depth := int64(2 * c.random.ExpFloat64())
	for i := range c.plan {
		if d := &c.plan[i]; d.covers(SickComponent, h.Component, at) {
			amount := d.amount(at)
			h.Healthy = h.Healthy && c.random.Float64() >= amount
			h.CPU = share(0.45+0.45*amount, 0.06)
			depth += int64(20 * amount * c.random.Float64())
		}
	}
	h.QueueDepth = llm.Some(depth)
	return h
}
