package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stoppedAtOnce is the exit code after a second signal.
const stoppedAtOnce = 1

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(stoppedAtOnce)
	}()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}
