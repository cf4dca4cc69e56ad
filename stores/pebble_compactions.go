package stores

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// While a store is restored its tables arrive in quick succession, each over all its
// keys. Compactions that took the first few of them would rewrite these, and what they
// made of those before, again and again. They wait until there are many, no more come,
// or a write has to wait for them.
const (
	// restoredRuns are the ingests that come down at once.
	restoredRuns = 6 * topmostRuns
	// restoredPause without an ingest is the end of a restore.
	restoredPause = 2 * time.Second
	// grantInterval bounds for how long a compaction waits that may run. It is that of
	// Pebble's own scheduler.
	grantInterval = 100 * time.Millisecond
)

// scheduler has Pebble compact a database with one compaction at a time, as its own
// does, but not while many tables are about to come.
type scheduler struct {
	db      pebble.DBForCompaction
	dead    <-chan struct{} // closed when the database cannot go on
	look    chan struct{}   // capacity 1: asks grant to look again
	stop    chan struct{}
	stopped chan struct{}

	mu       sync.Mutex // taken within Pebble's, and never held over a call of db
	closed   bool
	busy     bool // a compaction runs, or is about to
	stalled  bool // a write waits for a compaction
	runs     int  // ingests since a compaction took those before
	ingested time.Time
}

func newScheduler(dead <-chan struct{}) *scheduler {
	return &scheduler{dead: dead, look: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
}

// listen has the scheduler hear of what it needs to know.
func (s *scheduler) listen(l *pebble.EventListener) {
	l.CompactionBegin = s.compacting
	l.WriteStallBegin = func(pebble.WriteStallBeginInfo) { s.stall(true) }
	l.WriteStallEnd = func() { s.stall(false) }
}

// ingesting notes that tables come in.
func (s *scheduler) ingesting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.ingested = time.Now()
}

// compacting hears of a compaction that begins.
func (s *scheduler) compacting(info pebble.CompactionInfo) {
	if !slices.ContainsFunc(info.Input, takesRestored) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = 0
}

// takesRestored reports whether tables of a store are taken from the topmost level, and
// not just the database's own, of which each ingest has one.
func takesRestored(in pebble.LevelInfo) bool {
	return in.Level == 0 && slices.ContainsFunc(in.Tables, func(t pebble.TableInfo) bool {
		return !strings.HasPrefix(string(t.Largest.UserKey), ownPrefix)
	})
}

func (s *scheduler) stall(stalled bool) {
	s.mu.Lock()
	s.stalled = stalled
	s.mu.Unlock()
	s.poke()
}

// take reports whether a compaction may run, which has to call Done then.
func (s *scheduler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	restoring := s.runs > 0 && s.runs < restoredRuns && time.Since(s.ingested) < restoredPause
	if s.busy || s.closed || restoring && !s.stalled {
		return false
	}
	s.busy = true
	return true
}

// give says that no compaction runs.
func (s *scheduler) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
}

// grant starts compactions that had to wait.
func (s *scheduler) grant() {
	defer close(s.stopped)
	ticker := time.NewTicker(grantInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.dead:
			return
		case <-ticker.C:
		case <-s.look:
		}
		if !s.take() {
			continue
		}
		if waits, _ := s.db.GetWaitingCompaction(); !waits || !s.db.Schedule(s) {
			s.give()
		}
	}
}

// poke has grant look again.
func (s *scheduler) poke() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// end ends what Register has begun.
func (s *scheduler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
}

// Register is called by Pebble when the database is about to be open.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	go s.grant()
}

// Unregister is called by Pebble when the database closes.
func (s *scheduler) Unregister() {
	s.end()
	<-s.stopped
}

// TrySchedule is called by Pebble with a compaction that it would like to run.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) { return s.take(), s }

// UpdateGetAllowedWithoutPermission is called by Pebble when a flush is done.
func (s *scheduler) UpdateGetAllowedWithoutPermission() { s.poke() }

// Done is called by Pebble when a compaction is.
func (s *scheduler) Done() {
	s.give()
	s.poke()
}

// What a compaction takes is of no interest here.

func (s *scheduler) Started()                                          {}
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
