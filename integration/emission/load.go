package emission

import (
	"time"

	"github.com/millrace/millrace/integration/live"
)

// Load says which events there are, and when. Its Disorder is also the watermark's
// delay.
type Load struct {
	live.Load
	// Window is the length of the windows.
	Window time.Duration
}

// DefaultLoad returns the load that the docs tell of.
func DefaultLoad() Load {
	return Load{
		Load: live.Load{
			Rate: 50_000, WarmUp: 5 * time.Second, For: 30 * time.Second,
			Disorder: time.Second, Share: 0.05, Seed: 1,
		},
		Window: 100 * time.Millisecond,
	}
}
