package window

// ClockSet takes note that the wall clock was set forward by d milliseconds, or
// back if d is negative: the times noted move with it, so that the partition has
// been silent for as long as before.
func (c *PartitionClock) ClockSet(d int64) {
	if c.hasRecord {
		c.lastRecord = addSaturated(c.lastRecord, d)
	}
	c.lastAnswer = addSaturated(c.lastAnswer, d)
}
