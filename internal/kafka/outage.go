package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// outageReminder is how often the log is told of an outage that lasts.
const outageReminder = time.Minute

// outage tells the log when no broker answers, once and then now and then, and
// when one does again. Requests are under way side by side: what one found that
// began before the last turn says nothing about the time after it.
type outage struct {
	logger *slog.Logger

	mu    sync.Mutex // guards what follows; never held across a wait
	since time.Time  // when it began; zero while brokers answer
	told  time.Time
	ended time.Time // when a broker last answered
}

// noAnswer notes that no broker answered a request.
func (o *outage) noAnswer(began time.Time, tried []string, err error) {
	o.mu.Lock()
	if !began.After(o.ended) {
		o.mu.Unlock()
		return
	}
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	quiet := !o.told.IsZero() && now.Sub(o.told) < outageReminder
	if !quiet {
		o.told = now
	}
	lasted := now.Sub(o.since)
	o.mu.Unlock()
	if !quiet {
		o.logger.LogAttrs(context.Background(), slog.LevelWarn, "no broker answers: trying again",
			slog.Any("tried", tried), slog.Duration("lasted", lasted.Round(time.Second)), slog.Any("error", err))
	}
}

// answered notes that a broker answered a request.
func (o *outage) answered(began time.Time) {
	o.mu.Lock()
	since := o.since
	if !since.IsZero() && !began.After(since) {
		o.mu.Unlock()
		return
	}
	o.since, o.told, o.ended = time.Time{}, time.Time{}, time.Now()
	o.mu.Unlock()
	if !since.IsZero() {
		o.logger.LogAttrs(context.Background(), slog.LevelInfo, "brokers answer again",
			slog.Duration("lasted", time.Since(since).Round(time.Millisecond)))
	}
}
