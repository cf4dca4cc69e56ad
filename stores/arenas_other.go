//go:build !cgo || !linux

package stores

// oneArena: Pebble's memory is Go's, or that of an allocator without such arenas.
func oneArena() {}
