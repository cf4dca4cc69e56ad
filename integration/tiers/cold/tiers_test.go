//go:build integration

package cold_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores/postgres"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("after %v: %s", patience, what)
		}
	}
}

// page asks for one page of windows.
func page(t *testing.T, base, path string, params url.Values) (p query.Page, status int, body string) {
	t.Helper()
	response, err := http.Get(base + path + "?" + params.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
	}
	return p, response.StatusCode, b.String()
}

// pages asks for all pages, and fails if a window comes twice.
func pages(t *testing.T, base, path string, params url.Values) (sums map[string]int64, tiers map[query.Tier]int) {
	t.Helper()
	sums, tiers = map[string]int64{}, map[query.Tier]int{}
	for {
		p, status, body := page(t, base, path, params)
		if status != http.StatusOK || p.Partial {
			t.Fatalf("status %d: %s", status, body)
		}
		for _, e := range p.Items {
			var key string
			var sum int64
			if err := json.Unmarshal(e.Key, &key); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(e.Value, &sum); err != nil {
				t.Fatal(err)
			}
			n := name(key, time.UnixMilli(e.Window.Start))
			if _, ok := sums[n]; ok {
				t.Fatalf("window %s came twice", n)
			}
			sums[n] = sum
		}
		for tier, n := range p.Tiers {
			tiers[tier] += n
		}
		if p.Next == "" {
			return sums, tiers
		}
		params.Set("cursor", p.Next)
	}
}

// inPostgres returns what the cold tier has.
func inPostgres(t *testing.T, s spec, rows []string) map[string]int64 {
	t.Helper()
	sums := map[string]int64{}
	for _, row := range rows {
		var key string
		var start, sum int64
		if _, err := fmt.Sscan(row, &key, &start, &sum); err != nil {
			t.Fatal(row, err)
		}
		n := name(key, time.UnixMilli(start))
		if _, ok := sums[n]; ok {
			t.Fatalf("window %s is twice in PostgreSQL", n)
		}
		sums[n] = sum
	}
	return sums
}

const askSums = `SELECT key, (extract(epoch FROM window_start) * 1000)::bigint, value::bigint FROM millrace.windows WHERE application = $1`

// compare says which windows differ.
func compare(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	said := 0
	for n, sum := range want {
		if have, ok := got[n]; (!ok || have != sum) && said < 10 {
			said++
			t.Errorf("%s: window %s: %d (there: %t), want %d", what, n, have, ok, sum)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d windows, want %d", what, len(got), len(want))
	}
}

// TestOneQueryOverTenDays spans the tiers, equals the truth, and says which tier
// gave what; without PostgreSQL it says that windows are missing, or fails if the
// request wants that.
func TestOneQueryOverTenDays(t *testing.T) {
	s, p := begin(t, "ten-days")
	s.Size, s.WarmTTL = time.Hour, day
	began := time.Now().Add(-11 * day).Truncate(day)
	l := newLoad(t, s, began)
	tier := openTier(t, p, nil)
	in := s.run(t, tier, slog.New(slog.DiscardHandler))
	for range 10 * 24 * 2 {
		l.send(30 * time.Minute)
	}
	handler, err := query.New(in, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	const path = "/v1/stores/sums/windows"
	all := func() url.Values { return url.Values{"from": {began.Format(time.RFC3339)}, "limit": {"100"}} }
	until(t, "everything is processed, the windows are written and the old ones have left", func() bool {
		l.send(time.Second) // what is written is deleted when time moves on
		q := all()
		q.Set("cold", "never")
		q.Set("limit", "1000")
		p, status, _ := page(t, server.URL, path, q)
		there, last := 0, l.newest.Truncate(s.Size)
		for _, e := range p.Items {
			if e.Window.Start == last.UnixMilli() {
				there++
			}
		}
		return status == http.StatusOK && there == keys && len(p.Items) < 28*keys
	})
	// The newest window is open, and may not be committed.
	to := l.newest.Truncate(s.Size)
	all = func() url.Values {
		return url.Values{"from": {began.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "limit": {"100"}}
	}
	truth := l.closed()
	sums, tiers := pages(t, server.URL, path, all())
	compare(t, "one query over ten days", sums, truth)
	if tiers[query.Warm] == 0 || tiers[query.Cold] < 200*keys || tiers[query.Warm]+tiers[query.Cold] != len(sums) {
		t.Errorf("tiers %v of %d windows", tiers, len(sums))
	}
	t.Logf("%d windows over ten days in pages of 100: tiers %v", len(sums), tiers)

	one, tiers := pages(t, server.URL, "/v1/stores/sums/keys/key-3/windows", all())
	want := maps.Clone(truth)
	maps.DeleteFunc(want, func(n string, _ int64) bool { return n[:5] != "key-3" })
	compare(t, "one key", one, want)
	if tiers[query.Cold] == 0 || tiers[query.Warm] == 0 {
		t.Errorf("tiers of one key %v", tiers)
	}
	p.Down()
	incomplete, status, body := page(t, server.URL, path, all())
	if status != http.StatusOK || !incomplete.Partial || incomplete.Tiers[query.Cold] != 0 || incomplete.Tiers[query.Warm] == 0 {
		t.Errorf("without PostgreSQL: status %d, partial %t, tiers %v: %.300s", status, incomplete.Partial, incomplete.Tiers, body)
	}
	required := all()
	required.Set("cold", "required")
	if _, status, body := page(t, server.URL, path, required); status != http.StatusServiceUnavailable {
		t.Errorf("cold=required without PostgreSQL: status %d: %s", status, body)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sums, _ = pages(t, server.URL, path, all())
	compare(t, "when PostgreSQL is back", sums, truth)
}

// TestKilledWhileItWritesAndEvicts: an instance kills itself at a random step of a
// cold write or of a commit, which deletes windows too, again and again under load.
// In the end PostgreSQL has each closed window once, with the true sum.
func TestKilledWhileItWritesAndEvicts(t *testing.T) { killed(t, 10) }

func killed(t *testing.T, rounds int) {
	s, p := begin(t, "killed")
	s.Size, s.WarmTTL = 15*time.Minute, 2*time.Hour
	l := newLoad(t, s, time.Now().Add(-30*day).Truncate(day))
	stop := l.keep(3*time.Minute, 20*time.Millisecond)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		doomed := s
		if round%2 == 0 {
			doomed.KillCold = 1 + rng.IntN(6)
		} else {
			doomed.KillCommit = 1 + rng.IntN(40)
		}
		doomed.runUntilKilled(t)
	}
	stop()
	s.run(t, openTier(t, p, nil), slog.New(slog.DiscardHandler))
	l.send(time.Second)
	want := l.closed()
	until(t, "PostgreSQL has all closed windows", func() bool { return len(ask(t, p, askSums, s.Application)) >= len(want) })
	compare(t, "after the kills", inPostgres(t, s, ask(t, p, askSums, s.Application)), want)
	t.Logf("%d kills, seed %d: %d closed windows are in PostgreSQL, each once", rounds, seed, len(want))
}

// TestStoppedUnderLoad: PostgreSQL is down for ten seconds while events come.
// Processing goes on, nothing is lost, and what waited is written.
func TestStoppedUnderLoad(t *testing.T) { stoppedUnderLoad(t, 10*time.Second) }

func stoppedUnderLoad(t *testing.T, away time.Duration) {
	s, p := begin(t, "stopped")
	s.Size, s.WarmTTL = 15*time.Minute, time.Hour
	l := newLoad(t, s, time.Now().Add(-30*day).Truncate(day))
	var logged logBuffer
	s.run(t, openTier(t, p, func(c *postgres.Config) { c.Logger = slog.New(slog.DiscardHandler) }), slog.New(slog.NewTextHandler(&logged, nil)))
	stop := l.keep(3*time.Minute, 10*time.Millisecond)
	until(t, "windows are written", func() bool {
		return len(ask(t, p, "SELECT FROM pg_tables WHERE tablename = 'windows'")) > 0 && len(ask(t, p, askSums, s.Application)) > 0
	})
	p.Down()
	began := time.Now()
	<-time.After(away)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	before := len(ask(t, p, askSums, s.Application))
	stop()
	l.send(time.Second)
	want := l.closed()
	until(t, "PostgreSQL has all closed windows", func() bool { return len(ask(t, p, askSums, s.Application)) >= len(want) })
	compare(t, "after the outage", inPostgres(t, s, ask(t, p, askSums, s.Application)), want)
	t.Logf("down for %v: %d windows waited, and were written %v after it was back", back.Sub(began).Round(time.Millisecond), len(want)-before, time.Since(back).Round(time.Millisecond))
	until(t, "the log says that it is back", func() bool { return logged.count("the cold tier works again") == 1 })
	if n := logged.count("the cold tier fails"); n != 1 {
		t.Errorf("the log says %d times that the tier fails, want once", n)
	}
}
