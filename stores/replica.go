package stores

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
)

// Replica holds the latest results where others read them faster than over
// queries: dashboards, gateways. It is a cache. Nothing is restored from it, and
// while it is away processing goes on without it. One goroutine calls Write;
// Close comes after the last call.
//
// # Which of two writes is the newer one
//
// A process that was stopped after a commit, and before it wrote to the replica,
// may wake when another one has long taken its task over. Clocks, sequences of
// panes and generations of groups do not order the two: clocks differ, a sequence
// begins anew when a session grows, and generations restart with a new group. What
// does is the log. Whatever a commit makes durable has its place in the task's
// changelogs, whose offsets the brokers hand out, and a successor begins where
// they end. So the [Version] of a result is how far the changelogs had come with
// its commit:
//
//   - Results leave for the replica after the commit, offsets included. Who is no
//     longer a member of the group cannot commit, and so has nothing to write but
//     what it committed before.
//   - A successor restores to the ends of the changelogs before it processes. They
//     hold every commit of its predecessor, so that each of its own commits that
//     change anything ends behind those, in each changelog and in the sum of them.
//   - A result of an aggregate changes the aggregate's entry, which says how far it
//     has fired. So two results of one key and window are never of one version
//     unless one commit made both; then the task keeps the later one.
//
// A result whose commit has changed no state, which only user code can send, has
// the version of the commit before; of equal versions the one that arrives last
// counts. A changelog that is made anew begins to count anew: Version.Log tells
// that, and a version of another log always counts.
type Replica interface {
	// Write writes results in one exchange: each unless the replica has a later
	// version of its store, key and window. After an error any of them may have
	// been written, and all may be written again.
	Write(ctx context.Context, results []Result) (Outcome, error)
	Close() error
}

// Outcome says what became of the results of a Write that succeeded.
type Outcome struct {
	// Stale results were not written: the replica has later versions.
	Stale int
	// Refused results were not written and never will be: what the replica holds
	// under their keys is somebody else's. Err is the reason for one of them.
	Refused int
	Err     error
}

// Result is the latest result of one key and window of a store.
type Result struct {
	Store string
	// Key is the encoded key.
	Key []byte
	// Windowed says that the result is of the window from Start to End, in Unix
	// milliseconds. A window is known by its start.
	Windowed   bool
	Start, End int64
	// Value is the encoded result; nil if what was sent is taken back.
	Value   []byte
	Version Version
}

// Size is roughly how many bytes r takes in memory.
func (r *Result) Size() int64 { return int64(len(r.Key) + len(r.Value) + len(r.Store) + 160) }

// AppendID appends what tells a result's store, key and window from all others.
func (r *Result) AppendID(dst []byte) []byte {
	dst = append(append(dst, r.Store...), 0)
	if r.Windowed {
		dst = binary.BigEndian.AppendUint64(append(dst, 1), uint64(r.Start))
	} else {
		dst = append(dst, 0)
	}
	return append(dst, r.Key...)
}

// Version orders what a task's commits have made, over all owners of the task.
type Version struct {
	// Log names the changelogs that Position counts in. Positions of different
	// logs do not compare.
	Log string
	// Position is the sum of the changelogs' offsets behind the commit.
	Position int64
}

// Before reports whether v is known to be older than o.
func (v Version) Before(o Version) bool { return v.Log == o.Log && v.Position < o.Position }

// Version returns that of the last Commit. It belongs to the task's goroutine.
func (db *DB) Version() Version {
	db.mu.Lock()
	defer db.mu.Unlock()
	// In ascending order of prefixes, which is the same in every process.
	h := fnv.New64a()
	var v Version
	for _, s := range db.stores {
		name := s.info().name
		v.Position += db.offsets[name].next
		h.Write(binary.AppendUvarint(nil, uint64(len(name))))
		h.Write([]byte(name))
		h.Write([]byte(db.logs[name]))
		h.Write([]byte{0})
	}
	v.Log = hex.EncodeToString(h.Sum(nil))
	return v
}
