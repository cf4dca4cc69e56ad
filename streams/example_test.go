package streams_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Example counts the records of each key up to the end of the topic.
func Example() {
	kafka, err := embedded.Start(embedded.Config{Topics: map[string]int32{"clicks": 2, "totals": 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer kafka.Close()
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Addrs()...), kgo.ConsumeTopics("totals"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, user := range []string{"ann", "bob", "ann"} {
		client.ProduceSync(ctx, &kgo.Record{Topic: "clicks", Key: []byte(user), Value: []byte("/")})
	}

	b := topology.New("click-totals")
	topology.Source(b, "clicks", codec.String, codec.String).GroupByKey(codec.String, codec.String).
		WindowedBy(window.Tumbling(24*time.Hour)).Count(topology.Store("totals")).Stream().
		To("totals", codec.String, codec.Int64)
	t, err := b.Build()
	if err == nil {
		err = streams.Run(ctx, t, streams.Config{Brokers: kafka.Addrs(), StateDir: dir, UntilEnd: true})
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	for n := 0; n < 2; {
		for _, r := range client.PollFetches(ctx).Records() {
			total, err := codec.Int64.Decode(r.Value)
			fmt.Println(string(r.Key), total, err)
			n++
		}
	}
	// Unordered output:
	// ann 2 <nil>
	// bob 1 <nil>
}
