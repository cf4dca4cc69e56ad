// Package integration holds the tests and benchmarks that need real servers: a
// real Kafka first of all. Each file carries the build tag "integration", so
// that go test ./... stays hermetic and needs nothing but Go.
//
// # How to run them
//
//	make integration              sets up, starts one Kafka, runs all, stops it
//	export $(make -s kafka-start) starts one Kafka and names it
//	go test -tags integration ./integration/ -run TestName
//	make kafka-stop
//
// Without a running Kafka a test process starts its own; see package
// integration/servers, which gets the servers, starts them on free loopback
// ports and stops them by their process ids.
//
// # What is tested
//
//   - kill_test.go, command_test.go: a process is killed in the middle of a
//     replay; no event is missing, and the repeats are bounded by what it had
//     fetched and not committed, which tap_test.go learns by listening in.
//   - state_test.go: a process is killed at any point of its commits; no
//     database is ahead of its changelog. reader_test.go reads both by itself.
//   - rebalance_test.go, stop_test.go: tasks that stay, and graceful stops.
//   - restore_test.go, purge_test.go: what brokers do to logs: compact them,
//     truncate them, make them anew, delete from them.
//   - bounded_test.go: bounded runs against the direct computation, and input in
//     transactions.
//   - transaction_test.go: what only a real broker does to transactions, and a
//     process that is killed between the steps of a commit in one.
//   - badinput_test.go: the texts of errors.
//   - shuffle: what is dropped behind a repartition, beside Kafka Streams.
//   - emission: how long results take, and that each event is in one.
//   - chaos: everything at once, as a seed draws it; its own package and stage.
//   - tiers: what is beside Pebble, a stage of its own. tiers/checkpoint: uploads
//     that are killed, an object store that goes away, and how long a recovery
//     takes. tiers/cold: closed windows in PostgreSQL, each once whatever is killed
//     or away. tiers/hot: the latest results in Redis.
//   - backfill_test.go: a time in the past, computed beside the live application.
//   - soak_test.go: some of these for as long as make soak is told.
//
// # Caveats
//
// A missing JDK or Maven fails a test and says what to install: no test here is
// skipped. Topics, groups and applications carry the test's own name, because
// the tests of one run share a broker. Tests that stop brokers start a cluster
// of their own.
package integration
