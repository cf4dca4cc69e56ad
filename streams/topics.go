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

// ErrMissingTopic is wrapped by the errors about topics that the application
// reads or writes and that do not exist.
var ErrMissingTopic = task.ErrMissingTopic

// ErrNotCopartitioned is wrapped by the errors about topics that lead to one
// store and have different numbers of partitions.
var ErrNotCopartitioned = task.ErrNotCopartitioned

// ErrTopic is wrapped by errors about topics of the application that exist but
// do not fit.
var ErrTopic = errors.New("streams: topic does not fit the topology")

// repartitionConfig is that of Kafka Streams: nothing expires by time, and what
// was read is deleted by the application.
func repartitionConfig() map[string]string {
	return map[string]string{
		"cleanup.policy": "delete", "segment.bytes": "52428800", "retention.ms": "-1", "message.timestamp.type": "CreateTime",
	}
}

// prepareTopics makes the application's own topics, or checks those there are.
func (in *Instance) prepareTopics(ctx context.Context, p *task.Plan) error {
	var errs []error
	for _, t := range p.Internal {
		config := repartitionConfig()
		if t.Store != "" {
			config = changelog.TopicConfig()
		}
		d, err := in.prepareTopic(ctx, t.Name, t.Partitions, config)
		if err == nil && d != nil {
			err = in.checkTopic(t, d)
		}
		errs = append(errs, err)
	}
	if in.deadLetters() {
		topic := task.DeadLetterTopic(in.cfg.Application)
		_, err := in.prepareTopic(ctx, topic, p.Partitions[topic], nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// prepareTopic makes a topic and returns nil, or describes the one there is.
func (in *Instance) prepareTopic(ctx context.Context, name string, partitions int32, config map[string]string) (*kafka.TopicDescription, error) {
	if !in.cfg.NoCreate {
		if in.cfg.MinInsyncReplicas > 0 {
			config = maps.Clone(config)
			if config == nil {
				config = map[string]string{}
			}
			config["min.insync.replicas"] = strconv.Itoa(in.cfg.MinInsyncReplicas)
		}
		created, err := in.client.CreateTopic(ctx, kafka.TopicSpec{
			Name: name, Partitions: partitions, Replication: in.cfg.ReplicationFactor, Configs: config,
		})
		if err != nil {
			return nil, fmt.Errorf("create topic %q: %w", name, err)
		}
		if created {
			in.log.Info("topic created", "topic", name, "partitions", partitions)
			return nil, nil
		}
	}
	d, err := in.client.DescribeTopic(ctx, name)
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return nil, fmt.Errorf("%w: %q, with %d partitions: create it with 'millrace topics --create', or let instances create topics", ErrMissingTopic, name, partitions)
	}
	if err != nil {
		return nil, fmt.Errorf("describe topic %q: %w", name, err)
	}
	return &d, nil
}

// checkTopic checks that a topic which exists fits.
func (in *Instance) checkTopic(t task.InternalTopic, d *kafka.TopicDescription) error {
	if t.Store == "" {
		return in.checkRepartition(t, d)
	}
	described := changelog.Topic{Name: t.Name, Partitions: int(d.Partitions), Config: d.Configs}
	in.mu.Lock()
	in.retention[t.Name] = described.DeleteRetention()
	in.mu.Unlock()
	var errs []error
	if d.Partitions != t.Partitions {
		errs = append(errs, in.explainPartitions(t, d.Partitions))
		described.Partitions = int(t.Partitions)
	}
	if err := changelog.CheckTopic(described, int(t.Partitions)); err != nil {
		errs = append(errs, fmt.Errorf("%w: %w", ErrTopic, err))
	}
	return errors.Join(errs...)
}

// checkRepartition checks a repartition topic. Markers have no keys, which a
// compacted topic refuses; events keep the times that they came with, so that
// old ones are gone at once if the topic expires them.
func (in *Instance) checkRepartition(t task.InternalTopic, d *kafka.TopicDescription) error {
	var errs []error
	if d.Partitions != t.Partitions {
		errs = append(errs, in.explainPartitions(t, d.Partitions))
	}
	for _, setting := range []string{"cleanup.policy", "message.timestamp.type"} {
		want := repartitionConfig()[setting]
		if got := d.Configs[setting]; got != "" && got != want {
			errs = append(errs, fmt.Errorf("%w: repartition topic %q has %s=%s, it must be %s: set it with kafka-configs.sh --alter --topic %s --add-config %s=%s",
				ErrTopic, t.Name, setting, got, want, t.Name, setting, want))
		}
	}
	if got := d.Configs["retention.ms"]; got != "" && got != "-1" {
		in.log.Warn("a repartition topic deletes records by their age: old events may be lost before they are read; set retention.ms=-1", "topic", t.Name, "retention.ms", got)
	}
	return errors.Join(errs...)
}
