// Package servers gets, starts and stops the real servers that the integration
// tests run against, without containers and without anything installed by hand
// but a JDK, Maven and PostgreSQL.
//
// # The names to know
//
//   - [StartKafka] starts an Apache Kafka of one node or more and returns when
//     it answers; a [Kafka] tells its addresses and stops, kills and restarts
//     its nodes.
//   - [KafkaForTest] shares one broker among the tests of a process. If the
//     environment variable MILLRACE_TEST_KAFKA names a running one (host:port,
//     separated by commas), that one is used.
//   - [NewKafka] starts a cluster for one test, which may break it.
//   - [NewPostgres] starts a PostgreSQL for one test, which may stop it for a while:
//     the one that Debian's package installs, as the user that it makes.
//   - [Main] runs the tests of a package and stops what they shared.
//   - [StartS3] and [NewS3] start an S3 gateway (versitygw) over a temporary folder;
//     [S3Gateway] builds its command into the user's cache folder.
//   - [KafkaJars] brings the broker's jars into the user's cache folder.
//
// The command integration/servers/cmd/kafka starts and stops a broker that
// outlives it, which is what make kafka-start and make kafka-stop do.
//
// # How the broker is had
//
// Maven copies the jars that pom.xml names to a folder of the user's cache
// (MILLRACE_CACHE names another place) that carries the version and a hash of
// the pom, once; a lock file makes callers wait for the first of them. Each
// node is then one JVM in KRaft mode, both broker and controller, with its data,
// its log and its process id under one folder.
//
// # Caveats
//
// Ports are picked below the range from which systems take the ports of
// outgoing connections. Within it, a client that keeps dialling a stopped
// broker on the loopback can connect to itself, and so keep the port from the
// broker when it is started again.
//
// On Linux the nodes die with the process that started them, however it ends;
// elsewhere they may outlive a process that is killed.
//
// Nothing is skipped: without a JDK or Maven the functions return an error that
// wraps [ErrSetup] and says what to install.
package servers
