//go:build integration

package checkpoint_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/changelog/objectstore"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// recoveryEnv is how many MiB of state TestRecovery makes; 16 without it.
// recoveryTimesEnv is set to 1 to leave out the long changelog.
const recoveryEnv, recoveryTimesEnv = "MILLRACE_RECOVERY_MIB", "MILLRACE_RECOVERY_TIMES"

// TestRecovery prints how long an instance with an empty disk takes until it runs,
// with a checkpoint and without, and one that has its state, for a changelog that
// holds each key once and for one that holds it ten times.
func TestRecovery(t *testing.T) {
	mib := 16
	if text := os.Getenv(recoveryEnv); text != "" {
		var err error
		if mib, err = strconv.Atoi(text); err != nil || mib < 1 {
			t.Fatalf("%s is %q: want a number of MiB", recoveryEnv, text)
		}
	}
	gateway := servers.NewS3(t)
	t.Logf("%d MiB of state in values of 1,000 random bytes, one task; %d processors", mib, runtime.NumCPU())
	for _, times := range []int{1, 10} {
		if times > 1 && os.Getenv(recoveryTimesEnv) == "1" {
			break
		}
		c := newCluster(t)
		r := c.recovery(fmt.Sprint("recovery-", times), gateway.URL("recovery"), mib, times)
		fromLog := r.run(false, streams.Running)
		intact := r.run(true, "") // makes the checkpoint
		size := r.bytes()
		fromCheckpoint := r.fresh().run(true, streams.Running)
		t.Logf("changelog of %2d times the state: %6.1f s from the changelog, %6.1f s from a checkpoint of %d MiB, %6.1f s with the state there",
			times, fromLog.Seconds(), fromCheckpoint.Seconds(), size>>20, intact.Seconds())
		if n := r.restores; n != 1 {
			t.Errorf("%d restores began from a checkpoint, want 1", n)
		}
	}
}

// recovery is an application whose changelog was written beforehand.
type recovery struct {
	c                  *cluster
	topology           *topology.Topology
	state, checkpoints string
	restores           int
}

func (c *cluster) recovery(name, checkpoints string, mib, times int) *recovery {
	c.t.Helper()
	in := c.name(name + "-in")
	c.create(in, 1, nil)
	b := topology.New(c.name(name))
	kept := topology.KeyValueStore(b, "state", codec.String, codec.Bytes)
	topology.Process(topology.Source(b, in, codec.String, codec.Bytes), func() topology.Processor[string, []byte, string, []byte] {
		return &keeper{store: kept}
	}, topology.Uses(kept))
	top, err := b.Build()
	if err != nil {
		c.t.Fatal(err)
	}
	topic := changelog.TopicName(top.Application(), "state")
	settings := changelog.TopicConfig()
	never := "9223372036854775807" // nothing is compacted, so that the log stays as long as it is made
	settings["min.compaction.lag.ms"], settings["max.compaction.lag.ms"] = never, never
	c.create(topic, 1, settings)
	rnd := rand.NewChaCha8([32]byte{1})
	for range times {
		records := make([]*kgo.Record, 0, 1<<10)
		for k := range mib << 10 {
			value := make([]byte, 1000)
			_, _ = rnd.Read(value) // it never fails
			records = append(records, &kgo.Record{Topic: topic, Key: binary.BigEndian.AppendUint32([]byte("key-"), uint32(k*2654435761)), Value: value})
			if len(records) == cap(records) || k == mib<<10-1 {
				if err := c.client.ProduceSync(c.t.Context(), records...).FirstErr(); err != nil {
					c.t.Fatal(err)
				}
				records = records[:0]
			}
		}
	}
	return &recovery{c: c, topology: top, state: c.t.(*testing.T).TempDir(), checkpoints: checkpoints}
}

// fresh gives the instance an empty disk.
func (r *recovery) fresh() *recovery {
	if err := os.RemoveAll(r.state); err != nil {
		r.c.t.Fatal(err)
	}
	return r
}

// run runs an instance until it is in a state, or, with "", until a checkpoint was
// stored. It returns when it ran.
func (r *recovery) run(checkpoints bool, state streams.State) (ran time.Duration) {
	t := r.c.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	began := time.Now()
	cfg := streams.Config{
		Brokers: r.c.brokers, StateDir: r.state, Memory: 256 << 20, Logger: slog.New(slog.DiscardHandler),
		Listener: streams.Listener{
			State: func(_, to streams.State) {
				if to == streams.Running {
					ran = time.Since(began)
				}
				if to == state {
					cancel()
				}
			},
			Checkpoint: func(_ streams.TaskID, s streams.CheckpointState) {
				switch {
				case s == streams.CheckpointRestored:
					r.restores++
				case s == streams.CheckpointFailed:
					t.Error("a checkpoint could not be stored")
				case state == "":
					cancel()
				}
			},
		},
	}
	if checkpoints {
		store, err := objectstore.Open(t.Context(), r.checkpoints)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		cfg.Checkpoints = streams.Checkpoints{Store: store, Interval: time.Second}
	}
	if err := streams.Run(ctx, r.topology, cfg); err != nil {
		t.Fatal(err)
	}
	return ran
}

// bytes is how large the local state is.
func (r *recovery) bytes() (sum int64) {
	_ = filepath.Walk(r.state, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// keeper keeps the last value of each key.
type keeper struct {
	store topology.KeyValue[string, []byte]
	state *topology.State[string, []byte]
}

func (k *keeper) Init(ctx *topology.Context[string, []byte]) (err error) {
	k.state, err = k.store.In(ctx)
	return err
}

func (k *keeper) Process(r topology.Record[string, []byte]) error { return k.state.Put(r.Key, r.Value) }
func (k *keeper) Close() error                                    { return nil }
