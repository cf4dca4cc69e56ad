package changelog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultDeleteRetention is how long a new changelog topic keeps tombstones. A
// store that was away for longer may have missed some, and is restored whole.
const DefaultDeleteRetention = 7 * 24 * time.Hour

// The settings of a topic that CheckTopic reads.
const (
	cleanupPolicy = "cleanup.policy"
	timestampType = "message.timestamp.type"
	deleteRetain  = "delete.retention.ms"
)

// TopicName returns the name of a store's changelog topic, which is the one
// that Kafka Streams gives it.
func TopicName(application, store string) string {
	return application + "-" + store + "-changelog"
}

// TopicConfig returns the settings of a new changelog topic. It is compacted and
// nothing else: with "compact,delete" a backfill of old events would lose its
// state at once.
func TopicConfig() map[string]string {
	return map[string]string{
		cleanupPolicy:                    "compact",
		timestampType:                    "CreateTime",
		deleteRetain:                     strconv.FormatInt(DefaultDeleteRetention.Milliseconds(), 10),
		"segment.bytes":                  strconv.Itoa(64 << 20),
		"message.timestamp.after.max.ms": "9223372036854775807",
	}
}

// Topic is what a broker says of a topic.
type Topic struct {
	Name       string
	Partitions int
	// Config holds the topic's settings, defaults included.
	Config map[string]string
}

// DeleteRetention returns for how long the topic keeps tombstones, or Kafka's
// default of a day if the broker does not say.
func (t Topic) DeleteRetention() time.Duration {
	ms, err := strconv.ParseInt(t.Config[deleteRetain], 10, 64)
	if err != nil || ms < 0 {
		return 24 * time.Hour
	}
	return time.Duration(min(ms, int64(1<<63-1)/int64(time.Millisecond))) * time.Millisecond
}

// CheckTopic returns every reason why a topic cannot be the changelog of a store
// of wantPartitions tasks, joined; each wraps ErrPartitions, ErrPolicy or
// ErrTimestamps.
func CheckTopic(t Topic, wantPartitions int) error {
	var errs []error
	if t.Partitions != wantPartitions {
		errs = append(errs, fmt.Errorf("%w: %s has %d, the sub-topology has %d tasks: reset the application, or give the store a new name",
			ErrPartitions, t.Name, t.Partitions, wantPartitions))
	}
	policies := strings.FieldsFunc(t.Config[cleanupPolicy], func(r rune) bool { return r == ',' || r == ' ' })
	if len(policies) != 1 || policies[0] != "compact" {
		errs = append(errs, fmt.Errorf("%w: %s has %s=%q, it must be \"compact\", or state is lost: set it with kafka-configs.sh --alter --topic %s --add-config %s=compact",
			ErrPolicy, t.Name, cleanupPolicy, t.Config[cleanupPolicy], t.Name, cleanupPolicy))
	}
	if got := t.Config[timestampType]; got != "" && got != "CreateTime" {
		errs = append(errs, fmt.Errorf("%w: %s has %s=%s, it must be CreateTime: set it with kafka-configs.sh --alter --topic %s --add-config %s=CreateTime",
			ErrTimestamps, t.Name, timestampType, got, t.Name, timestampType))
	}
	return errors.Join(errs...)
}
