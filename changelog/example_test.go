package changelog_test

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

// A task writes its changes to a log. Another instance restores its store from
// there.
func Example() {
	ctx := context.Background()
	topic := changelog.TopicName("shop", "prices")
	log := changelog.NewMemory()
	log.Create(topic, 1)

	open := func() (*stores.DB, *stores.KeyValue[string, int64], error) {
		db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
		if err != nil {
			return nil, nil, err
		}
		kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, int64]{
			Name: "prices", Key: codec.String, Value: codec.Int64,
		})
		return db, kv, err
	}
	write := func() error {
		db, prices, err := open()
		if err != nil {
			return err
		}
		defer db.Close()
		if err := prices.Put("apple", 3); err != nil {
			return err
		}
		changes, err := db.Collect()
		if err != nil {
			return err
		}
		for _, r := range changes.All() {
			if err := log.Append(topic, 0, r); err != nil {
				return err
			}
		}
		if err := log.Flush(ctx); err != nil {
			return err
		}
		next, _ := log.Next(topic, 0)
		return db.Commit(changes, map[string]int64{"prices": next}, time.Now().UnixMilli())
	}
	read := func() error {
		db, prices, err := open()
		if err != nil {
			return err
		}
		defer db.Close()
		err = changelog.Restore(ctx, changelog.Config{
			DB: db, Store: "prices", Log: log, Topic: topic, Clock: time.Now,
			Progress: func(p changelog.Progress) { fmt.Println("remaining:", p.Remaining) },
		})
		if err != nil {
			return err
		}
		price, ok, err := prices.Get("apple")
		fmt.Println("apple:", price, ok)
		return err
	}
	if err := write(); err != nil {
		fmt.Println(err)
		return
	}
	if err := read(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// remaining: 1
	// remaining: 0
	// apple: 3 true
}
