package query

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// coldTimeout bounds a read of the cold tier: a dashboard rather has what is warm.
const coldTimeout = 5 * time.Second

// coldChoice says what becomes of a query when the cold tier fails.
type coldChoice string

// The values of the parameter cold.
const (
	// coldAuto answers without the cold tier, and says so.
	coldAuto coldChoice = "auto"
	// coldRequired fails.
	coldRequired coldChoice = "required"
	// coldNever does not ask it.
	coldNever coldChoice = "never"
)

// coldChoice reads the parameter cold.
func (q *request) coldChoice() (coldChoice, error) {
	switch c := coldChoice(q.params.Get("cold")); c {
	case "":
		return coldAuto, nil
	case coldAuto, coldRequired, coldNever:
		return c, nil
	default:
		return "", bad(CodeBadParameter, "cold=%q: want %s, %s or %s", c, coldAuto, coldRequired, coldNever)
	}
}

// partial is what an answer lacks.
type partial struct {
	is     bool
	reason string
	// tiered is set if another instance's part of the answer has tiers.
	tiered bool
}

func (p *partial) add(page Page) {
	p.tiered = p.tiered || page.Tiers != nil
	if page.Partial && !p.is {
		p.is, p.reason = true, page.ColdError
	}
}

// tierOf returns the cold tier of a store, by one of its open parts; nil if it has
// none.
func tierOf(sc *scan, parts []*part) *stores.Tier {
	if !sc.st.windowed() || len(parts) == 0 {
		return nil
	}
	return parts[0].tier
}

// coldRun returns what the cold tier has of the partitions that are open here; nil
// if it need not be asked. If it cannot be, now or for a later page, and the request
// does without, the run ends there and lack says so. The views
// are open already: what is in none of them had left the warm tier before, and was
// in the cold one before that.
func (s *Server) coldRun(q *request, sc *scan, parts []*part, lack *partial) (*run, error) {
	tier := tierOf(sc, parts)
	if tier == nil || sc.cold == coldNever || s.inst.Cold() == nil {
		return nil, nil
	}
	partitions := make([]int32, 0, len(parts))
	needed := false
	for _, p := range parts {
		partitions = append(partitions, p.task.Partition)
		needed = needed || p.tier.ByKey() || sc.windows.From < p.tier.Dropped()
	}
	if !needed {
		return nil, nil
	}
	cq := stores.ColdQuery{
		Store: tier.Store(s.inst.Application()), Partitions: partitions, Key: sc.key,
		From: sc.windows.From, To: sc.windows.To, ByKey: tier.ByKey(), Limit: min(sc.limit+1, 1000),
	}
	if sc.after != nil {
		place, err := tier.Place(sc.after.bytes)
		if err != nil {
			return nil, bad(CodeBadCursor, "the cursor cannot be read: give the next of an answer as it is")
		}
		place.Partition = sc.after.partition
		cq.After = &place
	}
	read := func() ([]Entry, bool, error) {
		entries, more, err := s.readCold(q, sc, tier, &cq)
		if err == nil {
			return entries, more, nil
		}
		if sc.cold == coldRequired {
			return nil, false, unavailable(CodeColdUnavailable, "the cold tier does not answer, and cold=required: %v", err)
		}
		s.cfg.Logger.Warn("a query was answered without the cold tier, or with a part of it", "store", sc.st.name, "error", err)
		lack.is, lack.reason = true, "the cold tier does not answer: windows older than the warm tier are missing"
		return nil, false, nil
	}
	first, more, err := read()
	if err != nil {
		return nil, err
	}
	r := &run{entries: first}
	if more {
		r.more = read
	}
	return r, nil
}

// readCold reads a page of the cold tier, and has cq ask for the next one.
func (s *Server) readCold(q *request, sc *scan, tier *stores.Tier, cq *stores.ColdQuery) (entries []Entry, more bool, err error) {
	ctx, cancel := context.WithTimeout(q.ctx, coldTimeout)
	defer cancel()
	rows, err := s.inst.Cold().Read(ctx, *cq)
	if err != nil {
		return nil, false, err
	}
	for _, row := range rows {
		item, err := tier.Item(row)
		if err != nil {
			return nil, false, fmt.Errorf("window %s of the cold tier: %w", window.FormatTime(row.Window.Start), err)
		}
		e, err := sc.st.entry(item, row.Partition)
		if err != nil {
			return nil, false, err
		}
		e.Position, e.Tier = item.Position, Cold
		entries = append(entries, e)
	}
	if n := len(rows); n > 0 {
		last := rows[n-1]
		cq.After = &stores.ColdPlace{Key: last.Key, Window: last.Window, Partition: last.Partition}
	}
	return entries, len(rows) == cq.Limit, nil
}
