//go:build !cgo

package streams

// pebbleOutside: Pebble's cache and memtables are in Go's heap.
const pebbleOutside = false
