package bench

// goal is a line of what is asked and what was found.
type goal struct {
	Work, What string
	Want, Have float64
	// Most: the figure is to be at most Want, else at least.
	Most bool
}

// Met says whether the goal was reached.
func (g goal) Met() bool {
	if g.Most {
		return g.Have <= g.Want
	}
	return g.Have >= g.Want
}

// timesStreams is how many times as many events a processor second as Kafka
// Streams the project asks of itself, by work.
var timesStreams = map[string]float64{
	"tumbling": 5, "tumbling-exactly-once": 5, "tumbling-by-session": 4, "session": 10, "hopping": 15,
}

// goals are what the project asks of itself in one work; all holds the
// comparisons of all works by name.
func (c *Comparison) goals(all map[string]*Comparison) []goal {
	var goals []goal
	least := func(what string, want, have float64) {
		goals = append(goals, goal{Work: c.Work.Name, What: what, Want: want, Have: have})
	}
	most := func(what string, want, have float64) {
		goals = append(goals, goal{Work: c.Work.Name, What: what, Want: want, Have: have, Most: true})
	}
	if want := timesStreams[c.Work.Name]; want > 0 {
		least("events a CPU second, times Kafka Streams", want, c.ratio(Millrace, KafkaStreams, perCPUSecond))
	}
	switch c.Work.Name {
	case "tumbling":
		least("events a CPU second, share of the raw floor", 0.5, c.ratio(Millrace, Raw, perCPUSecond))
		most("peak memory, share of Kafka Streams", 1.0/3, c.ratio(Millrace, KafkaStreams, peakMiB))
		most("allocations an event", 0.05, median(c.Runs[Millrace], allocsPerRecord))
	case "tumbling-by-session":
		most("peak memory, MiB", 512, median(c.Runs[Millrace], peakMiB))
	case "hopping":
		// Figures of another commit are of another day, on which the machine may have been slower.
		if t := all["tumbling"]; t != nil && t.Machine == c.Machine {
			if rate := median(c.Runs[Millrace], perCPUSecond); rate > 0 {
				most("cost of an event, times tumbling", 1.5, median(t.Runs[Millrace], perCPUSecond)/rate)
			}
		}
	}
	if have := median(c.Restores[KafkaStreams], restoredPerSecond); have > 0 {
		least("records restored a second, times Kafka Streams", 3, median(c.Restores[Millrace], restoredPerSecond)/have)
	}
	return goals
}

// ratio returns the ratio of two contenders' medians, 0 if one of them has not
// run.
func (c *Comparison) ratio(of, to string, f func(Report) float64) float64 {
	if d := median(c.Runs[to], f); d > 0 {
		return median(c.Runs[of], f) / d
	}
	return 0
}

// expectedShare is Kafka Streams' share of the raw floor over ten million events
// on a quiet machine of two cores, when this peer was first measured, by work:
// those whose floor was measured too.
var expectedShare = map[string]float64{"tumbling": 0.104, "tumbling-by-session": 0.114}

// Flatters says that Kafka Streams has come to less than 85 % of what it is known
// to do, so that the comparison does not count. A JVM compiles while it works.
func (c *Comparison) Flatters() bool { return c.Share() < 0.85*c.Expected() }

// Share returns Kafka Streams' share of the raw floor.
func (c *Comparison) Share() float64 { return c.ratio(KafkaStreams, Raw, perCPUSecond) }

// Expected returns the share that is known; 0 if none is.
func (c *Comparison) Expected() float64 { return expectedShare[c.Work.Name] }
