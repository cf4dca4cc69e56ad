// Package differential compares windowed aggregates with those of Kafka Streams:
// the same records go to its TopologyTestDriver, which java/Differential.java runs,
// and to package streamtest, with one partition and no delay.
//
// TestRandomRecords compares results record by record, for every kind of window
// that both have. TestDifferences shows each difference that there is, on both
// sides; docs/differences.md explains them under the same names.
//
// The tests carry the build tag "integration" and need a JDK and Maven, not a
// broker. All cases of a test run in one start of the JVM.
package differential
