// Package query answers questions about the state of a running application
// over HTTP: what a store holds for a key, which windows there are, how far
// time has come and what holds it back.
//
//	server, err := query.New(instance, query.Config{Advertise: url, Gatherer: registry})
//	...
//	err = server.ListenAndServe(ctx, "127.0.0.1:8080")
//
// The types to know:
//
//   - [Server] is an http.Handler; [Server.Serve] runs it with timeouts and a
//     graceful end, or it is mounted on a mux of one's own.
//   - [Instance] is what it needs of a running instance; *streams.Instance is
//     one.
//   - [Page], [Entry], [KeyValue], [Owner], [Watermarks] and [Error] are the
//     answers, for clients written in Go. /v1/openapi.json describes them for
//     all others.
//
// # Who answers
//
// Any instance can be asked for everything. A key belongs to one task; if that
// runs elsewhere the request is forwarded there, once, marked by
// [ForwardedHeader]. Who runs what is known to the leader of the group: the
// others ask it over HTTP once a generation. So every instance must advertise
// an endpoint that the others reach. A scan asks all instances at once and
// merges what they have in one order, so that a cursor is a single position
// and stays good when tasks move.
//
// # What an answer is worth
//
// Answers are committed state, at most one commit old, and never show a change
// that a crash could take back. Each task is read at one moment, tasks of a
// scan not at the same one; the pages of a scan are read one after the other.
// An answer is whole: if a task cannot be read the answer is an error that
// names it. While a task's state is restored that error has the code
// restoring; a request with stale=true gets what there is, with its lag.
//
// # Caveats
//
// Which task has a key is told by murmur2 of its bytes, as Kafka's clients
// partition. If a topic was written by another partitioner, keys are found by
// scans only. Queries need no authentication, orders need
// Config.AdminToken: put the server behind something that has it, or wrap the handler and give Config.Client a transport that sends
// what the wrapper wants to see. Times are Unix milliseconds; where a request
// gives one it may be RFC 3339.
package query
