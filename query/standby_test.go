package query_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
)

// keepCopy makes a member keep a copy of a task's state, behind by lag, instead of
// holding the task.
func (m *member) keepCopy(id streams.TaskID, lag int64) {
	m.set(func() {
		h := m.tasks[id]
		h.remaining = lag
		m.copies = map[streams.TaskID]*heldTask{id: h}
		delete(m.tasks, id)
	})
}

// TestStandbysAnswerWhatMayBeStale has one of three members keep a copy of a task
// whose owner does not answer: those who take stale answers get one from there, by
// way of any member, and the others are told that the owner is away.
func TestStandbysAnswerWhatMayBeStale(t *testing.T) {
	f := newFleet(t, 3, query.Config{})
	for _, m := range f.members {
		m.fill(t, 30)
	}
	id := streams.TaskID{Partition: codec.Partition([]byte("k007"), tasks)}
	var keeper, other int
	for i, m := range f.members {
		if _, _, ok := m.DB(id); ok {
			keeper = i
		} else {
			other = i
		}
	}
	f.members[keeper].keepCopy(id, 42)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	f.publish(2)
	f.members[0].set(func() {
		d := f.members[0].directory
		d.Members[keeper].Standbys = []string{id.String()}
		d.Members = append(d.Members, streams.DirectoryMember{Endpoint: dead.URL, Tasks: []string{id.String()}})
	})
	lag := query.Lag{Task: id.String(), Remaining: 42}
	for _, base := range []string{f.urls[keeper], f.urls[other]} {
		wantError(t, get(t, base+"/v1/stores/counts/keys/k007"), 503, query.CodeUnavailable)
		got := as[query.KeyValue](t, get(t, base+"/v1/stores/counts/keys/k007?stale=true"), 200)
		if !got.Stale || !slices.Equal(got.Lag, []query.Lag{lag}) || string(got.Value) != "7" {
			t.Errorf("got %+v", got)
		}
		windows := as[query.Page](t, get(t, base+"/v1/stores/totals/keys/k007/windows?stale=true"), 200)
		if !windows.Stale || len(windows.Items) != 3 {
			t.Errorf("got %+v", windows)
		}
	}
	page := as[query.Page](t, get(t, f.urls[keeper]+"/v1/stores/counts/keys?stale=true"), 200)
	if !page.Stale || len(page.Items) != 30 || !slices.Equal(page.Lag, []query.Lag{lag}) {
		t.Errorf("got %+v", page)
	}
	list := as[query.StoreList](t, get(t, f.urls[keeper]+"/v1/stores"), 200)
	for _, st := range list.Stores {
		if want := st.SubTopology == 0; want != slices.Equal(st.Standbys, []query.Lag{lag}) {
			t.Errorf("store %s has the copies %v", st.Name, st.Standbys)
		}
	}
	// A copy that has not said how far it is behind yet answers nothing.
	f.members[keeper].set(func() { f.members[keeper].copies[id].remaining = -1 })
	wantError(t, get(t, f.urls[keeper]+"/v1/stores/counts/keys/k007?stale=true"), 503, query.CodeUnavailable)
}
