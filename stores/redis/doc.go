// Package redis replicates the latest results to Redis, for dashboards and
// gateways that read in well under a millisecond. It is a stores.Replica: a cache
// beside the state, versioned so that an old write never overwrites a newer one.
// It needs Redis 6 or later, or what speaks its protocol and runs Lua.
//
//	replica, err := redis.Open(redis.Config{URL: "redis://10.0.0.9:6379/0", TTL: time.Hour})
//	streams.Run(ctx, t, streams.Config{Replica: replica})
//
// # Where results are
//
// Of a key of a store:
//
//	millrace:{APPLICATION:STORE:KEY}           hash: the result of the latest window
//	millrace:{APPLICATION:STORE:KEY}:START     hash: that of the window that begins at START
//	millrace:{APPLICATION:STORE:KEY}:windows   sorted set: the STARTs that there are
//
// The braces are part of the names: they are a hash tag, which keeps all of a key
// in one slot of a cluster. START is in Unix milliseconds. Results without windows
// have the first hash only. So one HGETALL reads the latest:
//
//	HGETALL millrace:{llm-metrics:model-stats:gpt-4o}
//
// A hash has a field for each member of the result's JSON object, in the text of
// JSON without quotes; those of an object within are named by a path, such as
// latency_ms.p95. What is null is left out. A value that is no JSON object is one
// field, value. Fields that begin with @ are the replica's own: @start and @end of
// the window, and the version, @log and @position.
//
// A hash is gone TTL after its last write, and when its result is taken back: the
// version stays then for as long, without the rest. The latest hash is that of the
// window with the greatest start that is still there.
package redis
