// Package streamtest runs a topology without Kafka, in one goroutine, under a
// clock that the test moves. It drives the very tasks that run in production,
// through every step of their life: records, watermarks, firing, commits,
// crashes and restarts. What it does is the same each time.
//
//	d := streamtest.New(t, top)
//	words := streamtest.Input(d, "words", codec.String, codec.String)
//	counts := streamtest.Output(d, "word-counts", codec.String, codec.Int64)
//	words.Send("", "apple", d.Now())
//	m, ok := counts.Next()
//
// The types to know:
//
//   - [Driver] is a running topology. [New] is for tests; [Open] is for programs,
//     and returns errors instead of failing a test.
//   - [InputTopic] and [OutputTopic] write and read topics with types; both are
//     handles, of which there may be several for one topic.
//   - [Store] reads the committed state; see [Get] and [Entries].
//   - [Step] is a moment at which [Driver.CrashAt] can throw everything away.
//
// # When what happens
//
// Send writes a record and processes it, and whatever follows from it through
// repartition topics, before it returns. [Driver.Batch] holds that back until
// all of a batch is written, which is how partitions come to be read side by
// side. Nothing is read before the first such call: a partition that the first
// batch fills never counts as empty. By default the driver commits whenever
// everything is processed; [CommitEvery] and [CommitManually] change that.
//
// The clock stands still but for [Driver.Advance]. Early results, idle
// partitions, watermarks that follow the clock, and the repetition of watermark
// markers go by it. A partition that is paused by alignment waits for the others,
// or for the clock to make them idle ([Driver.Paused]). Event time goes
// by the records. An event that is further ahead of the clock than the source's
// MaxAhead, an hour by default, is an error as in production: set the [Start]
// of the clock behind the events, or advance it.
//
// # Crashes
//
// [Driver.Crash] drops all tasks with what they had not committed, as if the
// process had died, and starts them anew from changelogs and committed offsets.
// [Driver.CrashAt] does so in the middle of the next commit. The tasks of an
// instance belong to one worker, which commits at least once: outputs, then changelogs, then
// offsets, then state.
//
// # The next version of a program
//
// [Driver.Save] writes a run to a folder, and [From] goes on from it. A test that
// keeps such a folder in testdata shows that the next version of a program takes
// over the state of this one.
//
// # Caveats
//
// The bytes of a record are overwritten when it is processed, so that code
// which keeps a part of a key, value or header without cloning it fails here
// rather than pin memory in production; [KeepBytes] stops that.
//
// A Driver and its handles belong to one goroutine. An error that stops the
// topology fails the test at its end unless the test has asked [Driver.Err].
package streamtest
