package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/llm"
)

func TestDeadLettersAsAnOperatorHandlesThem(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=200").wait(exitOK)
	start(t, "dlq", "list", brokers).wait(exitFailure).wants("llm-metrics-dlq", "dead-letter")
	for n := range 3 {
		write(t, cluster, llm.PerformanceTopic, fmt.Appendf(nil, "not an event %d", n))
	}
	p, url := serving(t, brokers, "--on-error=dead-letter", "--state", t.TempDir(), "--commit=50ms")
	for range 3 {
		p.err.await(t, "(record dropped)")
	}
	metrics := get(t, url+"/metrics", http.StatusOK)
	if !strings.Contains(metrics, `reason="dead_letter"} 3`) {
		t.Errorf("metrics:\n%.500s", metrics)
	}
	p.stop()
	p.wait(exitOK)

	lines := func(p *process) (all []letterLine) {
		t.Helper()
		for text := range strings.Lines(p.out.String()) {
			var l letterLine
			if json.Unmarshal([]byte(text), &l) == nil && l.At != "" {
				all = append(all, l)
			}
		}
		return all
	}
	all := lines(start(t, "dlq", "list", brokers).wait(exitOK))
	if len(all) != 3 || all[0].Node != llm.PerformanceTopic || all[0].Topic != llm.PerformanceTopic || all[0].Exception == "" || all[0].Replayed != "" {
		t.Fatalf("letters %+v", all)
	}
	if n := len(lines(start(t, "dlq", brokers, "list", "--limit=2").wait(exitOK).wants("There are more"))); n != 2 {
		t.Errorf("%d letters with a limit of 2", n)
	}
	place := []string{fmt.Sprint("--partition=", all[1].Partition), fmt.Sprint("--offset=", all[1].Offset)}
	start(t, append([]string{"dlq", "show", brokers}, place...)...).wait(exitOK).wants("not an event", `"message"`)
	start(t, "dlq", "show", brokers).wait(exitUsage).wants("--partition")
	start(t, "dlq", "show", brokers, "--partition=0", "--offset=999").wait(exitFailure).wants("no such dead letter")
	start(t, "dlq", "bury", brokers).wait(exitUsage).wants("list, show or replay")
	start(t, "dlq", "list", brokers, "--offset=1", "--from=then", "--limit=0").wait(exitUsage).wants("--partition with it", "RFC 3339", "--limit 0")

	if n := len(lines(start(t, "dlq", "replay", brokers, "--limit=2").wait(exitOK).wants("Nothing was sent", "--execute"))); n != 2 {
		t.Errorf("%d letters would be sent", n)
	}
	start(t, "dlq", "replay", brokers, "--limit=2", "--execute").wait(exitOK).wants("2 letters were sent back. There are more", "letters 2 of 2")
	if all = lines(start(t, "dlq", "list", brokers).wait(exitOK)); all[0].Replayed == "" || all[1].Replayed == "" || all[2].Replayed != "" {
		t.Errorf("letters %+v", all)
	}
	start(t, "dlq", "replay", brokers, "--node=other", "--execute").wait(exitOK).wants("nothing to replay")
	start(t, "dlq", "replay", brokers, "--execute").wait(exitOK).wants("1 letters were sent back.")
	start(t, "dlq", "replay", brokers, "--execute").wait(exitOK).wants("nothing to replay")
	start(t, "dlq", "replay", brokers, "--again").wait(exitOK).wants("Nothing was sent")
}
