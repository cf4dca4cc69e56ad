// Package chaos breaks everything that an application stands on, as often as it
// is told, and then looks whether each event was counted once.
//
// # The run
//
// Three Kafka nodes, three to five instances of an ordinary topology, each a
// process with a state folder and a network of its own, and a steady load. The
// topology numbers the readings of each sensor from a store, repartitions them,
// and sums them up in windows; what comes too late for its window goes to a side
// output. A seed draws the load and the faults (fault_*_test.go), up to two at a
// time:
//
//   - an instance is killed, frozen until the group has expelled it and woken as a
//     zombie, added, or removed;
//   - a broker is killed and started again on its data;
//   - the connections of an instance are cut, slowed down, or half-open: nothing
//     comes through, and nobody says so;
//   - a state folder is deleted, or a bit of each of its tables is flipped.
//
// A fault counts if its effect was seen: the group's generation changed, the
// zombie was fenced, a leader moved, the state was found corrupt. The effects are
// read from what the instances log and from the cluster. An instance that ends by
// itself ends the run.
//
// # The ledger
//
// When the load has ended and every window has closed, results and side output
// are read, committed records only, and compared with what the load has sent.
// Exactly once, each window's count, sum, and sum over a hash of the readings'
// ids are the truth; its results are numbered without a gap, and the last of them
// alone is final; the numbers of each sensor's readings are those from 1 on; and
// nothing was late but what the load sent late. At least once, no figure is below
// the truth.
//
// # How to run it
//
//	make chaos SEED=7 FAULTS=30 GUARANTEE=exactly-once
//
// The load comes to the brokers directly, instances by proxies in this process,
// one a broker and instance: each broker has a listener for each of them, which
// advertises the proxy. A run that fails keeps its folder and prints its path:
// the log of faults, those of all processes, and all results.
//
// # Figures
//
// failover_test.go breaks less and looks closer: with instances that only number
// readings, it prints how long partitions are without results that can be read
// committed when one of two instances is killed, when one becomes four, and when
// static members are restarted. A ledger follows there too.
//
//	make failover
package chaos
