package llm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Config says how the application computes its metrics. Lengths are whole
// milliseconds.
type Config struct {
	// Application is the prefix of the topics that belong to it.
	Application string
	// Topic is where Performance events come from; empty leaves them out.
	Topic string
	// Size is the length of the tumbling windows of performance, responses and
	// health. Lateness is how long after its end a window takes late events: all
	// but those of the detection of anomalies, which take none.
	Size, Lateness time.Duration
	// Delay is how far Performance events are out of order at most: the watermark
	// follows the latest event at this distance. Idle is after how long without
	// events a partition no longer holds the watermark back.
	Delay, Idle time.Duration
	// Ahead is how far ahead of the clock an event may lie, and Align how far ahead
	// of the slowest partition another is read; 0 is the default, an hour, and
	// without bound. Advance is how far behind the clock the watermark follows it
	// while everything is idle; 0 lets it stand still.
	Ahead, Align, Advance time.Duration
	// Early is how often a window that is not complete sends what it has; 0 is
	// never. Windows of the detection of anomalies send nothing early.
	Early time.Duration
	// Reset is where the events go on whose position is lost; the application's if it
	// is topology.DefaultReset.
	Reset topology.OffsetReset
	// WarmTTL is how long closed windows of statistics stay in the tasks' databases;
	// 0 is not at all without Cold, and topology.DefaultWarmTTL with it. Cold has
	// them written to the cold tier, those of performance to StatsTable. Windows of
	// the detection of anomalies have no tiers.
	WarmTTL time.Duration
	Cold    bool
	// PackedResults writes results as MessagePack instead of JSON.
	PackedResults bool
	// FinalOnly sends of each window only its final result, when it is closed.
	FinalOnly bool
	// From and To choose the windows that send results, by where they begin: at From
	// or later, and before To. Zero is without bound. Late events go by their own
	// time.
	From, To time.Time
	// OutputPrefix goes before the names of the topics that are written.
	OutputPrefix string

	// Feedback, Responses, Health and Experiments are where the other kinds of
	// events come from.
	Feedback, Responses, Health, Experiments Input
	// SessionGap is the silence that ends a session of feedback, SessionAtMost the
	// longest that one lasts; 0 is without a bound.
	SessionGap, SessionAtMost time.Duration
	// ExperimentSize is the length of the tumbling windows of experiments.
	ExperimentSize time.Duration
	// AnomalySize is the length of the hopping windows in which degradations are
	// looked for, AnomalyEvery how far apart these begin, and Detection what counts
	// as one. An AnomalySize of 0 looks for none.
	AnomalySize, AnomalyEvery time.Duration
	Detection                 Detection
}

// Input says where one kind of events comes from. The zero Input leaves it out.
type Input struct {
	Topic string
	// These are as in Config.
	Delay, Idle, Ahead, Align, Advance time.Duration
	Reset                              topology.OffsetReset
}

// strategy is how the watermark follows the events.
func (i Input) strategy() window.Strategy {
	s := window.BoundedDelay(i.Delay).IdleAfter(i.Idle)
	if i.Ahead > 0 {
		s = s.MaxAhead(i.Ahead)
	}
	if i.Align > 0 {
		s = s.AlignWithin(i.Align)
	}
	if i.Advance > 0 {
		s = s.AdvanceWhenIdle(i.Advance)
	}
	return s
}

// performanceInput is where Performance events come from.
func (c *Config) performanceInput() Input {
	return Input{c.Topic, c.Delay, c.Idle, c.Ahead, c.Align, c.Advance, c.Reset}
}

// DefaultConfig is performance by model alone: in windows of 5 minutes, with 2
// minutes of delay and 2 of lateness, and early results each 30 seconds.
func DefaultConfig() Config {
	return Config{
		Application: "llm-metrics",
		Topic:       PerformanceTopic,
		Size:        5 * time.Minute,
		Lateness:    2 * time.Minute,
		Delay:       2 * time.Minute,
		Idle:        5 * time.Minute,
		Early:       30 * time.Second,
	}
}

// FullConfig is the whole application: DefaultConfig, and feedback by session
// (gap 30 minutes, at most 4 hours, delay 10 minutes), responses by model,
// health by component (delay 10 seconds), experiments by variant (an hour), and
// the detection of anomalies (15 minutes, each minute).
func FullConfig() Config {
	c := DefaultConfig()
	c.Feedback = Input{Topic: FeedbackTopic, Delay: 10 * time.Minute, Idle: c.Idle}
	c.Responses = Input{Topic: ResponseTopic, Delay: c.Delay, Idle: c.Idle}
	c.Health = Input{Topic: HealthTopic, Delay: 10 * time.Second, Idle: c.Idle}
	c.Experiments = Input{Topic: ExperimentTopic, Delay: c.Delay, Idle: c.Idle}
	c.SessionGap, c.SessionAtMost = 30*time.Minute, 4*time.Hour
	c.ExperimentSize = time.Hour
	c.AnomalySize, c.AnomalyEvery = 15*time.Minute, time.Minute
	c.Detection = DefaultDetection()
	return c
}

// The names of the sources, in configuration files and in the header of late
// events.
const (
	PerformanceSource = "performance"
	FeedbackSource    = "feedback"
	ResponseSource    = "response"
	SystemSource      = "system"
	ExperimentSource  = "experiment"
)

// SourceNames are the sources that a configuration file may set.
func SourceNames() []string {
	return []string{PerformanceSource, FeedbackSource, ResponseSource, SystemSource, ExperimentSource}
}

// settings are those of an Input, to be changed.
type settings struct {
	topic                              *string
	delay, idle, ahead, align, advance *time.Duration
	reset                              *topology.OffsetReset
}

// inputs returns the settings of each source, by the order of SourceNames.
func (c *Config) inputs() [5]settings {
	of := func(i *Input) settings {
		return settings{&i.Topic, &i.Delay, &i.Idle, &i.Ahead, &i.Align, &i.Advance, &i.Reset}
	}
	return [...]settings{
		{&c.Topic, &c.Delay, &c.Idle, &c.Ahead, &c.Align, &c.Advance, &c.Reset},
		of(&c.Feedback), of(&c.Responses), of(&c.Health), of(&c.Experiments),
	}
}

// Topics returns the topic of each source that is not left out, by its name.
func (c Config) Topics() map[string]string {
	topics := map[string]string{}
	for i, in := range c.inputs() {
		if *in.topic != "" {
			topics[SourceNames()[i]] = *in.topic
		}
	}
	return topics
}

// With returns c with what the file sets in place of its own values. What is
// set for a source goes before what is set for all. The watermark's delay for
// all is not for feedback and health, whose own is as much a part of what they
// are; their sources may set it.
func (c Config) With(file *config.Config) Config {
	over(&c.Application, file.Application)
	w := &file.Windowing
	over(&c.Size, w.Size)
	over(&c.Lateness, w.AllowedLateness)
	over(&c.Early, w.EarlyInterval)
	over(&c.SessionGap, w.SessionGap)
	over(&c.SessionAtMost, w.SessionAtMost)
	over(&c.ExperimentSize, w.ExperimentSize)
	over(&c.AnomalySize, w.AnomalySize)
	over(&c.AnomalyEvery, w.AnomalyAdvance)
	over(&c.WarmTTL, file.State.WarmTTL)
	c.Cold = c.Cold || file.State.Cold.Backend.IsSet
	for i, in := range c.inputs() {
		name := SourceNames()[i]
		source := file.Sources[name]
		if source != nil {
			over(in.topic, source.Topic)
			if source.Enabled.IsSet && !source.Enabled.Value {
				*in.topic = ""
			}
		}
		if *in.topic == "" {
			continue
		}
		if name != FeedbackSource && name != SystemSource {
			over(in.delay, w.WatermarkDelay)
		}
		over(in.idle, w.IdleTimeout)
		over(in.ahead, w.MaxAhead)
		over(in.align, w.AlignWithin)
		over(in.advance, w.AdvanceWhenIdle)
		if source != nil {
			over(in.delay, source.MaxDelay)
			over(in.idle, source.IdleTimeout)
			over(in.ahead, source.MaxAhead)
			over(in.align, source.AlignWithin)
			over(in.advance, source.AdvanceWhenIdle)
			if reset, err := topology.ParseOffsetReset(source.OffsetReset.Value); err == nil && source.OffsetReset.IsSet {
				*in.reset = reset
			}
		}
	}
	return c
}

func over[T any](value *T, s config.Setting[T]) {
	if s.IsSet {
		*value = s.Value
	}
}

// ErrUnknownSource means that there is no source of a name.
var ErrUnknownSource = errors.New("unknown source")

// Only returns c with the named sources alone. The error wraps ErrUnknownSource
// and names each that there is not.
func (c Config) Only(names ...string) (Config, error) {
	var errs []error
	for _, name := range names {
		if !slices.Contains(SourceNames(), name) {
			errs = append(errs, fmt.Errorf("%w %q: want some of %s", ErrUnknownSource, name, strings.Join(SourceNames(), ", ")))
		}
	}
	for i, in := range c.inputs() {
		if !slices.Contains(names, SourceNames()[i]) {
			*in.topic = ""
		}
	}
	return c, errors.Join(errs...)
}

// check returns what is wrong that the topology would not notice.
func (c *Config) check() error {
	if c.AnomalySize > 0 && c.AnomalyEvery > 0 && c.AnomalySize/c.AnomalyEvery > MostSlots {
		return fmt.Errorf("llm: anomalies are looked for in windows of %v every %v: want at most %d times as long (windowing.anomaly_size, windowing.anomaly_advance)",
			c.AnomalySize, c.AnomalyEvery, MostSlots)
	}
	if c.AnomalySize > 0 && c.AnomalyEvery > 0 && c.AnomalySize%c.AnomalyEvery != 0 {
		return fmt.Errorf("llm: anomalies are looked for in windows of %v every %v: want a multiple (windowing.anomaly_size, windowing.anomaly_advance)",
			c.AnomalySize, c.AnomalyEvery)
	}
	return nil
}

// AlignedWithin returns c with no source read further ahead of the slowest partition
// than that. 0 is no bound.
func (c Config) AlignedWithin(most time.Duration) Config {
	for _, in := range c.inputs() {
		if *in.align == 0 || most > 0 && *in.align > most {
			*in.align = most
		}
	}
	return c
}

// longSession stands for sessions without a bound in Reach.
const longSession = 24 * time.Hour

// Reach returns how far before and after the beginning of a window those events lie
// that count for what it is, the longest delay and lateness included. A session
// begins where there is none before, and one of SessionAtMost is split where it
// began: a key that is never silent for the gap has to be known from its first
// event on, and that is beyond the reach. Of other windows no earlier event matters.
func (c Config) Reach() (before, after time.Duration) {
	if c.Topic != "" || c.Responses.Topic != "" || c.Health.Topic != "" {
		after = max(c.Size, c.AnomalySize)
	}
	if c.Experiments.Topic != "" {
		after = max(after, c.ExperimentSize)
	}
	if c.Feedback.Topic != "" {
		before = c.SessionAtMost
		if before == 0 {
			before = longSession
		}
		after = max(after, before)
	}
	var delay time.Duration
	for _, in := range c.inputs() {
		if *in.topic != "" {
			delay = max(delay, *in.delay)
		}
	}
	return before, after + delay + c.Lateness
}
