package changelog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog"
)

func TestCheckTopicTellsEveryMistake(t *testing.T) {
	good := changelog.Topic{Name: "a-s-changelog", Partitions: 4, Config: changelog.TopicConfig()}
	if err := changelog.CheckTopic(good, 4); err != nil {
		t.Errorf("a topic made with TopicConfig: %v", err)
	}
	bad := changelog.Topic{Name: "a-s-changelog", Partitions: 3, Config: map[string]string{
		"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime",
	}}
	err := changelog.CheckTopic(bad, 4)
	for _, want := range []error{changelog.ErrPartitions, changelog.ErrPolicy, changelog.ErrTimestamps} {
		if !errors.Is(err, want) {
			t.Errorf("%v\ndoes not wrap %v", err, want)
		}
	}
	for _, want := range []string{"a-s-changelog has 3, the sub-topology has 4 tasks", `"compact,delete"`, "LogAppendTime"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
}

func TestTopicNameIsThatOfKafkaStreams(t *testing.T) {
	if got, want := changelog.TopicName("llm-metrics", "model-stats"), "llm-metrics-model-stats-changelog"; got != want {
		t.Errorf("TopicName = %q, want %q", got, want)
	}
}

func TestDeleteRetentionOfATopic(t *testing.T) {
	for config, want := range map[string]time.Duration{
		"604800000": 7 * 24 * time.Hour, "": 24 * time.Hour, "x": 24 * time.Hour,
		"9223372036854775807": 9223372036854 * time.Millisecond,
	} {
		topic := changelog.Topic{Config: map[string]string{"delete.retention.ms": config}}
		if got := topic.DeleteRetention(); got != want {
			t.Errorf("delete.retention.ms %q: %v, want %v", config, got, want)
		}
	}
}
