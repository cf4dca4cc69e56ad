package streams

import (
	"context"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

// purge deletes what has been read and committed from repartition topics,
// which keep everything otherwise.
type purge struct {
	in *Instance

	mu     sync.Mutex
	before map[kafka.TopicPartition]int64
}

// committed notes that everything before next has been read.
func (p *purge) committed(topic string, partition int32, next int64) {
	if !p.in.isRepartition(topic) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before[kafka.TopicPartition{Topic: topic, Partition: partition}] = next
}

// run deletes from time to time until ctx ends. A failure is tried again the
// next time: nothing depends on it but disk space.
func (p *purge) run(ctx context.Context) {
	ticker := time.NewTicker(p.in.cfg.PurgeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		before := p.before
		p.before = map[kafka.TopicPartition]int64{}
		p.mu.Unlock()
		if len(before) == 0 {
			continue
		}
		if err := p.in.client.DeleteRecords(ctx, before); err != nil && ctx.Err() == nil {
			p.in.log.Warn("records of repartition topics were not deleted", "error", err)
		}
	}
}
