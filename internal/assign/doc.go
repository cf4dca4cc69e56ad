// Package assign decides which member of a group runs which task, and holds the
// bytes in which members and their leader tell each other about it.
//
// Kafka's group protocol carries opaque bytes: each member joins with a
// [Subscription], one of them (the leader) gets all of them, calls [Plan], and
// sends each member its [Assignment]. Nothing here talks to Kafka, reads a clock
// or keeps state: equal input gives equal output, whatever the order of the
// members.
//
// The types to know:
//
//   - [Task] is one sub-topology on one partition, the unit that is assigned.
//   - [Subscription] is what a member says: what it runs, what lies on its disk
//     and how far that is behind, how many workers it has, where it answers.
//   - [Policy] is how many copies of state there are to be, and when a task may
//     move to one.
//   - [Assignment] is what the leader answers: the tasks to run, and those to
//     keep a copy of.
//   - [Assignments] is a whole plan, with the tasks that are under way from one
//     member to another as [Move] values.
//
// # How a plan comes about
//
// Each member has a fair share of the tasks, in proportion to its workers, and
// ends with that share rounded down or up. Within this bound, in this order:
// a task stays where it runs; one that must move, or that nobody runs, goes to
// the member whose copy of its state is least behind; else to the member with
// the fewest tasks of that sub-topology for its size, so that a heavy
// sub-topology is spread and not piled up. Spreading chooses which tasks move
// and where to, but moves none by itself.
//
// # Copies of state
//
// With a [Policy] a task does not wait for its state. One that nobody runs goes
// to the member that is least behind, even beyond its share; one that is to move
// stays where it runs, while the member that is to have it copies the state as a
// warm-up. When that has caught up its member asks for a rebalance, and the plan
// of that one moves the task. Standbys are copies that stay; they lie in another
// rack than the task, where there is one. The order is: least lag, then balance,
// then as little movement as they allow.
//
// # Cooperation
//
// A task is never planned on two members at once. One that moves from a member
// that runs it is withheld: in this round nobody gets it, its owner sees that it
// is missing ([Diff]), commits, closes it and joins again, and the plan of that
// second round gives it to its new member. All other tasks run on through both
// rounds. Two rounds reach a stable plan; a third changes nothing. Where tasks
// wait for warm-ups, each of these takes two rounds of its own.
//
// # The wire form
//
// Version, fixed fields, then tagged fields that a reader may skip: see
// [Subscription.Append]. A version newer than [Version] is a [VersionError],
// anything else that does not decode is [ErrMalformed]. Kafka keeps the whole
// group, all subscriptions and assignments, in one record of at most 1 MB, so
// both are small: no map from endpoints to partitions rides in an assignment
// (members ask [Assignment.Leader] over HTTP), and [Subscription.Fit] leaves out
// what a large group has no room for.
//
// # Caveats
//
//   - All members must name the same protocol to Kafka, [Protocol]. It is not
//     the one of Kafka Streams: a Java member is refused by the broker.
//   - A member that learns that it was expelled must drop its tasks before it
//     joins again, with nothing in [Subscription.Owned].
package assign
