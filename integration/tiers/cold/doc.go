// Package cold holds the tests of the cold tier against a real Kafka and a real
// PostgreSQL: queries that span the tiers, instances that are killed while they
// write and evict, a server that is stopped under load, and the retention.
package cold
