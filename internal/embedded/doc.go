// Package embedded runs a Kafka cluster inside the process, for the demo and for
// tests that need no other program. It is kfake, which speaks the protocol of
// Kafka 4 over real TCP on loopback, or over an in-memory network inside a
// testing/synctest bubble.
//
// The types to know: [Config] says how many nodes and where the data lies;
// [Start] returns a [Cluster], whose Addrs and Dial are what a client needs.
//
// # Data
//
// Without a folder everything is kept in memory, compressed, and is gone at
// Close. With one, the log is written as it comes and loaded again by the next
// Start, also after the process was killed. Two clusters must not share a folder.
//
// # Caveats
//
// It stands in for Kafka, and differs where tests against a real broker have to
// look:
//
//   - transactions end at once, so a reader never sees a pending marker;
//   - replication is a number in the metadata, nothing is copied;
//   - a group that never committed is answered with GROUP_ID_NOT_FOUND;
//   - unknown topic settings are taken; errors carry no text;
//   - the log cleaner looks every hour unless [Cluster.Fake].Compact is called.
package embedded
