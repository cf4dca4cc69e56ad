package kafka

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

// versionTopicIDs is the first version of metadata that tells the ids of topics.
const versionTopicIDs = 10

// TopicID returns the id that a topic got when it was made, as text: one made
// anew under the same name has another. It is "" on a cluster without topic ids;
// brokers before Kafka 2.8 cannot be asked.
// A topic that does not exist is ErrUnknownTopic.
func (c *Client) TopicID(ctx context.Context, topic string) (id string, err error) {
	err = c.Retry(ctx, fmt.Sprintf("read the id of topic %q", topic), func(ctx context.Context) error {
		return c.anyBroker(ctx, func(b *sarama.Broker) error {
			r, err := b.GetMetadata(&sarama.MetadataRequest{Version: versionTopicIDs, Topics: []string{topic}})
			if err != nil {
				return err
			}
			for _, t := range r.Topics {
				if t.Name == topic {
					if id = ""; t.Uuid != (sarama.Uuid{}) {
						id = t.Uuid.String()
					}
					return answer(t.Err, nil)
				}
			}
			return answer(sarama.ErrUnknownTopicOrPartition, nil)
		})
	})
	return id, err
}
