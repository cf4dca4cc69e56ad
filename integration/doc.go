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
// # Caveats
//
// A missing JDK or Maven fails a test and says what to install: no test here is
// skipped. Topics, groups and applications carry the test's own name, because
// the tests of one run share a broker. Tests that stop brokers start a cluster
// of their own.
package integration
