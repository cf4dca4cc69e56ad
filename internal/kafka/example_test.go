package kafka_test

import (
	"context"
	"fmt"
	"log"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
)

// printer prints what arrives and tells when it has printed enough.
type printer struct {
	left int
	done chan struct{}
}

func (p *printer) Deliver(d *kafka.Delivery) {
	for i := range d.Batches {
		for r := range d.Batches[i].All() {
			fmt.Printf("%v offset %d: %s = %s\n", d.TopicPartition, r.Offset, r.Key, r.Value)
			if p.left--; p.left == 0 {
				close(p.done)
			}
		}
	}
}

func Example() {
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()

	ctx := context.Background()
	client, err := kafka.Open(ctx, kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.CreateTopic(ctx, kafka.TopicSpec{Name: "greetings", Partitions: 1, Replication: -1}); err != nil {
		log.Fatal(err)
	}

	producer, err := client.NewProducer(ctx, kafka.ProducerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	for _, name := range []string{"world", "moon"} {
		if err := producer.Send("greetings", 0, []byte(name), []byte("hello"), 1_700_000_000_000, nil); err != nil {
			log.Fatal(err)
		}
	}
	if err := producer.Flush(ctx); err != nil {
		log.Fatal(err)
	}

	fetcher, err := client.NewFetcher(kafka.FetchConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer fetcher.Close()
	sink := &printer{left: 2, done: make(chan struct{})}
	fetcher.Add(kafka.TopicPartition{Topic: "greetings"}, 0, sink)
	<-sink.done
	// Output:
	// greetings-0 offset 0: world = hello
	// greetings-0 offset 1: moon = hello
}
