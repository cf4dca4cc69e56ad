//go:build cgo

package streams

// pebbleOutside: Pebble's cache and memtables are C's memory.
const pebbleOutside = true
