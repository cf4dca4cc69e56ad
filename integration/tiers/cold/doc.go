// Package cold holds the tests of the cold tier against a real Kafka and a real
// PostgreSQL: queries that span the tiers, instances that are killed while they
// write and evict, a server that is stopped under load, and the retention.
//
// The types to know are in the tests: spec is an instance, in this process or in
// one that kills itself, and load writes events and keeps the truth about them.
//
// Caveats: each test starts a PostgreSQL of its own, and all share one Kafka
// (servers.KafkaForTest). The figures that are logged are of the machine.
package cold
