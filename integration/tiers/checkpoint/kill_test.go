//go:build integration

package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/changelog/objectstore"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/stores"
)

// partitions of the input, and so tasks.
const partitions = 2

// tally is the application under test with its topics.
func (c *cluster) tally(name, checkpoints string) spec {
	c.t.Helper()
	s := spec{
		Brokers: c.brokers, Application: c.name(name), In: c.name(name + "-in"), Out: c.name(name + "-out"),
		StateDir: c.t.(*testing.T).TempDir(), Checkpoints: checkpoints, Interval: 100 * time.Millisecond,
	}
	c.create(s.In, partitions, nil)
	c.create(s.Out, partitions, nil)
	return s
}

// TestKilledUploadsLeaveNoTornState kills an instance at random points of its
// uploads, which follow one another, and begins again on an empty disk each time.
func TestKilledUploadsLeaveNoTornState(t *testing.T) { killedUploads(t, 10) }

func killedUploads(t *testing.T, seeds uint64) {
	gateway := servers.NewS3(t)
	c := newCluster(t)
	s := c.tally("killed", gateway.URL("killed"))
	l := c.load(s.In, partitions, 2000)
	began, kills := 0, 0
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 5))
		if err := os.RemoveAll(s.StateDir); err != nil {
			t.Fatal(err)
		}
		p := start(t, s)
		p.await(1, "state=running was=")
		<-time.After(time.Duration(rnd.IntN(900)) * time.Millisecond) // the point of the kill
		p.kill()
		kills++
		began += p.count("state begins from a checkpoint")
		if n := p.count("reason=damaged"); n > 0 {
			t.Errorf("seed %d: %d checkpoints were damaged", seed, n)
		}
		t.Logf("seed %d: killed after %d checkpoints; %d tasks had begun from one", seed, p.count("checkpoint stored"), p.count("state begins from a checkpoint"))
	}
	// The first process finds none. A checkpoint that was stored once is there for all
	// that follow, so that each task of these begins from one; two more of them may
	// have been killed before the first was.
	if want := (kills - 3) * partitions; began < want {
		t.Errorf("of %d tasks %d began from a checkpoint, want at least %d", kills*partitions, began, want)
	}
	if err := os.RemoveAll(s.StateDir); err != nil {
		t.Fatal(err)
	}
	p := start(t, s)
	p.await(1, "state=running was=")
	sent := l.end()
	c.counted(s, sent)
	p.stop()
	whole(t, s, gateway.URL("killed"))

	// The same state from the whole changelog.
	again := s
	again.Checkpoints, again.StateDir = "", t.TempDir()
	q := start(t, again)
	q.await(1, "state=running was=")
	q.stop()
	for task := range partitions {
		fromCheckpoint, fromLog := entries(t, s, task), entries(t, again, task)
		if len(fromLog) != keys || !maps.EqualFunc(fromCheckpoint, fromLog, bytes.Equal) {
			t.Errorf("task %d: %d entries by way of checkpoints, %d from the changelog, or they differ", task, len(fromCheckpoint), len(fromLog))
		}
	}
}

// counted waits until each key was counted as often as it was sent, at least.
func (c *cluster) counted(s spec, sent map[string]int64) {
	c.t.Helper()
	until(c.t, "all records are counted", func() bool {
		got := c.counts(s.Out)
		for key, n := range sent {
			if got[key] < n {
				return false
			}
		}
		return true
	})
}

// whole expects that the newest checkpoint of each task is whole.
func whole(t *testing.T, s spec, url string) {
	t.Helper()
	store, err := objectstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	set := changelog.NewCheckpoints(changelog.CheckpointConfig{Store: store, Application: s.Application})
	all, err := set.List(t.Context(), "")
	if err != nil || len(all) < partitions || len(all) > partitions*(changelog.DefaultKeep+1) {
		t.Fatalf("there are %d checkpoints: %v", len(all), err)
	}
	for _, made := range all {
		m, err := set.Read(t.Context(), made)
		if err == nil {
			err = set.Verify(t.Context(), m)
		}
		if err != nil {
			t.Errorf("checkpoint %s: %v", made.Key, err)
		}
	}
}

// entries returns the entries of the store of counts in a task's database.
func entries(t *testing.T, s spec, partition int) map[string][]byte {
	t.Helper()
	resources := stores.NewPebbleResources(1<<20, 16, 1)
	defer resources.Close()
	dir := filepath.Join(s.StateDir, s.Application, "0_"+string(rune('0'+partition)))
	engine, err := stores.OpenPebble(stores.PebbleConfig{Dir: dir, Resources: resources})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	h := fnv.New32a()
	h.Write([]byte("counts"))
	it, err := engine.Iterate(stores.Span{Lower: binary.BigEndian.AppendUint32(nil, h.Sum32()), Upper: binary.BigEndian.AppendUint32(nil, h.Sum32()+1)})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	found := map[string][]byte{}
	for it.Next() {
		found[string(it.Key())] = bytes.Clone(it.Value())
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestTheStoreGoesAwayForAWhile kills the gateway under load for ten seconds.
func TestTheStoreGoesAwayForAWhile(t *testing.T) { storeGoes(t, 10*time.Second) }

func storeGoes(t *testing.T, away time.Duration) {
	gateway := servers.NewS3(t)
	c := newCluster(t)
	s := c.tally("away", gateway.URL("away"))
	s.Interval = time.Second
	l := c.load(s.In, partitions, 2000)
	p := start(t, s)
	p.await(2*partitions, "checkpoint stored")
	gateway.Kill()
	before := total(c.counts(s.Out))
	down := time.Now()
	p.await(1, "a checkpoint could not be stored")
	stored := p.count("checkpoint stored")
	<-time.After(away - time.Since(down))
	if after := total(c.counts(s.Out)); after <= before {
		t.Errorf("%d records were counted before the outage, and %d after it", before, after)
	}
	if err := gateway.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	p.await(1, "checkpoints can be stored again")
	p.await(stored+partitions, "checkpoint stored")
	t.Logf("the gateway was away for %v; every task has a checkpoint again %v after it was back",
		back.Sub(down).Round(10*time.Millisecond), time.Since(back).Round(10*time.Millisecond))
	sent := l.end()
	c.counted(s, sent)
	p.stop()
	got := c.counts(s.Out)
	for key, n := range sent {
		if got[key] != n {
			t.Errorf("%s: counted to %d, and %d were sent", key, got[key], n)
		}
	}
	whole(t, s, gateway.URL("away"))
}

func total(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
