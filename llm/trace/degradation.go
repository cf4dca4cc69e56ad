package trace

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/llm"
)

// DegradationKind is what goes wrong in a Degradation.
type DegradationKind uint8

// The kinds of degradations.
const (
	// SlowModel multiplies the latencies of a model by Amount.
	SlowModel DegradationKind = iota
	// FailingModel has a share Amount of a model's requests fail.
	FailingModel
	// SickComponent has a share Amount of a component's reports say so, with more
	// load and a longer queue in all of them.
	SickComponent
)

var degradationNames = [...]string{"slow model", "failing model", "sick component"}

// String returns the kind's name, as in "slow model".
func (k DegradationKind) String() string {
	if int(k) < len(degradationNames) {
		return degradationNames[k]
	}
	return fmt.Sprintf("DegradationKind(%d)", uint8(k))
}

// Degradation is planted in generated traffic: what goes wrong, where, when and
// how much. From and To are Unix milliseconds; To is not part of it.
type Degradation struct {
	Kind     DegradationKind
	Target   string // model or component
	From, To int64
	Amount   float64
	// Ramp lets it grow evenly from nothing at From to Amount at To.
	Ramp bool
}

// amount returns how strong it is at a time within it: the factor of a SlowModel,
// the share of the others.
func (d *Degradation) amount(at int64) float64 {
	if !d.Ramp {
		return d.Amount
	}
	nothing := 0.0
	if d.Kind == SlowModel {
		nothing = 1
	}
	return nothing + (d.Amount-nothing)*float64(at-d.From)/float64(d.To-d.From)
}

func (d *Degradation) covers(kind DegradationKind, target string, at int64) bool {
	return d.Kind == kind && d.Target == target && at >= d.From && at < d.To
}

// Plan draws degradations of all kinds for the events from begin to end (Unix
// milliseconds): on each model and component one after the other, each 4 to 12
// minutes long, with 20 to 50 minutes between them, the first after 25. Models
// become 1.4 to 3 times as slow, or 4 to 25 % of their requests fail; of a sick
// component 30 to 90 % of the reports say so.
func Plan(seed uint64, begin, end int64) []Degradation {
	return plan(rand.New(rand.NewPCG(seed, 0x706c616e)), begin, end, func(d *Degradation, between func(low, high float64) float64) {
		switch d.Kind {
		case SickComponent:
			d.Amount = between(0.3, 0.9)
		case SlowModel:
			d.Amount = between(1.4, 3)
		default:
			d.Amount = between(0.04, 0.25)
		}
	})
}

// PlanFaint draws degradations like Plan, but such as are hard to tell from what
// is normal: models become 1.3 to 2 times as slow, at once or drifting there, 3 to
// 6 % of their requests fail beside those that fail anyway, and of a component 10
// to 40 % of the reports say that it is sick.
func PlanFaint(seed uint64, begin, end int64) []Degradation {
	return plan(rand.New(rand.NewPCG(seed, 0x6661696e74)), begin, end, func(d *Degradation, between func(low, high float64) float64) {
		switch d.Kind {
		case SickComponent:
			d.Amount = between(0.1, 0.4)
		case SlowModel:
			d.Amount, d.Ramp = between(1.3, 2), between(0, 1) < 0.5
		default:
			d.Amount = between(0.03, 0.06)
		}
	})
}

// plan draws where and when, and has strength draw how much.
func plan(random *rand.Rand, begin, end int64, strength func(d *Degradation, between func(low, high float64) float64)) []Degradation {
	minutes := func(low, high float64) int64 {
		return int64((low + (high-low)*random.Float64()) * float64(time.Minute.Milliseconds()))
	}
	between := func(low, high float64) float64 { return low + (high-low)*random.Float64() }
	var plan []Degradation
	for _, of := range profiles {
		for _, p := range of {
			for _, target := range []string{p.name, componentOf(p.name)} {
				for at := begin + minutes(25, 55); ; {
					d := Degradation{Target: target, From: at, To: at + minutes(4, 12)}
					switch {
					case target != p.name:
						d.Kind = SickComponent
					case random.IntN(2) == 0:
						d.Kind = SlowModel
					default:
						d.Kind = FailingModel
					}
					strength(&d, between)
					if d.To >= end {
						break
					}
					plan = append(plan, d)
					at = d.To + minutes(20, 50)
				}
			}
		}
	}
	return plan
}

// degradePerformance does to an event what the plan has for its model and time.
// What is random in it follows from the request, so that every copy of the event
// comes out the same.
func degradePerformance(plan []Degradation, v *llm.Performance) {
	for i := range plan {
		d := &plan[i]
		switch {
		case d.covers(SlowModel, v.Model, v.Timestamp):
			v.LatencyMS *= d.amount(v.Timestamp)
		case d.covers(FailingModel, v.Model, v.Timestamp):
			if chanceOf(v.RequestID) < d.amount(v.Timestamp) {
				v.Error, v.CostUSD, v.Quality = true, llm.Optional[float64]{}, llm.Optional[float64]{}
			}
		}
	}
}

// chanceOf returns a number in [0, 1) that is the request's own.
func chanceOf(id llm.RequestID) float64 {
	bits := uint64(0)
	for _, b := range id[9:16] { // 56 random bits
		bits = bits<<8 | uint64(b)
	}
	return float64(bits) / (1 << 56)
}
