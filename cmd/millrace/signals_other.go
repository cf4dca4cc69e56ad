//go:build !unix

package main

// ordersBySignal returns nil: this system has no signals for it.
func ordersBySignal() <-chan order { return nil }
