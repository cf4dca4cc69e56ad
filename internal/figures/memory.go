package main

import (
	"errors"

	"github.com/millrace/millrace/internal/config"
)

// memory is what 'bench hold' keeps: what a process took, second by second.
type memory struct {
	Memory  string // the budget
	Samples []struct{ Seconds, Resident, State float64 }
}

// goalOfBudget is by which factor the peak may be over the budget.
const goalOfBudget = 1.1

// memoryPicture shows resident memory while the state grows beyond its budget.
func memoryPicture(m memory) (*picture, error) {
	bytes, err := config.ParseSize(m.Memory)
	if err != nil {
		return nil, err
	}
	if len(m.Samples) == 0 {
		return nil, errors.New("there are no samples")
	}
	const mib, gib = 1 << 20, 1 << 30
	budget, end := float64(bytes)/mib, m.Samples[len(m.Samples)-1].Seconds
	var resident, state []point
	mostResident, mostState := goalOfBudget*budget, 0.
	for _, s := range m.Samples {
		resident, state = append(resident, point{s.Seconds, s.Resident / mib}), append(state, point{s.Seconds, s.State / gib})
		mostResident, mostState = max(mostResident, s.Resident/mib), max(mostState, s.State/gib)
	}
	memory := newPanel("resident memory", "", "MiB")
	upTo(&memory.X, end)
	upTo(&memory.Y, 1.1*mostResident)
	memory.grid()
	memory.paint(func(p *pen) {
		p.lines(stroke{vermillion, 1.2, true}, point{0, goalOfBudget * budget}, point{memory.X.Max, goalOfBudget * budget})
		p.lines(stroke{black, 1.2, true}, point{0, budget}, point{memory.X.Max, budget})
		p.lines(stroke{blue, 1.6, false}, resident...)
	})
	disk := newPanel("state on disk", "seconds", "GiB")
	upTo(&disk.X, end)
	upTo(&disk.Y, max(1.1*mostState, budget*mib/gib))
	disk.grid()
	disk.paint(func(p *pen) { p.lines(stroke{green, 1.6, false}, state...) })
	return &picture{
		title: "Resident memory over time while the state on disk outgrows the budget many times over",
		width: 620, height: 400, heights: []float64{3, 2},
		key: []entry{
			{line: stroke{blue, 1.6, false}, text: "resident"}, {line: stroke{black, 1.2, true}, text: "the budget, " + m.Memory},
			{line: stroke{vermillion, 1.2, true}, text: "1.1 times the budget: the goal of the peak"}, {line: stroke{green, 1.6, false}, text: "state"},
		},
		panels: [][]*panel{{memory}, {disk}},
	}, nil
}
