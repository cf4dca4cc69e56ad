package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// This file makes checkpoints of the tasks that run here and stores them where
// other instances find them; checkpoint_restore.go begins from them.
//
// A goroutine of its own goes from task to task. It has the database flush and
// link its files into a folder beside it, which stops neither commits nor
// queries and holds up the closing of the task for as long as that takes, and
// uploads from there. Whatever goes wrong with that is logged, counted and tried
// again at the next interval, and nothing else depends on it.
//
// What a process checkpoints that has lost a task without knowing it is a state
// that was committed while it had it, for only that ever reaches a database. It
// is older than its successor's, and so never found before those.

// Checkpoints says whether, where and how often copies of the tasks' state are
// stored, from which an instance begins that has lost its disk, instead of reading
// whole changelogs. The zero value makes none.
type Checkpoints struct {
	// Store is where they are kept; nil for none. The instances of an application
	// share one: package changelog/objectstore opens S3 buckets and folders.
	Store changelog.BlobStore
	// Interval is the time between two checkpoints of a task. One that has not
	// changed is not stored again. Default: 60 s.
	Interval time.Duration
	// Keep is how many checkpoints of a task are kept. Default: 3.
	Keep int
}

// resolve returns c with defaults filled in.
func (c Checkpoints) resolve(wrong func(format string, args ...any)) Checkpoints {
	c.Interval, c.Keep = cmp.Or(c.Interval, time.Minute), cmp.Or(c.Keep, changelog.DefaultKeep)
	if c.Interval < 10*time.Millisecond {
		wrong("checkpoint interval %v: use at least 10ms", c.Interval)
	}
	if c.Keep < 1 {
		wrong("checkpoints to keep %d: use at least 1", c.Keep)
	}
	return c
}

// Folders is a Storage that keeps each task in a folder of files: of these
// checkpoints can be made.
type Folders interface {
	Storage
	// FS is the file system that the folders are in.
	FS() vfs.FS
	// Folder returns the folder of a task's state, which need not exist. Names that
	// begin with it and a dot are for what is on its way there and from there.
	Folder(id processors.TaskID) string
}

// Endings of the folders beside a task's.
const (
	leavingEnding  = ".checkpoint" // is being uploaded
	arrivingEnding = ".restoring"  // is being downloaded
)

// CheckpointState is what has become of a checkpoint.
type CheckpointState string

// A checkpoint was stored, or could not be; or state was restored from one.
const (
	CheckpointStored   CheckpointState = "stored"
	CheckpointFailed   CheckpointState = "failed"
	CheckpointRestored CheckpointState = "restored"
)

// checkpoints makes and finds those of an instance.
type checkpoints struct {
	in      *Instance
	set     *changelog.Checkpoints
	folders Folders
	// tasks belongs to run.
	tasks map[TaskID]*checkpointing
	// successes and failures count those that were stored and that could not be, and
	// failing is set until a round has only the former. All belong to run.
	successes, failures int
	failing             bool

	mu sync.Mutex // guards what follows
	// made is when the newest checkpoint of each running task was made, or when the
	// task was first seen to run.
	made map[TaskID]time.Time
	// distrusted are the tasks whose state was corrupt here, with the number of that
	// time, of lastDistrust. Their checkpoints may hold the same, whole as they are:
	// the changelogs alone count, until a checkpoint of the mended state is stored.
	distrusted   map[TaskID]int
	lastDistrust int
	// away is when the store last kept a task waiting in vain, or zero.
	away time.Time
}

// checkpointing is what is remembered of a task whose database is open.
type checkpointing struct {
	db       *stores.DB
	uploader *changelog.Uploader
	// at is where the stores stood at the last checkpoint.
	at map[string]changelog.Position
}

// newCheckpoints returns nil if there are to be none.
func newCheckpoints(in *Instance) *checkpoints {
	cfg := in.cfg.Checkpoints
	if cfg.Store == nil {
		return nil
	}
	folders, ok := in.storage.(Folders)
	if !ok {
		in.log.Warn("no checkpoints are made: the state is in memory, and restored from the changelogs")
		return nil
	}
	return &checkpoints{
		in: in, folders: folders, tasks: map[TaskID]*checkpointing{}, made: map[TaskID]time.Time{},
		distrusted: map[TaskID]int{},
		set: changelog.NewCheckpoints(changelog.CheckpointConfig{
			Store: cfg.Store, Application: in.cfg.Application, Keep: cfg.Keep, Clock: in.cfg.Clock,
		}),
	}
}

// run makes checkpoints until ctx ends.
func (c *checkpoints) run(ctx context.Context) {
	ticker := time.NewTicker(c.in.cfg.Checkpoints.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.round(ctx)
	}
}

// round visits all tasks, and says when all is well again.
func (c *checkpoints) round(ctx context.Context) {
	due := c.due()
	failures, successes := c.failures, c.successes
	for _, h := range due {
		if ctx.Err() != nil {
			return
		}
		c.visit(h)
	}
	if c.failing && c.failures == failures && c.successes > successes {
		c.failing = false
		c.in.log.Info("checkpoints can be stored again", "tasks", len(due))
	}
}

// openTask is a task that runs here with its open database.
type openTask struct {
	*holding
	db *stores.DB
}

// due returns the running tasks that have state, in order.
func (c *checkpoints) due() []openTask {
	states := c.in.life.taskStates()
	plan := c.in.currentPlan()
	var due []openTask
	c.in.mu.Lock()
	for id, h := range c.in.tasks {
		if h.db != nil && states[id] == TaskRunning && plan.Has(id) && len(plan.Subs[id.Sub].Changelogs()) > 0 {
			due = append(due, openTask{h, h.db})
		}
	}
	c.in.mu.Unlock()
	slices.SortFunc(due, func(a, b openTask) int { return a.id.Compare(b.id) })
	running := map[TaskID]bool{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range due {
		running[h.id] = true
		if c.made[h.id].IsZero() {
			c.made[h.id] = c.in.cfg.Clock()
		}
	}
	maps.DeleteFunc(c.made, func(id TaskID, _ time.Time) bool { return !running[id] })
	maps.DeleteFunc(c.tasks, func(id TaskID, _ *checkpointing) bool { return !running[id] })
	return due
}

// oldest returns when the task was checkpointed, of those that run, whose newest
// checkpoint is the oldest; ok is false if no task runs.
func (c *checkpoints) oldest() (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, made := range c.made {
		if !ok || made.Before(at) {
			at, ok = made, true
		}
	}
	return at, ok
}

// visit makes a checkpoint of a task if it has changed.
func (c *checkpoints) visit(h openTask) {
	in := c.in
	t := c.tasks[h.id]
	if t == nil || t.db != h.db {
		t = &checkpointing{db: h.db, uploader: c.set.Uploader(h.id.String())}
		c.tasks[h.id] = t
	}
	began := in.cfg.Clock()
	at := positions(h.db, in.currentPlan().Subs[h.id.Sub].Changelogs())
	if len(at) == 0 {
		return
	}
	if !maps.Equal(at, t.at) {
		distrust := c.distrustOf(h.id)
		done, err := c.store(h, t)
		if h.ctx.Err() != nil || errors.Is(err, stores.ErrClosed) {
			return // the task is to go
		}
		if err != nil {
			c.failed(h.id, "store", err)
			return
		}
		t.at = at
		c.stored(h.id, done, distrust)
		if _, err := c.set.Prune(h.ctx, h.id.String(), false); err != nil && h.ctx.Err() == nil {
			in.metrics.checkpointFailures.WithLabelValues("prune").Inc()
			in.log.Warn("old checkpoints are still there", "task", h.id.String(), "error", err)
		}
	}
	c.mu.Lock()
	c.made[h.id] = began
	c.mu.Unlock()
}

// positions returns where stores stand, and since when that is known.
func positions(db *stores.DB, names []string) map[string]changelog.Position {
	at := map[string]changelog.Position{}
	for _, name := range names {
		if next, appliedAt, ok := db.Offset(name); ok {
			at[name] = changelog.Position{Next: next, AppliedAt: appliedAt}
		}
	}
	return at
}

// store makes and uploads a checkpoint.
func (c *checkpoints) store(h openTask, t *checkpointing) (changelog.Uploaded, error) {
	fs, dir := c.folders.FS(), c.folders.Folder(h.id)+leavingEnding
	if err := fs.RemoveAll(dir); err != nil {
		return changelog.Uploaded{}, err
	}
	began := time.Now()
	created := c.in.cfg.Clock()
	states, err := h.db.Checkpoint(fs, dir)
	if err != nil {
		return changelog.Uploaded{}, err
	}
	defer func() {
		if err := fs.RemoveAll(dir); err != nil {
			c.in.log.Warn("a folder of an uploaded checkpoint cannot be removed", "dir", dir, "error", err)
		}
	}()
	taken := time.Now()
	c.in.metrics.checkpointSeconds.WithLabelValues("take").Observe(taken.Sub(began).Seconds())
	m, err := c.describe(h.id, states)
	if err != nil {
		return changelog.Uploaded{}, err
	}
	m.Created = created.UnixMilli()
	done, err := t.uploader.Upload(h.ctx, fs, dir, m)
	c.in.metrics.checkpointSeconds.WithLabelValues("upload").Observe(time.Since(taken).Seconds())
	c.in.metrics.checkpointBytes.Add(float64(done.NewBytes))
	return done, err
}

// describe says what is in a checkpoint whose stores stand as they do.
func (c *checkpoints) describe(id TaskID, states []stores.StoreState) (m changelog.Manifest, err error) {
	sub := c.in.currentPlan().Subs[id.Sub]
	if m.Shape, err = encodeShape(sub.SubTopology); err != nil {
		return m, err
	}
	replicated := sub.Changelogs()
	for _, s := range states {
		if !s.Positioned || !slices.Contains(replicated, s.Name) {
			continue
		}
		m.Stores = append(m.Stores, changelog.ManifestStore{
			Name: s.Name, Kind: s.Kind, Layout: s.Layout, Topic: changelog.TopicName(c.in.cfg.Application, s.Name),
			Partition: id.Partition, Log: s.Log, Next: s.Next, AppliedAt: s.AppliedAt,
		})
	}
	return m, nil
}

func encodeShape(sub topology.SubTopology) (json.RawMessage, error) { return json.Marshal(sub.Shape()) }

// distrust has a task's checkpoints not be used: its state was corrupt. A nil c has
// none.
func (c *checkpoints) distrust(id TaskID) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastDistrust++
	c.distrusted[id] = c.lastDistrust
}

// distrustOf returns the number of the last time that a task's state was corrupt,
// or 0 if its checkpoints can be used.
func (c *checkpoints) distrustOf(id TaskID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.distrusted[id]
}

// trust has a task's checkpoints be used again, since one was stored that was made
// after the given distrust. Corruption that was found while it was under way may be
// in it too, and stays in mind.
func (c *checkpoints) trust(id TaskID, distrust int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.distrusted[id] == distrust {
		delete(c.distrusted, id)
	}
}

// stored notes that a checkpoint was stored, which was made after a distrust.
func (c *checkpoints) stored(id TaskID, done changelog.Uploaded, distrust int) {
	c.successes++
	c.trust(id, distrust)
	c.in.log.Debug("checkpoint stored", "task", id.String(), "key", done.Checkpoint.Key, "bytes", done.Bytes, "new_bytes", done.NewBytes,
		"files", done.Files, "new_files", done.NewFiles)
	c.tell(id, CheckpointStored)
}

// failed notes that a checkpoint could not be stored, and says so once.
func (c *checkpoints) failed(id TaskID, step string, err error) {
	c.in.metrics.checkpointFailures.WithLabelValues(step).Inc()
	c.failures++
	if !c.failing {
		c.failing = true
		c.in.log.Warn("a checkpoint could not be stored: processing goes on, and it is tried again at each interval", "task", id.String(), "error", err)
	}
	c.tell(id, CheckpointFailed)
}

func (c *checkpoints) tell(id TaskID, s CheckpointState) {
	c.in.life.tell(func(l Listener) {
		if l.Checkpoint != nil {
			l.Checkpoint(id, s)
		}
	})
}
