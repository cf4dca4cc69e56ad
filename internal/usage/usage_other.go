//go:build !unix

package usage

import "time"

// ProcessorTime is not measured on this system.
func ProcessorTime() time.Duration { return 0 }

// PeakMemory is not measured on this system.
func PeakMemory() int64 { return 0 }
