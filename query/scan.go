package query

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
)

// scan is a query for a page of many entries.
type scan struct {
	st *store
	// query is the fingerprint that cursors of the scan carry.
	query uint64
	limit int
	after *position // the last item of the page before, or nil

	// keys and windows are for one kind of store each.
	keys    stores.RangeQuery
	windows stores.WindowsQuery
	key     []byte // of whose windows; nil for all
	// cold is whether the cold tier is read.
	cold coldChoice
}

// serveKeys answers /v1/stores/{store}/keys.
func (s *Server) serveKeys(q *request) (any, error) {
	st, err := s.catalog.find(q.http.PathValue("store"))
	if err != nil {
		return nil, err
	}
	if err := st.mustHaveNone(); err != nil {
		return nil, err
	}
	sc := &scan{st: st}
	for name, bound := range map[string]*[]byte{"from": &sc.keys.From, "to": &sc.keys.To} {
		if text := q.params.Get(name); text != "" {
			if *bound, err = st.parse(name, text); err != nil {
				return nil, err
			}
		}
	}
	if from, to := string(sc.keys.From), string(sc.keys.To); sc.keys.To != nil && from > to {
		return nil, bad(CodeBadKey, "from=%q is after to=%q in the order of encoded keys", q.params.Get("from"), q.params.Get("to"))
	}
	if sc.limit, err = q.limit(s.cfg.MaxItems); err != nil {
		return nil, err
	}
	sc.query = fingerprint("keys", st.name, q.params.Get("from"), q.params.Get("to"))
	return s.scanAll(q, sc)
}

// serveWindows answers /v1/stores/{store}/windows.
func (s *Server) serveWindows(q *request) (any, error) {
	st, err := s.catalog.find(q.http.PathValue("store"))
	if err != nil {
		return nil, err
	}
	sc, err := s.windowScan(q, st)
	if err != nil {
		return nil, err
	}
	sc.query = fingerprint("windows", st.name, q.params.Get("from"), q.params.Get("to"))
	return s.scanAll(q, sc)
}

// windowScan reads the parameters of a scan of windows.
func (s *Server) windowScan(q *request, st *store) (*scan, error) {
	if err := st.mustHaveWindows(); err != nil {
		return nil, err
	}
	from, to, err := q.span()
	if err != nil {
		return nil, err
	}
	limit, err := q.limit(s.cfg.MaxItems)
	if err != nil {
		return nil, err
	}
	cold, err := q.coldChoice()
	return &scan{st: st, limit: limit, windows: stores.WindowsQuery{From: from, To: to}, cold: cold}, err
}

// scanAll reads all partitions of the store, wherever they are; a forwarded
// request those that it names.
func (s *Server) scanAll(q *request, sc *scan) (any, error) {
	info, err := s.info(sc.st)
	if err != nil {
		return nil, err
	}
	if sc.after, err = parseCursor(q.params.Get("cursor"), sc.query, info.Tasks); err != nil {
		return nil, err
	}
	partitions, err := q.partitions(info.Tasks)
	if err != nil {
		return nil, err
	}
	held := s.readable(q)
	var here []streams.TaskInfo
	var away []streams.TaskID
	for _, p := range partitions {
		id := streams.TaskID{Sub: info.SubTopology, Partition: p}
		if t, ok := held[id]; ok {
			here = append(here, t)
		} else if q.forwarded {
			return nil, s.notOwner(id)
		} else {
			away = append(away, id)
		}
	}
	return s.scan(q, sc, here, away)
}

// scan reads a page from tasks that are held here and tasks that are not.
func (s *Server) scan(q *request, sc *scan, here []streams.TaskInfo, away []streams.TaskID) (any, error) {
	parts, behind, err := s.open(q, sc.st, here)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range parts {
			p.close()
		}
	}()
	m := merge{limit: sc.limit, most: s.cfg.MaxBytes}
	m.large = func(e Entry) error { return s.tooLarge(sc.st, e.Partition, e) }
	var partial partial
	pages, err := s.askOthers(q, away)
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		m.runs = append(m.runs, remoteRun(page))
		partial.add(page)
		behind.Stale = behind.Stale || page.Stale
		behind.Lag = append(behind.Lag, page.Lag...)
	}
	chunk := min(max(sc.limit/max(1, len(parts))+1, 16), 256)
	for _, p := range parts {
		m.runs = append(m.runs, sc.localRun(p, chunk))
	}
	// Behind the warm runs: of what both have the first counts.
	cold, err := s.coldRun(q, sc, parts, &partial)
	if err != nil {
		return nil, err
	}
	if cold != nil {
		m.runs = append(m.runs, cold)
	}
	items, more, err := m.take()
	if err != nil {
		return nil, err
	}
	page := Page{Store: sc.st.name, Items: items, Partial: partial.is, ColdError: partial.reason, Staleness: behind}
	if len(parts) > 0 && tierOf(sc, parts) != nil || partial.tiered {
		page.Tiers = map[Tier]int{Warm: 0, Cold: 0}
		for _, e := range items {
			page.Tiers[e.Tier]++
		}
	}
	if more {
		last := items[len(items)-1]
		page.Next = position{last.Position, last.Partition}.cursor(sc.query)
		if len(page.Next) > maxCursorText {
			return nil, fail(413, CodeTooLarge, "a key of store %q is too long to go on behind it: ask with a greater limit", sc.st.name)
		}
	}
	if !q.params.Has(partitionsParam) {
		for i := range items {
			items[i].Position, items[i].Tier = nil, ""
		}
	}
	return page, nil
}

// localRun returns the entries of a task that is held here.
func (sc *scan) localRun(p *part, chunk int) *run {
	keys, windows := sc.keys, sc.windows
	windows.Key = sc.key
	keys.Limit, windows.Limit = chunk, chunk
	if sc.after != nil {
		from := sc.after.begin(p.task.Partition)
		keys.Cursor, windows.Cursor = from, from
	}
	return &run{more: func() ([]Entry, bool, error) {
		var page stores.Page
		var err error
		if sc.st.windowed() {
			page, err = p.state.Windows(p.view, windows)
		} else {
			page, err = p.state.Range(p.view, keys)
		}
		if err != nil {
			return nil, false, err
		}
		keys.Cursor, windows.Cursor = page.Next, page.Next
		entries := make([]Entry, len(page.Items))
		for i, item := range page.Items {
			if entries[i], err = sc.st.entry(item, p.task.Partition); err != nil {
				return nil, false, err
			}
			entries[i].Position, entries[i].Tier = item.Position, Warm
		}
		return entries, page.Next != nil, nil
	}}
}

// askAtOnce is how many instances are asked at the same time.
const askAtOnce = 16

// askOthers asks the instances that run the tasks, each once, and returns their
// pages in the order of endpoints. If one fails, so does the whole: an answer
// that silently lacks a partition would be a wrong one.
func (s *Server) askOthers(q *request, tasks []streams.TaskID) ([]Page, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	d, err := s.directory(q.ctx, q)
	if err != nil {
		return nil, err
	}
	partitions := map[string][]string{}
	var endpoints []string
	for _, t := range tasks {
		endpoint, err := s.elsewhere(d, t)
		if err != nil {
			return nil, err
		}
		if partitions[endpoint] == nil {
			endpoints = append(endpoints, endpoint)
		}
		partitions[endpoint] = append(partitions[endpoint], strconv.Itoa(int(t.Partition)))
	}
	slices.Sort(endpoints)
	pages := make([]Page, len(endpoints))
	errs := make([]error, len(endpoints))
	s.each(endpoints, func(i int, endpoint string) {
		params := url.Values{}
		for name, values := range q.params {
			params[name] = values
		}
		params.Set(partitionsParam, strings.Join(partitions[endpoint], ","))
		errs[i] = s.askPage(q.ctx, q, endpoint, params, &pages[i])
	})
	if err := firstError(errs...); err != nil {
		s.forget()
		return nil, err
	}
	return pages, nil
}

func (s *Server) askPage(ctx context.Context, q *request, endpoint string, params url.Values, page *Page) error {
	answer, err := s.call(ctx, q, endpoint, q.http.URL.EscapedPath(), params.Encode())
	if err != nil {
		return err
	}
	if err := answer.failure(); err != nil {
		return err
	}
	if err := json.Unmarshal(answer.body, page); err != nil {
		return unavailable(CodeUnavailable, "the answer of the instance at %s cannot be read: %v", endpoint, err)
	}
	return nil
}

// each calls f for every endpoint, some at a time, and waits.
func (s *Server) each(endpoints []string, f func(i int, endpoint string)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, min(askAtOnce, max(1, len(endpoints))))
	for i, endpoint := range endpoints {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i, endpoint)
		})
	}
	wg.Wait()
}

// run is a sequence of entries in ascending order of position.
type run struct {
	entries []Entry
	// more returns the entries that follow and whether there are more of them;
	// nil if there are none.
	more func() (entries []Entry, more bool, err error)
	// cut: there are more, but they are not to be had now.
	cut bool
}

// remoteRun returns the entries that another instance gave.
func remoteRun(p Page) *run { return &run{entries: p.Items, cut: p.Next != ""} }

// at returns the position of the first entry, of which there is one.
func (r *run) at() position { return position{r.entries[0].Position, r.entries[0].Partition} }

// fill loads entries, if there are none left and more are to be had.
func (r *run) fill() error {
	for len(r.entries) == 0 && r.more != nil {
		entries, more, err := r.more()
		if err != nil {
			return err
		}
		r.entries = entries
		if !more {
			r.more = nil
		}
	}
	return nil
}

// merge takes entries from runs in the order of positions.
type merge struct {
	runs  []*run
	limit int
	most  int // bytes
	large func(Entry) error
}

// take returns the first entries of all runs, and whether more come behind
// them. It stops early at a run whose next entry is not to be had, since that
// entry may be the next of all, and before an answer gets too large.
func (m *merge) take() (items []Entry, more bool, err error) {
	items = []Entry{}
	size := 0
	var last position
	for taken := false; ; taken = true {
		best := -1
		var least position
		for i, r := range m.runs {
			if err := r.fill(); err != nil {
				return nil, false, err
			}
			for taken && len(r.entries) > 0 && r.at().compare(last) == 0 { // another tier has it too
				if r.entries = r.entries[1:]; len(r.entries) > 0 {
					break
				}
				if err := r.fill(); err != nil {
					return nil, false, err
				}
			}
			if len(r.entries) == 0 {
				if r.cut {
					return items, len(items) > 0, nil
				}
				continue
			}
			if p := r.at(); best < 0 || p.compare(least) < 0 {
				best, least = i, p
			}
		}
		if best < 0 {
			return items, false, nil
		}
		e := m.runs[best].entries[0]
		switch size += e.size(); {
		case len(items) == m.limit, size > m.most && len(items) > 0:
			return items, true, nil
		case size > m.most:
			return nil, false, m.large(e)
		}
		items, last = append(items, e), least
		m.runs[best].entries = m.runs[best].entries[1:]
	}
}
