package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
)

// ErrTopic is wrapped by errors about topics of the application that exist but
// do not fit.
var ErrTopic = errors.New("streams: topic does not fit the topology")

// repartitionConfig is that of Kafka Streams: nothing expires by time, and what
// was read is deleted by the application.
var repartitionConfig = map[string]string{
	"cleanup.policy": "delete", "segment.bytes": "52428800", "retention.ms": "-1", "message.timestamp.type": "CreateTime",
}

// prepareTopics makes the application's own topics, or checks those there are.
func (in *Instance) prepareTopics(ctx context.Context, p *plan) error {
	var errs []error
	for _, t := range p.created {
		config := maps.Clone(repartitionConfig)
		if t.changelog {
			config = changelog.TopicConfig()
		}
		if t.deadLetter {
			config = nil
		}
		errs = append(errs, in.prepareTopic(ctx, t, config))
	}
	return errors.Join(errs...)
}

func (in *Instance) prepareTopic(ctx context.Context, t internalTopic, config map[string]string) error {
	if !in.cfg.NoCreate {
		if config != nil && in.cfg.MinInsyncReplicas > 0 {
			config = maps.Clone(config)
			config["min.insync.replicas"] = strconv.Itoa(in.cfg.MinInsyncReplicas)
		}
		created, err := in.client.CreateTopic(ctx, kafka.TopicSpec{
			Name: t.name, Partitions: t.partitions, Replication: in.cfg.ReplicationFactor, Configs: config,
		})
		if err != nil {
			return fmt.Errorf("create topic %q: %w", t.name, err)
		}
		if created {
			in.log.Info("topic created", "topic", t.name, "partitions", t.partitions)
			return nil
		}
	}
	d, err := in.client.DescribeTopic(ctx, t.name)
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return fmt.Errorf("%w: %q, with %d partitions: create it with 'millrace topics --create', or let instances create topics", ErrMissingTopic, t.name, t.partitions)
	}
	if err != nil {
		return fmt.Errorf("describe topic %q: %w", t.name, err)
	}
	described := changelog.Topic{Name: t.name, Partitions: int(d.Partitions), Config: d.Configs}
	in.mu.Lock()
	in.retention[t.name] = described.DeleteRetention()
	in.mu.Unlock()
	switch {
	case t.deadLetter:
		return nil
	case t.changelog:
		if err := changelog.CheckTopic(described, int(t.partitions)); err != nil {
			return fmt.Errorf("%w: %w", ErrTopic, err)
		}
	case d.Partitions != t.partitions:
		return fmt.Errorf("%w: repartition topic %q has %d partitions and the topology needs %d: the partitions of an input were changed, or another topology used the name; reset the application with 'millrace reset'", ErrTopic, t.name, d.Partitions, t.partitions)
	}
	return nil
}

// deadLetterTopic is where the application sends records that it cannot handle.
func deadLetterTopic(application string) internalTopic {
	return internalTopic{name: task.DeadLetterTopic(application), partitions: 1, deadLetter: true}
}
