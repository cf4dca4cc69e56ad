package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
)

// get asks for a page until it answers with the status.
func get(t *testing.T, url string, status int) string {
	t.Helper()
	var client http.Client
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patienceOfTests)
	for {
		resp, err := client.Get(url)
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == status {
				return string(body)
			}
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s does not answer %d: %v", url, status, err)
		}
	}
}

// serving starts run and returns its URL once it is ready.
func serving(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	p := start(t, append([]string{"run", "--http=127.0.0.1:0"}, args...)...)
	url := "http://" + p.err.await(t, `queries are answered.*"address":"([^"]+)"`)
	get(t, url+"/readyz", http.StatusOK)
	return p, url
}

func TestReplayRunQueryResetAsAUserDoes(t *testing.T) {
	_, brokers := newCluster(t)
	state := "--state=" + t.TempDir()

	start(t, "replay", brokers, "--trace=code", "--events=12000", "--partitions=2").wait(exitOK).
		wants("12000 events", "llm.performance, 2 partitions", "topic created")

	p, url := serving(t, brokers, state)
	var entries []query.Entry
	late := time.After(patienceOfTests)
	for models := map[string]bool{}; len(models) < 2; {
		q := start(t, "query", "model-stats", "--http", url).wait(exitOK)
		entries = nil
		for line := range strings.Lines(q.out.String()) {
			var e query.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			entries = append(entries, e)
			models[string(e.Key)] = true
		}
		select {
		case <-late:
			t.Fatalf("the store does not fill: %s", p.err)
		default:
		}
	}
	if e := entries[0]; e.Window == nil || !strings.HasPrefix(string(e.Key), `"code-`) {
		t.Errorf("%+v", e)
	}
	one := start(t, "query", "--http", url, "model-stats", "code-small", "--from=2020-01-01T00:00:00Z", "--limit", "1").wait(exitOK)
	if n := strings.Count(one.out.String(), "\n"); n != 1 || !strings.Contains(one.out.String(), `"code-small"`) {
		t.Errorf("one entry was asked for:\n%s", one.out)
	}
	start(t, "query", "--http", url, "model-stats", "--from=2021-01-01T00:00:00Z", "--to=2021-01-02T00:00:00Z").wait(exitOK)
	start(t, "query", "--http", url, "nothing").wait(exitFailure).wants(`no store "nothing"`, "model-stats")
	start(t, "query", "--http", url, "model-stats", "--from=yesterday").wait(exitUsage).wants("RFC 3339")
	if body := get(t, url+"/metrics", http.StatusOK); !strings.Contains(body, "millrace_records_total") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics:\n%.2000s", body)
	}

	start(t, "reset", brokers, state).wait(exitFailure).wants("has 1 members", "stop all instances")
	p.stop()
	p.wait(exitOK)
	start(t, "query", "--http", url, "model-stats").wait(exitFailure).wants("no instance answers", "--http")

	bounded := start(t, "run", "--http=127.0.0.1:0", brokers, state, "--until-end").wait(exitOK)
	if bounded.lastLine() != equal(12000) {
		t.Errorf("the bounded run ends with %q", bounded.lastLine())
	}

	kept := filepath.Join(strings.TrimPrefix(state, "--state="), "llm-metrics")
	start(t, "reset", brokers, state).wait(exitOK).
		wants("llm.performance, 2 partitions", "llm-metrics-model-stats-changelog", "llm-metrics-by-model-repartition", kept, "Nothing was deleted")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	start(t, "reset", brokers, state, "--execute").wait(exitOK).wants("Done.")
	if _, err := os.Stat(kept); err == nil {
		t.Errorf("%s is still there", kept)
	}
	start(t, "topics", brokers).wait(exitFailure).wants("are missing", "--create")
	start(t, "reset", brokers, state).wait(exitOK).wants("nothing to reset")

	again := start(t, "run", "--http=127.0.0.1:0", brokers, state, "--until-end").wait(exitOK)
	if again.lastLine() != equal(12000) {
		t.Errorf("after a reset the bounded run ends with %q", again.lastLine())
	}
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=500").wait(exitOK)
	write(t, cluster, llm.PerformanceTopic, []byte("not an event"))
	begin := []string{"run", brokers, "--http=127.0.0.1:0", "--state", t.TempDir()}
	start(t, begin...).wait(exitFailure).wants("llm.performance/0@", "--on-error dead-letter")
	start(t, append(begin, "--until-end", "--on-error=skip")...).wait(exitUsage).wants("--until-end accounts for every event")

	start(t, "topics", brokers, "--on-error=dead-letter").wait(exitFailure).wants("llm-metrics-dlq")
	p, url := serving(t, append(begin[1:], "--on-error=dead-letter")...)
	p.err.await(t, "(record dropped)")
	metrics := get(t, url+"/metrics", http.StatusOK)
	if want := `millrace_dropped_records_total{application="llm-metrics",node="llm.performance",reason="dead_letter"} 1`; !strings.Contains(metrics, want) {
		t.Errorf("no %s in\n%s", want, metrics)
	}
	p.stop()
	p.wait(exitOK)
}

func TestTwoBoundedInstancesGiveOneAccount(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=conv", "--events=60000").wait(exitOK)
	start(t, "topics", brokers, "--create").wait(exitOK)
	var both []*process
	for range 2 {
		both = append(both, start(t, "run", brokers, "--http=127.0.0.1:0", "--until-end", "--state", t.TempDir(), "--no-create"))
	}
	for _, p := range both {
		if p.wait(exitOK).lastLine() != equal(60000) {
			t.Errorf("the last line is %q", p.lastLine())
		}
	}
}

func TestABoundedRunThatDiffersFails(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=500").wait(exitOK)
	start(t, "topics", brokers, "--create").wait(exitOK)
	forge(t, cluster)
	p := start(t, "run", brokers, "--http=127.0.0.1:0", "--until-end", "--state", t.TempDir()).wait(exitFailure)
	if !strings.HasPrefix(p.lastLine(), "500 events in = 507 in final windows") || !strings.HasSuffix(p.lastLine(), "differs") {
		t.Errorf("the last line is %q", p.lastLine())
	}
	p.wants("a result of 7 events where none was sent", "made-up")
}

// forge writes a result that nobody has computed.
func forge(t *testing.T, cluster *embedded.Cluster) {
	t.Helper()
	value, err := llm.ResultJSON.Append(nil, llm.Result{Key: "made-up", Count: 7, Final: true, WindowEnd: 300_000})
	if err != nil {
		t.Fatal(err)
	}
	write(t, cluster, llm.StatsTopic, value)
}

// write writes a record to partition 0 of a topic.
func write(t *testing.T, cluster *embedded.Cluster, topic string, value []byte) {
	t.Helper()
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	producer, err := client.NewProducer(t.Context(), kafka.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	err = producer.Send(topic, 0, []byte("made-up"), value, time.Now().UnixMilli(), nil)
	if err == nil {
		err = producer.Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunStopsWhileItWaitsForACluster(t *testing.T) {
	p := start(t, "run", "--http=127.0.0.1:0", "--brokers=127.0.0.1:1", "--state", t.TempDir())
	p.err.await(t, "(no broker answers yet)")
	p.stop()
	p.wait(exitOK)
}

func TestRunStopsCleanlyAtAnyMoment(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code").wait(exitOK)
	for _, moment := range []string{`(starting)`, `(topic created)`, `(queries are answered)`, `(restoring)`, `(running)`} {
		p := start(t, "run", brokers, "--http=127.0.0.1:0", "--application", "stopped-"+strings.Trim(moment[:4], "()"), "--state", t.TempDir())
		p.err.await(t, moment)
		p.stop()
		p.wait(exitOK)
	}
}

func TestAuthenticatedConnections(t *testing.T) {
	cluster, err := embedded.Start(embedded.Config{Options: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "millrace", "secret")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	dir := t.TempDir()
	file, password := filepath.Join(dir, "millrace.yaml"), filepath.Join(dir, "password")
	text := "brokers: " + cluster.Addrs()[0] + "\nsasl: {mechanism: SCRAM-SHA-256, user: millrace, password_file: " + password + "}\n"
	for name, content := range map[string]string{file: text, password: "secret\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "topics", "--create", "--config", file).wait(exitOK)
	start(t, "replay", "--config", file, "--trace=code", "--events=100").wait(exitOK)
	p := start(t, "run", "--config", file, "--until-end", "--http=127.0.0.1:0", "--state", dir).wait(exitOK)
	if p.lastLine() != equal(100) {
		t.Errorf("%s", p.lastLine())
	}
	p = start(t, "MILLRACE_SASL_PASSWORD=hunter2", "topics", "--config", file).wait(exitFailure)
	p.wants("wrong user or password")
	if strings.Contains(p.err.String(), "hunter2") {
		t.Errorf("the password shows: %s", p.err)
	}
}

func TestRunTellsWhatIsMissing(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "run", "--http=127.0.0.1:0", brokers, "--state", t.TempDir()).wait(exitFailure).wants("missing topic", `"llm.performance"`, "topics --create")
	start(t, "replay", brokers, "--trace=conv", "--events=10").wait(exitOK)
	start(t, "run", "--http=127.0.0.1:0", brokers, "--no-create", "--sources=performance", "--state", t.TempDir()).wait(exitFailure).
		wants("missing topic", `"llm.stats"`, "topics --create")
	start(t, "run", "--http=127.0.0.1:0", brokers, "--no-create", "--state", t.TempDir()).wait(exitFailure).wants("missing topic", `"llm.feedback"`)
	file := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(file, []byte("sources: {feedback: {topic: mine}, system: {enabled: false}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "run", "--http=127.0.0.1:0", brokers, "--config", file, "--state", t.TempDir()).wait(exitFailure).
		wants("missing topic", `"mine"`, "topics --create", `"topic":"llm.experiment"`)
	start(t, "run", brokers, "--config", file, "--sources=system,nothing").wait(exitUsage).wants(`unknown source "nothing"`)
	start(t, "run", brokers, "--config", file, "--sources=system").wait(exitUsage).wants("sources.system.enabled is false")
	start(t, "topics", brokers).wait(exitFailure).wants("llm.response      ") // made by run, and no other
}

func TestRunRefusesAStateFolderOfOthers(t *testing.T) {
	_, brokers := newCluster(t)
	dir := t.TempDir()
	start(t, "topics", brokers, "--create").wait(exitOK)
	_, _ = serving(t, brokers, "--state", dir)
	start(t, "run", "--http=127.0.0.1:0", brokers, "--state", dir).wait(exitFailure).wants("another instance", dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "run", "--http=127.0.0.1:0", brokers, "--state", file).wait(exitFailure).wants(file, "--state")
	other := t.TempDir()
	if err := os.Mkdir(filepath.Join(other, "llm-metrics"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, "reset", brokers, "--state", other).wait(exitUsage).wants(other, "does not hold the state")
}

func TestTopicsListsAndMakes(t *testing.T) {
	_, brokers := newCluster(t)
	p := start(t, "topics", brokers, "--partitions=3").wait(exitFailure)
	p.wants("llm.performance", "llm.anomalies", "29 are missing")
	const only = "--sources=performance"
	start(t, "topics", brokers, "--create", "--partitions=3", only).wait(exitOK)
	p = start(t, "topics", brokers, only).wait(exitOK)
	want := `TOPIC                                KIND         PARTITIONS  STATE
llm.performance                      input        3           exists
llm.anomalies                        output       3           exists
llm.late                             output       3           exists
llm.stats                            output       3           exists
llm-metrics-by-model-repartition     repartition  3           exists
llm-metrics-model-signals-changelog  changelog    3           exists
llm-metrics-model-stats-changelog    changelog    3           exists
llm-metrics-by-model-meta-changelog  changelog    3           exists
`
	if p.out.String() != want {
		t.Errorf("%s", p.out)
	}
	serving(t, brokers, "--no-create", "--state", t.TempDir(), only)
}

func TestTheWholeApplicationAsAUserRunsIt(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--kinds=all", "--events=4000", "--partitions=2").wait(exitOK).
		wants("4000 events", "to llm.response, 2 partitions", "to llm.system, 2 partitions")
	start(t, "replay", brokers, "--kinds=feedback,others").wait(exitUsage).wants(`--kinds "others"`, "performance, feedback")
	state := "--state=" + t.TempDir()
	p := start(t, "run", "--http=127.0.0.1:0", brokers, state, "--until-end").wait(exitOK)
	if p.lastLine() != equal(4000) {
		t.Errorf("the last line is %q", p.lastLine())
	}
	p.wants("response: "+equal(4000), "feedback: ", "system: ", "experiment: ")
	if text := p.out.String(); strings.Count(text, "direct computation: equal") != 5 {
		t.Errorf("%s", text)
	}
	_, url := serving(t, brokers, state)
	for store, field := range map[string]string{
		"session-stats": "rating_mean", "response-stats": "ttft_ms", "component-stats": "availability",
		"experiment-stats": "p_holm",
	} {
		if q := start(t, "query", "--http", url, store).wait(exitOK); !strings.Contains(q.out.String(), field) {
			t.Errorf("%s has no %s:\n%.500s", store, field, q.out)
		}
	}
}

func TestReplayReadsFilesAndRepeats(t *testing.T) {
	_, brokers := newCluster(t)
	file := filepath.Join(t.TempDir(), "trace.csv")
	text := "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "replay", brokers, "--trace", file, "--topic=mine", "--duplicates=1").wait(exitOK).wants("4 events", "to mine, 4 partitions")
	start(t, "replay", brokers, "--trace", file, "--topic=mine", "--events=50", "--partitions=2").wait(exitOK).
		wants("50 events", "another number of partitions")
	start(t, "replay", brokers, "--trace", file+".gone").wait(exitUsage).wants("--trace", file)
	if err := os.WriteFile(file, []byte("a\nb,c,d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "replay", brokers, "--trace", file).wait(exitFailure).wants(file + ":2")
}

func TestWaitingForAClusterEndsWithTheCause(t *testing.T) {
	top, err := llm.NewTopology(llm.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := streams.Config{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler)}
	_, err = waitForCluster(t.Context(), top, cfg, 500*time.Millisecond)
	if !errors.Is(err, kafka.ErrUnavailable) || !strings.HasPrefix(err.Error(), "after 500ms: ") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

func TestUnreachableBrokersFail(t *testing.T) {
	for _, command := range []string{"topics", "reset", "replay"} {
		start(t, command, "--brokers=127.0.0.1:1").wait(exitFailure).wants("127.0.0.1:1", "connection refused", "check the addresses")
	}
}
