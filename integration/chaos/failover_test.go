//go:build integration && soak

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

// rounds is how often a failover is measured.
const rounds = 3

// preloaded is how many readings, each of a sensor of its own, the state of a
// failover without a standby holds, over all partitions.
const preloaded = 400_000

// figuresKafka starts a broker for figures.
func figuresKafka(t *testing.T) (*servers.Kafka, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-figures-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("all logs are in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return servers.NewKafka(t, servers.KafkaConfig{Nodes: 1, Dir: filepath.Join(dir, "kafka"), StartTimeout: 3 * time.Minute}), dir
}

// TestFiguresFailover prints how long after SIGKILL the partitions of an instance
// have results again that can be read committed, with a standby and without.
func TestFiguresFailover(t *testing.T) {
	k, dir := figuresKafka(t)
	for _, standbys := range []int{1, 0} {
		t.Run(fmt.Sprint(standbys, " standbys"), func(t *testing.T) {
			f := newFigures(t, k, dir, fmt.Sprintf("failover-%d", standbys))
			if standbys == 0 {
				for range preloaded / figuresPartitions {
					if err := f.write(preloaded); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.client.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s := spec{Standbys: standbys, HeartbeatMillis: 300}
			f.start("a", s)
			f.start("b", s)
			endWatch, endLoad := f.watch(), f.load()
			names := []string{"a", "b"}
			for round := range rounds {
				f.ready(standbys)
				victim, other := f.instances[names[round%2]], f.instances[names[(round+1)%2]]
				moved := partitionsOf(victim.holds())
				mark := other.mark()
				killed := time.Now()
				victim.kill()
				delete(f.instances, victim.name)
				worst := time.Duration(0)
				f.await("all partitions that moved have results", func() bool {
					for _, p := range moved {
						at, ok := f.first(p, killed)
						if !ok {
							return false
						}
						worst = max(worst, at.Sub(killed))
					}
					return true
				})
				restored := other.restore(mark)
				fmt.Printf("failover, %d standbys: %d partitions have results again %.2f s after SIGKILL: the session of %v and %.2f s, of which %.2f s from their assignment until they run\n",
					standbys, len(moved), worst.Seconds(), sessionTimeout, (worst - sessionTimeout).Seconds(), restored.Seconds())
				if standbys == 0 { // nothing of the state is left
					if err := os.RemoveAll(filepath.Join(f.dir, "state-"+victim.name)); err != nil {
						t.Fatal(err)
					}
				}
				f.start(victim.name, s)
			}
			f.ready(standbys)
			endLoad()
			endWatch()
			f.ledger()
		})
	}
}

// ready waits until two instances share the tasks, all copies have caught up, and
// results are fresh.
func (f *figures) ready(standbys int) {
	f.t.Helper()
	f.await("two instances share the tasks", func() bool {
		for _, p := range f.instances {
			if p.running() != figuresPartitions/2 || p.copies() < standbys*figuresPartitions/2 {
				return false
			}
		}
		return f.settled()
	})
	f.pass(time.Second)
}

// pass waits until each partition has the result of a reading that is sent a while
// from now.
func (f *figures) pass(d time.Duration) {
	f.t.Helper()
	then := time.Now().Add(d)
	f.await("results are fresh", func() bool {
		for p := range figuresPartitions {
			if _, ok := f.first(p, then); !ok {
				return false
			}
		}
		return true
	})
}

// partitionsOf returns the partitions of tasks.
func partitionsOf(tasks map[string]bool) (partitions []int) {
	for task := range tasks {
		_, p, _ := strings.Cut(task, "_")
		n, err := strconv.Atoi(p)
		if err == nil {
			partitions = append(partitions, n)
		}
	}
	slices.Sort(partitions)
	return partitions
}

// copies returns how many standbys of the process have caught up.
func (p *process) copies() (n int) {
	state := map[string]string{}
	for _, l := range p.since(0, func(l line) bool { return l.Msg == "standby" }) {
		state[l.Task] = l.State
	}
	for _, s := range state {
		if s == "caught up" {
			n++
		}
	}
	return n
}

// restore returns how long it took from the first task that the process was given
// since a moment until the last one ran.
func (p *process) restore(mark int) time.Duration {
	lines := p.since(mark, func(l line) bool { return l.Msg == "task" && (l.State == "restoring" || l.State == "running") })
	if len(lines) == 0 {
		return 0
	}
	return lines[len(lines)-1].Time.Sub(lines[0].Time)
}

// TestFiguresScaleOut prints the longest time without results of partitions that
// stay and of those that move while one instance becomes four.
func TestFiguresScaleOut(t *testing.T) {
	k, dir := figuresKafka(t)
	f := newFigures(t, k, dir, "scale-out")
	s := spec{HeartbeatMillis: 300, Workers: 1}
	a := f.start("a", s)
	endWatch, endLoad := f.watch(), f.load()
	f.await("all tasks run", f.settled)
	f.pass(5 * time.Second) // what it is like before
	begin := time.Now()
	before := time.Duration(0)
	for p := range figuresPartitions {
		before = max(before, f.gap(p, begin.Add(-4*time.Second), begin))
	}
	for _, name := range []string{"b", "c", "d"} {
		f.start(name, s)
	}
	f.await("four instances share the tasks", func() bool {
		for _, p := range f.instances {
			if p.running() != figuresPartitions/4 {
				return false
			}
		}
		return f.settled()
	})
	settled := time.Now()
	f.pass(3 * time.Second)
	end := time.Now()
	stays, moves := time.Duration(0), time.Duration(0)
	stayed := partitionsOf(a.holds())
	for p := range figuresPartitions {
		if gap := f.gap(p, begin, end); slices.Contains(stayed, p) {
			stays = max(stays, gap)
		} else {
			moves = max(moves, gap)
		}
	}
	fmt.Printf("scale-out from 1 to 4 instances, %d partitions, within %.1f s: longest time without results %d ms of the %d that stay, %d ms of the others, %d ms of any before\n",
		figuresPartitions, settled.Sub(begin).Seconds(), stays.Milliseconds(), len(stayed), moves.Milliseconds(), before.Milliseconds())
	endLoad()
	endWatch()
	f.ledger()
}

// TestFiguresRollingRestart restarts three static members one after the other: the
// generation does not move, and nothing is lost.
func TestFiguresRollingRestart(t *testing.T) {
	k, dir := figuresKafka(t)
	f := newFigures(t, k, dir, "rolling")
	names := []string{"a", "b", "c"}
	of := func(name string) spec { return spec{InstanceID: name, SessionMillis: 30_000, HeartbeatMillis: 300} }
	for _, name := range names {
		f.start(name, of(name))
	}
	endWatch, endLoad := f.watch(), f.load()
	f.await("three instances share the tasks", func() bool {
		for _, p := range f.instances {
			if p.running() < figuresPartitions/3 {
				return false
			}
		}
		return f.settled()
	})
	f.pass(3 * time.Second)
	before, _ := f.instances["a"].generation()
	for _, name := range names {
		p := f.instances[name]
		held := partitionsOf(p.holds())
		stopped := time.Now()
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		gone := time.Now()
		p = f.start(name, of(name))
		f.await("it has its tasks again", func() bool { return p.running() == len(held) && slices.Equal(partitionsOf(p.holds()), held) })
		f.pass(2 * time.Second)
		gap := time.Duration(0)
		for _, p := range held {
			gap = max(gap, f.gap(p, stopped, time.Now()))
		}
		generation, members := p.generation()
		fmt.Printf("rolling restart: %s stopped within %d ms, its %d partitions were without results for %d ms; generation %d, before %d, %d members\n",
			name, gone.Sub(stopped).Milliseconds(), len(held), gap.Milliseconds(), generation, before, members)
		if generation != before {
			t.Errorf("the generation moved from %d to %d", before, generation)
		}
	}
	endLoad()
	endWatch()
	f.ledger()
}
