// Package hot tests what is replicated to Redis, with a real Kafka, a real Redis
// and the command that users run.
//
//   - What Redis holds after a run is what the results topic says last. The test
//     also prints how long a read takes.
//   - An instance that is frozen until its tasks have gone, and wakes with results
//     that wait for Redis, does not overwrite those of its successor.
//   - Redis may be gone for ten seconds under load: nothing stops, and what waits is
//     there soon after.
//
// The results topic is shared with other tests: only what is written to it from a
// test's beginning counts. Redis is the test's own.
package hot
