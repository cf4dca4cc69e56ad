package topology

import "fmt"

// OffsetReset says where a source goes on if its position is lost: the records
// there were deleted before they were read, by the topic's retention. It also says
// where a source begins that was never read.
type OffsetReset uint8

// The resets. The default is the application's, and its default is Earliest.
const (
	DefaultReset OffsetReset = iota
	// Earliest goes on at the oldest record that is left.
	Earliest
	// Latest leaves out everything that is there.
	Latest
	// FailOnLoss stops the instance when records were lost. A source that was never
	// read begins at the oldest record.
	FailOnLoss
)

// String returns the name in configurations.
func (r OffsetReset) String() string {
	switch r {
	case Earliest:
		return "earliest"
	case Latest:
		return "latest"
	case FailOnLoss:
		return "fail"
	}
	return "default"
}

// ParseOffsetReset is the reverse of String.
func ParseOffsetReset(name string) (OffsetReset, error) {
	for _, r := range []OffsetReset{DefaultReset, Earliest, Latest, FailOnLoss} {
		if r.String() == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("offset reset %q: want earliest, latest or fail", name)
}

type resetOption OffsetReset

// OnLostOffset sets where a source goes on if its position is lost, and where it
// begins. The default is the application's.
func OnLostOffset(r OffsetReset) SourceOption { return resetOption(r) }

func (r resetOption) source(o *options) { o.reset = OffsetReset(r) }
