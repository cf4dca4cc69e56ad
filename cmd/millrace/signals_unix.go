//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// ordersBySignal turns SIGUSR1 and SIGUSR2 into orders.
func ordersBySignal() <-chan order {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	orders := make(chan order)
	go func() {
		for s := range signals {
			if s == syscall.SIGUSR2 {
				orders <- drain
			} else {
				orders <- togglePause
			}
		}
	}()
	return orders
}
