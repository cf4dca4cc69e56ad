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
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv, orders: ordersBySignal()}
	os.Exit(p.run(ctx, os.Args))
}
