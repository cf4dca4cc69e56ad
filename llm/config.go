package llm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/config"
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
	// Early is how often a window that is not complete sends what it has; 0 is
	// never. Windows of the detection of anomalies send nothing early.
	Early time.Duration
	// PackedResults writes results as MessagePack instead of JSON.
	PackedResults bool

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
	// Delay and Idle are as in Config.
	Delay, Idle time.Duration
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
	c.Feedback = Input{FeedbackTopic, 10 * time.Minute, c.Idle}
	c.Responses = Input{ResponseTopic, c.Delay, c.Idle}
	c.Health = Input{HealthTopic, 10 * time.Second, c.Idle}
	c.Experiments = Input{ExperimentTopic, c.Delay, c.Idle}
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

// inputs returns the settings of each source, by the order of SourceNames.
func (c *Config) inputs() [5]struct {
	topic       *string
	delay, idle *time.Duration
} {
	type input = struct {
		topic       *string
		delay, idle *time.Duration
	}
	of := func(i *Input) input { return input{&i.Topic, &i.Delay, &i.Idle} }
	return [...]input{{&c.Topic, &c.Delay, &c.Idle}, of(&c.Feedback), of(&c.Responses), of(&c.Health), of(&c.Experiments)}
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
		if source != nil {
			over(in.delay, source.MaxDelay)
			over(in.idle, source.IdleTimeout)
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
