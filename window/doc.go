// Package window holds the functions of event time: which windows an event
// belongs to, how far time has come, and which results of a window are sent
// when.
//
// Everything in it is pure. Nothing reads a clock, starts a goroutine or keeps
// state that was not handed in; what needs the wall clock takes it as an
// argument. So the same code runs in production, in tests under a clock that
// the test moves, and in a simulation.
//
// Times are Unix milliseconds in an int64 and may be negative. MinTime stands
// for "nothing is known yet" and MaxTime for "nothing more will come"; neither
// is the time of an event. Durations are time.Duration where users give them
// and must be whole milliseconds.
//
// # Windows
//
// Windows describes the windows of an aggregation: Tumbling, Hopping, Sliding,
// Session, Calendar and Count make them, and methods set lateness, offset and
// retention. Assign says which windows take an event, if that depends on its time
// alone; sessions, sliding and count windows depend on the other events of the
// key. Complete, Closed and Expired are the three moments in a window's life;
// CompleteBefore, ClosedBefore and ExpiredBefore are the same as bounds for a
// scan of a store in Order: by start or, where events bound the windows, by when
// they are due.
//
// # Watermarks
//
// A watermark W promises that no on-time event earlier than W is to come.
// PartitionClock derives it for a partition of a source, by a Strategy:
// BoundedDelay from event times, Punctuated and Custom from what a function or a
// Generator of the user's finds in the events. Upstreams derives it for a partition of a repartition topic from the Markers
// that upstream tasks write there. Tracker combines the inputs of a task: the
// least of those that are not idle; when all are, it stands still or, with
// AdvanceWhenIdle, follows the wall clock. Watermarks never fall. Alignment tells
// which partitions have run too far ahead of the slowest.
//
// An event behind W is late; if its window is not closed it still counts. One
// whose window is closed is dropped. The package decides, its callers count.
//
// # Results
//
// Emit says when results are sent and whether each holds everything (accumulating),
// what is new (discarding), or takes back the one before (retracting); Pane says
// what a result is. Firing is the state
// of one key and window that turns both into a sequence of panes in which
// exactly one is final.
//
// Caveats: an event at exactly W is on time. A window's end is exclusive. An
// idle input may wake up behind the task's watermark; its events are then late.
// The watermark of a task that was moved or restarted stands where it stood
// when its input offsets were committed, not where it stood last.
package window
