//go:build integration

package chaos

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/streams"
)

// instanceEnv is the environment variable that makes this binary an instance.
const instanceEnv = "MILLRACE_CHAOS_INSTANCE"

// spec says what an instance runs.
type spec struct {
	Application, StateDir string
	Brokers               []string
	Guarantee             streams.Guarantee
	// Numbers has it run only the numbering of readings; the others are for that.
	Numbers                                           bool
	InstanceID                                        string
	Standbys, Workers, SessionMillis, HeartbeatMillis int
}

// sessionTimeout is that of the instances.
const sessionTimeout = 6 * time.Second

// instanceMain runs an instance until SIGTERM, or until the process that has
// started it is gone. It logs JSON to its standard error, and its figures once a
// second.
func instanceMain(text string) int {
	log := slog.New(telling{slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})})
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		log.Error("specification", "error", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the other process
		stop()
	}()
	if err := s.run(ctx, log); err != nil {
		log.Error("run", "error", err)
		return 1
	}
	log.Info("ended")
	return 0
}

func (s *spec) run(ctx context.Context, log *slog.Logger) error {
	build := newTopology
	if s.Numbers {
		build = newNumbers
	}
	t, err := build(s.Application)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	done := make(chan struct{})
	defer close(done)
	go tellFigures(registry, log, done)
	cfg := streams.Config{
		Brokers: s.Brokers, StateDir: s.StateDir, Memory: 64 << 20, Workers: 2, Guarantee: s.Guarantee,
		SessionTimeout: sessionTimeout, Heartbeat: 500 * time.Millisecond, RebalanceTimeout: 20 * time.Second,
		Logger: log, Metrics: registry, InstanceID: s.InstanceID, Standby: streams.Standby{Replicas: s.Standbys},
	}
	if s.Workers > 0 {
		cfg.Workers = s.Workers
	}
	if s.SessionMillis > 0 {
		cfg.SessionTimeout = time.Duration(s.SessionMillis) * time.Millisecond
	}
	if s.HeartbeatMillis > 0 {
		cfg.Heartbeat = time.Duration(s.HeartbeatMillis) * time.Millisecond
	}
	if s.Guarantee == streams.AtLeastOnce {
		cfg.CommitInterval = 300 * time.Millisecond
	}
	return streams.Run(ctx, t, cfg)
}

// tellFigures logs, once a second, how many commits there were and how long their
// steps took.
func tellFigures(registry *prometheus.Registry, log *slog.Logger, done <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		families, err := registry.Gather()
		if err != nil {
			log.Error("metrics", "error", err)
			continue
		}
		var commits uint64
		var seconds float64
		for _, f := range families {
			if f.GetName() != "millrace_commit_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				commits = max(commits, m.GetHistogram().GetSampleCount())
				seconds += m.GetHistogram().GetSampleSum()
			}
		}
		log.Info("figures", "commits", commits, "seconds", seconds)
	}
}

// telling is a handler that keeps from what is debugged only how the network
// fails.
type telling struct{ slog.Handler }

func (h telling) Handle(ctx context.Context, r slog.Record) error {
	network := []string{"fetch failed", "produce failed", "broker does not answer", "retrying"}
	if r.Level < slog.LevelInfo && !slices.ContainsFunc(network, func(s string) bool { return strings.HasPrefix(r.Message, s) }) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h telling) WithAttrs(attrs []slog.Attr) slog.Handler {
	return telling{h.Handler.WithAttrs(attrs)}
}
func (h telling) WithGroup(name string) slog.Handler { return telling{h.Handler.WithGroup(name)} }
