package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
)

// shipped returns the settings of a file of configs.
func shipped(t *testing.T, name string, args ...string) *settings {
	t.Helper()
	file := filepath.Join("..", "..", "configs", name)
	env := map[string]string{config.ColdURLVariable: "postgres://millrace@db:5432/metrics", "MILLRACE_CHECKPOINTS": "s3://state/production?region=eu-central-1"}
	s, err := settingsOf(t, env, append([]string{"--config", file, "--brokers", "a:1"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheShippedFilesSayWhatTheResearchDoes checks each value of the two files
// where it takes effect.
func TestTheShippedFilesSayWhatTheResearchDoes(t *testing.T) {
	s := shipped(t, "development.yaml")
	if s.llm.Size != time.Minute || s.llm.Lateness != 10*time.Second || s.llm.Delay != 5*time.Second {
		t.Errorf("development: windows of %v, lateness %v, delay %v", s.llm.Size, s.llm.Lateness, s.llm.Delay)
	}
	if s.streams.Storage == nil || s.streams.HotMemory != 256<<20 {
		t.Errorf("development: storage %v, %d bytes of hot state: want all in memory, up to 256 MiB", s.streams.Storage, s.streams.HotMemory)
	}
	s = shipped(t, "production.yaml", "--memory", "8GiB")
	if s.llm.Size != 5*time.Minute || s.llm.Lateness != 2*time.Minute || s.llm.Delay != 2*time.Minute || s.llm.Idle != 5*time.Minute {
		t.Errorf("production: windows of %v, lateness %v, delay %v, idle after %v", s.llm.Size, s.llm.Lateness, s.llm.Delay, s.llm.Idle)
	}
	c := s.streams
	if c.Storage != nil || c.HotMemory != 2<<30 || c.CacheMemory != 4<<30 || c.ProcessMemory != 8<<30 {
		t.Errorf("production: storage %v, hot %d, cache %d, process %d", c.Storage, c.HotMemory, c.CacheMemory, c.ProcessMemory)
	}
	if s.cold == nil || s.cold.Retention != 90*24*time.Hour || !s.llm.Cold || s.checkpoints == "" || c.Checkpoints.Interval != time.Minute {
		t.Errorf("production: cold tier %v, in the topology %v; checkpoints every %v at %q", s.cold, s.llm.Cold, c.Checkpoints.Interval, s.checkpoints)
	}
}

// TestTheShippedFilesServeOtherCommands does without the variables that tell an
// instance where PostgreSQL and the checkpoints are.
func TestTheShippedFilesServeOtherCommands(t *testing.T) {
	for _, name := range []string{"development.yaml", "production.yaml"} {
		start(t, "topology", "--config", filepath.Join("..", "..", "configs", name)).wait(exitOK).wants("model-stats")
	}
	start(t, "run", "--brokers=localhost:1", "--config", filepath.Join("..", "..", "configs", "production.yaml")).wait(exitUsage).
		wants(config.ColdURLVariable, "MILLRACE_CHECKPOINTS")
}

func TestResultsAreReplicatedWhereTheFileSays(t *testing.T) {
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "f.yaml"), filepath.Join(dir, "secret")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "hush\n")
	write(file, "state: {hot: {redis: {url: 'redis://redis-0', password_file: "+secret+", ttl: 30m, stores: [model-stats]}}}")
	s, err := settingsOf(t, nil, "--config", file, "--brokers", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	if r := s.redis; r == nil || r.URL != "redis://redis-0" || r.Password != "hush" || r.TTL != 30*time.Minute || len(s.streams.ReplicaStores) != 1 {
		t.Errorf("%v, stores %v", s.redis, s.streams.ReplicaStores)
	}
	top, err := s.topology()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.openReplica(top); err != nil || s.streams.Replica == nil {
		t.Fatalf("replica %v, %v", s.streams.Replica, err)
	}
	if err := s.streams.Replica.Close(); err != nil {
		t.Error(err)
	}
	s, err = settingsOf(t, map[string]string{config.RedisPasswordVariable: "whisper"}, "--config", file, "--brokers", "a:1")
	if err != nil || s.redis.Password != "whisper" {
		t.Errorf("with the variable: %v", err)
	}
	write(file, "state: {hot: {redis: {ttl: 30m}}}")
	if _, err = settingsOf(t, nil, "--config", file, "--brokers", "a:1"); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "state.hot.redis.url") {
		t.Errorf("without a URL: %v", err)
	}
	if s, err = settingsOf(t, nil, "--brokers", "a:1"); err != nil || s.redis != nil {
		t.Errorf("without any: %v, %v", s.redis, err)
	}
}
