package query_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// Example runs an instance with a server beside it, and asks for a count
// after each commit until it is there.
func Example() {
	err := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		kafka, err := embedded.Start(embedded.Config{Topics: map[string]int32{"clicks": 1}})
		if err != nil {
			return err
		}
		defer kafka.Close()
		if err := click(ctx, kafka.Addrs(), "ann", "ann", "ann"); err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "millrace")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)

		b := topology.New("clicks-by-user")
		topology.Source(b, "clicks", codec.String, codec.String).GroupByKey(codec.String, codec.String).
			Count(topology.Store("clicks"))
		t, err := b.Build()
		if err != nil {
			return err
		}
		ln, err := query.Listen(ctx, "127.0.0.1:0")
		if err != nil {
			return err
		}
		url := "http://" + ln.Addr().String()
		committed := make(chan struct{}, 1)
		instance, err := streams.New(t, streams.Config{
			Brokers: kafka.Addrs(), StateDir: dir, Advertise: url, Logger: slog.New(slog.DiscardHandler),
			Listener: streams.Listener{Committed: func([]processors.TaskID) {
				select {
				case committed <- struct{}{}:
				default:
				}
			}},
		})
		if err != nil {
			return err
		}
		server, err := query.New(instance, query.Config{Advertise: url})
		if err != nil {
			return err
		}
		ended := make(chan error, 2)
		go func() { ended <- instance.Run(ctx) }()
		go func() { ended <- server.Serve(ctx, ln) }()

		for found := false; !found && err == nil; {
			select {
			case <-committed:
				found, err = show(ctx, url+"/v1/stores/clicks/keys/ann")
			case err = <-ended:
				return err
			}
		}
		cancel()
		<-ended
		<-ended
		return err
	}()
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// {"store":"clicks","key":"ann","value":3,"time":1700000000000,"final":false,"partition":0,"stale":false}
}

// click produces a record for each user.
func click(ctx context.Context, brokers []string, users ...string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, user := range users {
		records = append(records, &kgo.Record{
			Topic: "clicks", Key: []byte(user), Value: []byte("/"), Timestamp: time.UnixMilli(1_700_000_000_000),
		})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// show prints what is at a URL, if there is something.
func show(ctx context.Context, url string) (found bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return false, nil
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return true, err
}
