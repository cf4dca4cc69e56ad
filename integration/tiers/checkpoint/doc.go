// Package checkpoint holds the tests of checkpoints against a real Kafka and a
// real S3 gateway (//go:build integration):
//
//   - an instance process is killed at random points of its uploads, and the next
//     one begins on an empty disk: ten times, fifty with the tag soak;
//   - the gateway is away for ten seconds under load, then back;
//   - a benchmark of recovery, with a checkpoint and without: see TestRecovery.
package checkpoint
