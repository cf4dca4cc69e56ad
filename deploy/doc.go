// Package deploy holds files that run Millrace elsewhere, and a test that they
// fit together; no Go code uses it.
//
//   - compose.yaml: Kafka, two instances and Prometheus on one machine.
//   - prometheus.yaml: what Prometheus scrapes there.
//   - kubernetes.yaml: a StatefulSet with a volume for each instance.
//
// The image is that of the Dockerfile at the root. The test reads all of them
// and compares ports, paths, flags, volumes and users with one another and with
// what the command takes.
package deploy
