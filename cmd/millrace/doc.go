// Command millrace runs stream processing topologies whose state lives in
// Pebble and is replicated to Kafka. It comes with one application: the events
// of LLM serving become windowed metrics, by model, session, component and experiment.
//
//	millrace demo                        see it work; needs nothing else
//	millrace replay --brokers host:9092  write a real trace to a cluster
//	millrace run --brokers host:9092     run an instance
//	millrace query model-stats           ask a running instance
//	millrace topology                    print what is run
//	millrace topics, millrace reset      prepare and clear the cluster
//	millrace dlq                         look at dead letters, and send them again
//	millrace bench                       measure an instance on what a topic holds
//
// # Flags and configuration
//
// Each flag is also read from the environment, as MILLRACE_ and its name in
// capitals with '_' for '-'; and many are in the file that --config names. A
// flag goes before the environment, that before the file, that before the
// default. See package internal/config for the file.
//
// # Output
//
// Results go to standard output and logs to standard error: text on a terminal,
// else JSON. Progress is a bar on a terminal and plain lines elsewhere.
//
// The exit code is 0 after a clean end, also by Ctrl-C or SIGTERM, 1 after a
// failure, and 2 if the command line or the configuration is wrong. The first
// signal has an instance drain, commit and leave its group; a second one ends
// the process at once.
//
// # Reading the code
//
// main.go has the process's edge, app.go what the commands share, settings.go
// the configuration, and each command is a file of its own name. tail.go reads
// topics, replayer.go writes a trace, account.go (performance) and accounts.go (the
// rest) compare what an application wrote with the direct computation; demo and
// run --until-end end with it.
//
// # Caveats
//
// The embedded Kafka of demo stands in for one: see package internal/embedded.
// This command alone carries it; a program of your own over package streams
// does not.
package main
