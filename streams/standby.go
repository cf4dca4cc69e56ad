package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// This file keeps copies of the state of tasks that others run: standbys, and
// warm-ups of tasks that are to move here. Both follow the changelogs, read
// committed, into the database that the task has on this instance, and nothing
// else writes to that.
//
//	begin ─► open ─► follow … ─► close          it is not wanted any more
//	                          └► promoted       the task runs here: its holding takes the open database
//
// A promotion copies nothing. The holding finds the committed offsets of the
// task's inputs, then the ends of its changelogs, and reads up to there, as it
// does with any state that it finds; there is little left to read.

// StandbyState is where a copy of a task's state is in its life here.
type StandbyState string

// A copy catches up and has then caught up, for as long as it is kept. A promoted
// one is that of a task which now runs here.
const (
	StandbyCatchingUp StandbyState = "catching up"
	StandbyCaughtUp   StandbyState = "caught up"
	StandbyPromoted   StandbyState = "promoted"
	StandbyClosed     StandbyState = "closed"
)

// StandbyInfo is a copy of a task's state that this instance keeps.
type StandbyInfo struct {
	Task processors.TaskID
	// Warmup: the task is to move here when the copy has caught up.
	Warmup bool
	// CaughtUp: the copy was within Standby.AcceptableLag once.
	CaughtUp bool
	// Lag is how many changelog offsets it is behind, or -1 while that is not
	// known.
	Lag int64
}

// Limits of standbys. They read over connections of their own, in small pieces,
// so that they delay no task that runs.
const (
	// standbyAnswer bounds what a broker is asked for at a time, over all standbys.
	standbyAnswer = 4 << 20
	// leastPiece and mostPiece bound what is asked of one changelog.
	leastPiece, mostPiece = 64 << 10, 1 << 20
	// standbyRetry is how long a standby waits after a failure of its database.
	standbyRetry = 10 * time.Second
	// standbyPatience is for how long a standby lets restores of running tasks go
	// first, for each piece that it applies, and standbyPause how often it looks.
	standbyPatience, standbyPause = 2 * time.Second, 20 * time.Millisecond
)

// standbys are the copies that this instance keeps.
type standbys struct {
	in     *Instance
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	reader *changelog.SharedReader
	piece  int
	// restoring counts the restores of tasks that are to run.
	restoring atomic.Int32

	mu    sync.Mutex // guards what follows; never held across a wait
	tasks map[processors.TaskID]*standby
	// ending are copies that are being closed, or given to those who took them.
	ending map[processors.TaskID]*standby
	// offsets are where closed state on the disk stands, by task and store.
	offsets map[processors.TaskID]map[string]int64
	closed  bool
	probing *time.Timer // set while warm-ups wait for one another
	// settled is unset while another rebalance is about to come anyway.
	settled bool
}

// standby is one copy. standbys.mu guards what is not said to be otherwise.
type standby struct {
	id     processors.TaskID
	ctx    context.Context
	cancel context.CancelFunc
	// done is closed when nothing follows any more. If the standby is taken, its
	// database is then open, if it ever was, and belongs to the taker.
	done chan struct{}
	// before is a copy of the same task that is being closed, or nil.
	before *standby
	turn   chan struct{} // capacity 1: holds a token while a store is written
	taken  bool
	// corrupt is set when the database turned out to be; owner is who has claimed
	// it.
	corrupt atomic.Bool
	owner   atomic.Pointer[holding]

	warmup bool
	caught bool
	told   StandbyState
	db     *stores.DB
	state  *task.State
	lags   map[string]int64 // by store, of those that have said
	stores int
}

func newStandbys(in *Instance, p *task.Plan) (*standbys, error) {
	s := &standbys{
		in: in, tasks: map[processors.TaskID]*standby{}, ending: map[processors.TaskID]*standby{},
		offsets: map[processors.TaskID]map[string]int64{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	changelogs := 1
	for _, sub := range p.Subs {
		changelogs += int(sub.Tasks) * len(sub.Changelogs())
	}
	s.piece = int(max(leastPiece, min(mostPiece, in.cfg.Memory/32/int64(changelogs))))
	var err error
	s.reader, err = changelog.NewSharedReader(in.client, int32(s.piece), standbyAnswer)
	return s, err
}

// survey notes where the state stands that earlier runs have left on the disk. What
// cannot be opened counts as not there: whoever needs it mends it.
func (s *standbys) survey(p *task.Plan) {
	ids, err := s.in.storage.Tasks()
	if err != nil {
		s.in.log.Warn("local state cannot be listed", "error", err)
		return
	}
	var group errgroup.Group
	group.SetLimit(openAtOnce)
	for _, id := range ids {
		if !p.Has(id) {
			continue
		}
		group.Go(func() error {
			if err := s.look(id); err != nil {
				s.in.log.Warn("local state cannot be read, and counts as not there", "task", id.String(), "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return none
}

// look notes where the state of a task stands that is not open.
func (s *standbys) look(id processors.TaskID) error {
	engine, err := s.in.storage.Open(id, func(error) {})
	if err != nil {
		return err
	}
	db, err := stores.Open(stores.Config{Engine: engine})
	if err != nil {
		return err
	}
	s.remember(id, db)
	if err = db.Close(); err != nil {
		s.forget(id)
	}
	return err
}

// remember notes where the state of a task stands that is about to be closed.
func (s *standbys) remember(id processors.TaskID, db *stores.DB) {
	offsets := map[string]int64{}
	for _, store := range s.in.currentPlan().Subs[id.Sub].Changelogs() {
		if next, _, ok := db.Offset(store); ok {
			offsets[store] = next
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(offsets) > 0 {
		s.offsets[id] = offsets
	}
}

// forget notes that there is no state of a task.
func (s *standbys) forget(id processors.TaskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.offsets, id)
}

// assign begins and ends copies: those to keep, and those of tasks that are to
// move here. It does not wait. follows:
// another rebalance comes at once.
func (s *standbys) assign(kept, warmups []processors.TaskID, follows bool) {
	s.mu.Lock()
	var ended []*standby
	for id, sb := range s.tasks {
		if !slices.Contains(kept, id) && !slices.Contains(warmups, id) {
			s.end(sb)
			ended = append(ended, sb)
		}
	}
	s.settled = !follows
	var begun []*standby
	for _, id := range slices.Concat(kept, warmups) {
		sb := s.tasks[id]
		if sb == nil && !s.closed {
			sb = &standby{id: id, before: s.ending[id], done: make(chan struct{}), turn: make(chan struct{}, 1), lags: map[string]int64{}}
			sb.ctx, sb.cancel = context.WithCancel(s.ctx)
			s.tasks[id] = sb
			begun = append(begun, sb)
		}
		if sb != nil {
			sb.warmup = slices.Contains(warmups, id)
		}
	}
	s.probe(true)
	s.mu.Unlock()
	for _, sb := range ended {
		sb.cancel()
	}
	for _, sb := range begun {
		s.wg.Go(func() { s.run(sb) })
	}
	s.count()
}

// end has a copy count no more, though it is not closed yet. mu is held.
func (s *standbys) end(sb *standby) {
	delete(s.tasks, sb.id)
	s.ending[sb.id] = sb
}

// take ends a copy whose task is to run here, and leaves its database open. If
// the copy was to be closed anyway, or there is none, whoever takes it has only
// to wait, or gets nil. It does not wait.
func (s *standbys) take(id processors.TaskID) *standby {
	s.mu.Lock()
	sb := s.tasks[id]
	if sb == nil {
		defer s.mu.Unlock()
		return s.ending[id]
	}
	s.end(sb)
	sb.taken = true
	s.mu.Unlock()
	sb.cancel()
	s.count()
	return sb
}

// claim waits until a copy that was taken has come to rest, and returns its open
// database, or nil. What is found wrong with that from now on is told to h.
func (sb *standby) claim(h *holding) (*stores.DB, *task.State) {
	sb.owner.Store(h)
	<-sb.done
	s := h.worker.in.standbys
	s.mu.Lock()
	db, state := sb.db, sb.state
	sb.db, sb.state = nil, nil // it has one owner: whoever comes second opens it anew
	s.mu.Unlock()
	if db != nil && sb.corrupt.Load() {
		h.damaged()
	}
	return db, state
}

// damaged notes that the database is corrupt, and tells who has it.
func (sb *standby) damaged() {
	sb.corrupt.Store(true)
	if h := sb.owner.Load(); h != nil {
		h.damaged()
	}
}

// stop ends all copies, and lets no others begin.
func (s *standbys) stop() {
	s.mu.Lock()
	s.closed = true
	if s.probing != nil {
		s.probing.Stop()
	}
	s.mu.Unlock()
	s.cancel()
}

// close waits until all copies are closed. stop comes first.
func (s *standbys) close() {
	s.wg.Wait()
	s.reader.Close()
}

// run keeps one copy until it is not wanted any more.
func (s *standbys) run(sb *standby) {
	defer s.ended(sb)
	if sb.before != nil {
		<-sb.before.done
	}
	s.in.vacated(sb.ctx, sb.id)
	for sb.ctx.Err() == nil {
		err := s.follow(sb)
		if sb.ctx.Err() != nil {
			break
		}
		s.in.log.Warn("a standby has failed, and begins again", "task", sb.id.String(), "error", err)
		s.shut(sb)
		if errors.Is(err, stores.ErrCorrupt) {
			if err := s.in.closed(sb.id, err); err != nil {
				s.in.log.Error("corrupt local state cannot be removed", "task", sb.id.String(), "error", err)
			}
		}
		timer := time.NewTimer(standbyRetry)
		select {
		case <-sb.ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
	s.mu.Lock()
	taken := sb.taken
	s.mu.Unlock()
	if taken {
		s.tell(sb, StandbyPromoted)
		return
	}
	s.shut(sb)
	s.tell(sb, StandbyClosed)
}

// ended notes that nothing follows any more.
func (s *standbys) ended(sb *standby) {
	sb.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending[sb.id] == sb {
		delete(s.ending, sb.id)
	}
	close(sb.done)
}

// follow opens the database and follows the changelogs of its stores.
func (s *standbys) follow(sb *standby) error {
	p := s.in.currentPlan()
	if !p.Has(sb.id) {
		return fmt.Errorf("the topology has no such task")
	}
	changelogs := p.Subs[sb.id.Sub].Changelogs()
	followed, stop := context.WithCancelCause(sb.ctx)
	defer stop(nil)
	sb.corrupt.Store(false)
	db, state, err := s.in.openNewest(sb.ctx, sb.id, func() {
		sb.damaged()
		stop(fmt.Errorf("%w: task %v", stores.ErrCorrupt, sb.id))
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	sb.db, sb.state, sb.stores = db, state, len(changelogs)
	clear(sb.lags)
	delete(s.offsets, sb.id)
	s.mu.Unlock()
	s.tell(sb, StandbyCatchingUp)
	group, ctx := errgroup.WithContext(followed)
	for _, store := range changelogs {
		topic := changelog.TopicName(s.in.cfg.Application, store)
		group.Go(func() error {
			return changelog.Follow(ctx, changelog.Config{
				DB: db, Store: store, Log: s.reader, Topic: topic, Partition: sb.id.Partition, ChunkBytes: s.piece,
				Clock: s.in.cfg.Clock, DeleteRetention: s.in.deleteRetention(topic), Logger: s.in.log.With("task", sb.id.String(), "standby", true),
				Progress: func(p changelog.Progress) { s.progress(sb, p) },
				Turn:     func(ctx context.Context) (func(), error) { return s.turnOf(ctx, sb) },
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(followed)
}

// turnOf waits until a standby may write: one store of it at a time, and after
// the restores of tasks that are to run.
func (s *standbys) turnOf(ctx context.Context, sb *standby) (done func(), err error) {
	select {
	case sb.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for waited := time.Duration(0); s.restoring.Load() > 0 && waited < standbyPatience; waited += standbyPause {
		timer := time.NewTimer(standbyPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			<-sb.turn
			return nil, context.Cause(ctx)
		}
	}
	return func() { <-sb.turn }, nil
}

// shut closes the database of a copy.
func (s *standbys) shut(sb *standby) {
	s.mu.Lock()
	db := sb.db
	sb.db, sb.state = nil, nil
	clear(sb.lags)
	s.mu.Unlock()
	if db == nil {
		return
	}
	s.remember(sb.id, db)
	if err := s.in.closed(sb.id, db.Close()); err != nil {
		s.in.log.Warn("closing a standby", "task", sb.id.String(), "error", err)
	}
}

// progress notes how far a store is behind.
func (s *standbys) progress(sb *standby, p changelog.Progress) {
	s.mu.Lock()
	sb.lags[p.Store] = p.Remaining
	newly := false
	if lag := sb.lag(); !sb.caught && lag >= 0 && lag <= s.in.cfg.Standby.AcceptableLag {
		sb.caught, newly = true, true
		s.probe(false)
	}
	s.mu.Unlock()
	if newly {
		s.tell(sb, StandbyCaughtUp)
	}
}

// lag is how far a copy is behind, or -1. mu is held.
func (sb *standby) lag() int64 {
	if sb.db == nil || len(sb.lags) < sb.stores {
		return -1
	}
	var sum int64
	for _, n := range sb.lags {
		sum += n
	}
	return sum
}

// tell tells of a copy's new state.
func (s *standbys) tell(sb *standby, state StandbyState) {
	s.mu.Lock()
	warmup := sb.warmup
	told := sb.told
	sb.told = state
	s.mu.Unlock()
	if told == state || told == "" && state == StandbyClosed {
		return
	}
	s.in.log.Info("standby", "task", sb.id.String(), "state", state, "warm_up", warmup)
	s.in.life.tell(func(l Listener) {
		if l.Standby != nil {
			l.Standby(sb.id, state)
		}
	})
	s.count()
}

// count tells the metrics how many copies there are.
func (s *standbys) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	warmups := 0
	for _, sb := range s.tasks {
		if sb.warmup {
			warmups++
		}
	}
	s.in.metrics.standbys(len(s.tasks)-warmups, warmups)
}

// all returns the copies, in order.
func (s *standbys) all() []StandbyInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]StandbyInfo, 0, len(s.tasks))
	for id, sb := range s.tasks {
		infos = append(infos, StandbyInfo{Task: id, Warmup: sb.warmup, CaughtUp: sb.caught, Lag: sb.lag()})
	}
	slices.SortFunc(infos, func(a, b StandbyInfo) int { return a.Task.Compare(b.Task) })
	return infos
}

// behind is how many changelog offsets all copies are behind, of those that know.
func (s *standbys) behind() (sum int64) {
	for _, info := range s.all() {
		sum += max(0, info.Lag)
	}
	return sum
}

// open returns the database of a copy and how far it is behind.
func (s *standbys) open(id processors.TaskID) (db *stores.DB, lag int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sb := s.tasks[id]
	if sb == nil || sb.db == nil {
		return nil, 0, false
	}
	return sb.db, sb.lag(), true
}

// databases returns the open databases of all copies.
func (s *standbys) databases() (open []*stores.DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sb := range s.tasks {
		if sb.db != nil {
			open = append(open, sb.db)
		}
	}
	return open
}

// changelogsOf returns the changelog partitions of a task by store.
func (in *Instance) changelogsOf(p *task.Plan, id processors.TaskID) map[string]kafka.TopicPartition {
	tps := map[string]kafka.TopicPartition{}
	if p.Has(id) {
		for _, store := range p.Subs[id.Sub].Changelogs() {
			tps[store] = in.changelogOf(store, id)
		}
	}
	return tps
}
