package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// tieredMember is a member with a cold tier.
type tieredMember struct {
	*member
	cold stores.Cold
}

func (m *tieredMember) Cold() stores.Cold { return m.cold }

func (m *tieredMember) Stores() []streams.StoreInfo {
	return []streams.StoreInfo{{Name: "sums", Tasks: 1}}
}

// TestALaterPageOfTheColdTierThatFails makes the answer partial as the first one
// does, and an error only if the request wants that. What both tiers have takes up
// the first page, so that an answer needs the second.
func TestALaterPageOfTheColdTierThatFails(t *testing.T) {
	b := topology.New("shop")
	topology.Source(b, "in", codec.String, codec.Int64).GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Second)).
		Reduce(func(into *int64, v int64) error { *into += v; return nil },
			topology.Store("sums"), topology.Tiered(topology.Tiers{Cold: true}))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	cold := streamtest.NewCold()
	m := &tieredMember{newMember(t, topo), cold}
	m.hold(t, 0, 0)
	held := m.tasks[streams.TaskID{}]
	tier := held.db.Tier("sums")
	lane := stores.ColdLane{Store: tier.Store("shop")}
	var rows []stores.ColdRow
	const all = 1200
	for i := range int64(all) {
		value, err := codec.Int64.Append(nil, i)
		if err != nil {
			t.Fatal(err)
		}
		if i < 4 {
			w, err := held.opened["sums"].(*stores.Windowed[string, int64]).Create([]byte("k"), i*1000)
			if err != nil {
				t.Fatal(err)
			}
			*w.Value = i
		}
		rows = append(rows, stores.ColdRow{Key: []byte("k"), Window: window.Window{Start: i * 1000, End: i*1000 + 1000}, Value: value})
	}
	held.commit(t)
	if _, err := cold.Mark(t.Context(), lane, window.MaxTime); err != nil {
		t.Fatal(err)
	}
	if err := cold.Write(t.Context(), stores.ColdBatch{Lane: lane, Rows: rows, Mark: all * 1000}); err != nil {
		t.Fatal(err)
	}
	s, err := query.New(m, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	ask := func(choice string, readable int) (p query.Page, status int) {
		t.Helper()
		reads := 0
		cold.Fault(func(_ context.Context, _ streamtest.ColdCall, done bool) error {
			if !done {
				reads++
			}
			if reads > readable {
				return errors.New("away on purpose")
			}
			return nil
		})
		answer, err := http.Get(fmt.Sprintf("%s/v1/stores/sums/windows?from=0&limit=1000&cold=%s", server.URL, choice))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		return p, answer.StatusCode
	}
	if p, status := ask("auto", 9); status != http.StatusOK || p.Partial || len(p.Items) != 1000 || p.Next == "" {
		t.Errorf("with all of it: status %d, %d items, partial %t, %q", status, len(p.Items), p.Partial, p.ColdError)
	}
	if p, status := ask("auto", 1); status != http.StatusOK || !p.Partial || p.ColdError == "" || len(p.Items) != 1000 {
		t.Errorf("without the second page: status %d, %d items, partial %t, %q", status, len(p.Items), p.Partial, p.ColdError)
	}
	if _, status := ask("required", 1); status != http.StatusServiceUnavailable {
		t.Errorf("required, without the second page: status %d", status)
	}
}
