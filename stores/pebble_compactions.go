package stores

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// While a store is restored its tables arrive in quick succession, each over all its
// keys. Compactions that took the first few of them would rewrite these, and what they
// made of those before, again and again. They wait until there are many, or no more
// come.
const (
	// restoredRuns are the ingests that come down at once. At half as many more Pebble
	// stops writes.
	restoredRuns = 24
	// restoredPause without an ingest is the end of a restore.
	restoredPause = 2 * time.Second
	// grantInterval bounds for how long a compaction waits that may run. It is that of
	// Pebble's own scheduler.
	grantInterval = 100 * time.Millisecond
)

// scheduler has Pebble compact a database with one compaction at a time, as its own
// does, but not while many tables are about to come.
type scheduler struct {
	db       pebble.DBForCompaction
	stop     chan struct{}
	stopped  chan struct{}
	returned chan struct{} // capacity 1: a compaction may begin, perhaps

	mu       sync.Mutex // taken after Pebble's; never held over a call of db that takes those
	busy     bool       // a compaction runs, or is about to
	closed   bool
	runs     int // ingests since a compaction took those before
	ingested time.Time
}

func newScheduler() *scheduler {
	return &scheduler{stop: make(chan struct{}), stopped: make(chan struct{}), returned: make(chan struct{}, 1)}
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
	for _, in := range info.Input {
		if in.Level == 0 {
			s.mu.Lock()
			s.runs = 0
			s.mu.Unlock()
		}
	}
}

// take reports whether a compaction may run, which has to call Done then.
func (s *scheduler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	restoring := s.runs > 0 && s.runs < restoredRuns && time.Since(s.ingested) < restoredPause
	if s.busy || s.closed || restoring || s.db.GetAllowedWithoutPermission() < 1 {
		return false
	}
	s.busy = true
	return true
}

// Register is called by Pebble when the database is open.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	go s.grant()
}

// Unregister is called by Pebble when the database closes.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.stopped
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
		case <-ticker.C:
		case <-s.returned:
		}
		if !s.take() {
			continue
		}
		if waits, _ := s.db.GetWaitingCompaction(); !waits || !s.db.Schedule(s) {
			s.give()
		}
	}
}

// give says that no compaction runs.
func (s *scheduler) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
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

// poke has grant look again.
func (s *scheduler) poke() {
	select {
	case s.returned <- struct{}{}:
	default:
	}
}

// What a compaction takes is of no interest here.

func (s *scheduler) Started()                                          {}
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
