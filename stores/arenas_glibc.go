//go:build cgo && linux

package stores

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void one_arena(void) { mallopt(M_ARENA_MAX, 1); }
#else
static void one_arena(void) {}
#endif
*/
import "C"

import "sync"

// oneArena has C's allocator, which Pebble's blocks and memtables come from with cgo,
// make no more arenas. It would have one for each thread: blocks come and go on any,
// and the arenas kept three times what the cache held.
var oneArena = sync.OnceFunc(func() { C.one_arena() })
