package query_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestEveryInstanceAnswersForEveryKey asks both of two instances for all keys.
func TestEveryInstanceAnswersForEveryKey(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	for _, m := range f.members {
		m.fill(t, 30)
	}
	for i := range 30 {
		key := fmt.Sprintf("k%03d", i)
		has, _ := f.owner(key)
		for _, base := range f.urls {
			got := as[query.KeyValue](t, get(t, base+"/v1/stores/counts/keys/"+key), 200)
			if string(got.Value) != fmt.Sprint(i) {
				t.Errorf("%s: %s", key, got.Value)
			}
			windows := as[query.Page](t, get(t, base+"/v1/stores/totals/keys/"+key+"/windows?from=0&to=1970-01-01T00:02:00Z"), 200)
			if len(windows.Items) != 2 || windows.Items[0].Window.StartTime != "1970-01-01T00:00:00.000Z" || windows.Items[1].Window.Start != 60_000 {
				t.Errorf("%s: %+v", key, windows)
			}
			if windows.Items[0].Position != nil {
				t.Error("a user sees a position")
			}
			owner := as[query.Owner](t, get(t, base+"/v1/stores/counts/owner?key="+key), 200)
			if owner.Endpoint != f.urls[has] || owner.Here != (base == f.urls[has]) {
				t.Errorf("%s: %+v", key, owner)
			}
		}
	}
	wantError(t, get(t, f.urls[1]+"/v1/stores/counts/keys/other"), 404, query.CodeUnknownKey)
	if n := f.hit(0, "/v1/directory"); n != 1 {
		t.Errorf("the leader was asked for the directory %d times in one generation", n)
	}
	f.publish(2)
	get(t, f.urls[1]+"/v1/stores/counts/owner?key=k000")
	get(t, f.urls[1]+"/v1/stores/counts/owner?key=k001")
	if n := f.hit(0, "/v1/directory"); n != 2 {
		t.Errorf("the leader was asked for the directory %d times in two generations", n)
	}
}

// TestForwardedRequestIsNotForwardedAgain sends one to the wrong instance.
func TestForwardedRequestIsNotForwardedAgain(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	for i, path := range []string{"keys/a", "keys?partitions=0,1,2,3"} {
		_, wrong := f.owner("a")
		e := wantError(t, get(t, f.urls[wrong]+"/v1/stores/counts/"+path, query.ForwardedHeader, "1"), 421, query.CodeNotOwner)
		if wrong == 0 && i == 0 && e.Owner != f.urls[1] {
			t.Errorf("the leader does not name the owner: %+v", e)
		}
	}
	wantError(t, get(t, f.urls[1]+"/v1/directory", query.ForwardedHeader, "1"), 421, query.CodeNotOwner)
	as[streams.Directory](t, get(t, f.urls[1]+"/v1/directory"), 200)
}

// TestStaleDirectoryIsLookedUpAgain moves a task to a third instance without a
// new generation.
func TestStaleDirectoryIsLookedUpAgain(t *testing.T) {
	f := newFleet(t, 3, query.Config{})
	for _, m := range f.members {
		m.fill(t, 30)
	}
	key := ""
	for i := 0; ; i++ {
		if key = fmt.Sprintf("k%03d", i); codec.Partition([]byte(key), tasks) == 1 {
			break
		}
	}
	as[query.KeyValue](t, get(t, f.urls[2]+"/v1/stores/counts/keys/"+key), 200) // caches
	id := streams.TaskID{Partition: 1}
	h := f.members[1].tasks[id]
	f.members[1].set(func() { delete(f.members[1].tasks, id) })
	e := wantError(t, get(t, f.urls[2]+"/v1/stores/counts/keys/"+key), 503, query.CodeMoving, "0_1")
	if e.Owner != "" {
		t.Errorf("owner %q", e.Owner)
	}
	f.members[0].set(func() { f.members[0].tasks[id] = h })
	moved := &streams.Directory{Generation: 1, Members: []streams.DirectoryMember{{Endpoint: f.urls[0], Tasks: []string{"0_1"}}}}
	f.members[0].set(func() { f.members[0].directory = moved })
	as[query.KeyValue](t, get(t, f.urls[2]+"/v1/stores/counts/keys/"+key), 200)
}

func TestOwnerOutOfReach(t *testing.T) {
	f := newFleet(t, 2, query.Config{Timeout: 2 * time.Second})
	f.members[0].fill(t, 30)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	f.urls[1] = gone.URL
	f.publish(2)
	key := ""
	for i := 0; key == ""; i++ {
		if k := fmt.Sprintf("k%03d", i); codec.Partition([]byte(k), tasks)%2 == 1 {
			key = k
		}
	}
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/"+key), 503, query.CodeUnavailable, gone.URL)
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys"), 503, query.CodeUnavailable, gone.URL)
	w := as[query.Watermarks](t, get(t, f.urls[0]+"/v1/watermarks"), 200)
	if len(w.Missing) != 1 || w.Missing[0].Endpoint != gone.URL || len(w.Tasks) != 4 {
		t.Errorf("got %+v", w)
	}

	// Not an instance at all.
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	f.urls[1] = other.URL
	f.publish(3)
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/"+key), 503, query.CodeUnavailable, "another program")
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys"), 503, query.CodeUnavailable, "another program")

	// It advertises nothing.
	f.urls[1] = ""
	f.publish(4)
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/"+key), 503, query.CodeUnavailable, "advertises no endpoint")
	w = as[query.Watermarks](t, get(t, f.urls[0]+"/v1/watermarks"), 200)
	if len(w.Missing) != 1 || !strings.Contains(w.Missing[0].Error, "0_1") {
		t.Errorf("got %+v", w)
	}
	f.members[0].set(func() { f.members[0].directory, f.members[0].leader = nil, "" })
	wantError(t, get(t, f.urls[0]+"/v1/stores/counts/keys/"+key), 503, query.CodeUnavailable, "leader")
}

// TestSilentOwnerEndsInDeadline has the owner not answer, in virtual time.
func TestSilentOwnerEndsInDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topo := shop(t)
		m := newMember(t, topo)
		m.directory = &streams.Directory{Members: []streams.DirectoryMember{{Endpoint: "http://silent", Tasks: []string{"0_0", "0_1", "0_2", "0_3"}}}}
		client := &http.Client{Transport: silent{}}
		s, err := query.New(m, query.Config{Client: client, Timeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/v1/stores/counts/keys/a", "/v1/stores/counts/keys"} {
			began := time.Now()
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
			if w.Code != 504 || time.Since(began) != 3*time.Second || !strings.Contains(w.Body.String(), query.CodeDeadline) {
				t.Errorf("%s: %d after %v: %s", path, w.Code, time.Since(began), w.Body)
			}
		}
	})
}

// silent is a transport behind which nobody answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestHeadersGoWithAForwardedRequest looks at what the owner gets.
func TestHeadersGoWithAForwardedRequest(t *testing.T) {
	var got http.Header
	var path string
	owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, path = r.Header, r.RequestURI
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"error":{"code":"restoring","message":"wait"}}`)
	}))
	defer owner.Close()
	m := newMember(t, shop(t))
	m.directory = &streams.Directory{Members: []streams.DirectoryMember{{Endpoint: owner.URL + "/", Tasks: []string{"0_0", "0_1", "0_2", "0_3"}}}}
	client := owner.Client()
	s, err := query.New(m, query.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/stores/counts/keys/a%2Fb?stale=true", nil)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	r.Header.Set("X-Request-Id", "req-1")
	r.Header.Set("Authorization", "Bearer secret")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 503 || w.Header().Get("Retry-After") != "7" || !strings.Contains(w.Body.String(), "restoring") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if path != "/v1/stores/counts/keys/a%2Fb?stale=true" {
		t.Errorf("asked for %s", path)
	}
	for name, want := range map[string]string{
		"Traceparent": r.Header.Get("Traceparent"), "X-Request-Id": "req-1", query.ForwardedHeader: "1", "Authorization": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
}

func TestRestoring(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	for _, m := range f.members {
		m.fill(t, 30)
	}
	has, hasNot := f.owner("k007")
	id := streams.TaskID{Partition: codec.Partition([]byte("k007"), tasks)}
	h := f.members[has].tasks[id]
	f.members[has].set(func() { h.state, h.remaining = streams.TaskRestoring, 123 })
	lag := query.Lag{Task: id.String(), Remaining: 123}
	absent := "absent" // of the same partition
	for codec.Partition([]byte(absent), tasks) != id.Partition {
		absent += "."
	}
	for _, base := range []string{f.urls[has], f.urls[hasNot]} {
		for _, path := range []string{"/v1/stores/counts/keys/k007", "/v1/stores/counts/keys", "/v1/stores/totals/windows", "/v1/stores/totals/keys/k007/windows"} {
			e := wantError(t, get(t, base+path), 503, query.CodeRestoring, "stale=true")
			if !slices.Equal(e.Tasks, []query.Lag{lag}) {
				t.Errorf("%s: tasks %v", path, e.Tasks)
			}
		}
		got := as[query.KeyValue](t, get(t, base+"/v1/stores/counts/keys/k007?stale=true"), 200)
		if !got.Stale || !slices.Equal(got.Lag, []query.Lag{lag}) || string(got.Value) != "7" {
			t.Errorf("got %+v", got)
		}
		e := wantError(t, get(t, base+"/v1/stores/counts/keys/"+absent+"?stale=true"), 404, query.CodeUnknownKey, "restored so far")
		if !slices.Equal(e.Tasks, []query.Lag{lag}) {
			t.Errorf("a key that is not there yet: %+v", e)
		}
		page := as[query.Page](t, get(t, base+"/v1/stores/counts/keys?stale=true"), 200)
		if !page.Stale || !slices.Equal(page.Lag, []query.Lag{lag}) || len(page.Items) != 30 {
			t.Errorf("got %+v", page)
		}
	}

	// Not open yet: there is nothing to be stale.
	f.members[has].set(func() { h.db, f.members[has].tasks[id] = nil, &heldTask{db: nil, state: streams.TaskRestoring} })
	e := wantError(t, get(t, f.urls[hasNot]+"/v1/stores/counts/keys/k007?stale=true"), 503, query.CodeRestoring, "not open")
	if !slices.Equal(e.Tasks, []query.Lag{{Task: id.String(), Remaining: -1}}) {
		t.Errorf("tasks %v", e.Tasks)
	}
}

// TestPagesOverAllPartitions reads scans in pages of every size, from either
// instance, and in turn, and must get each item once and in order.
func TestPagesOverAllPartitions(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	for _, m := range f.members {
		m.fill(t, 40)
	}
	for _, c := range []struct {
		path string
		want int
	}{
		{"/v1/stores/counts/keys?", 40},
		{"/v1/stores/counts/keys?from=k010&to=k020", 10},
		{"/v1/stores/totals/windows?", 120},
		{"/v1/stores/totals/windows?from=0&to=60000", 40},
		{"/v1/stores/totals/windows?from=1970-01-01T00:01:00Z", 40},
		{"/v1/stores/totals/keys/k013/windows?", 3},
		{"/v1/stores/totals/windows?from=5&to=5", 0},
	} {
		for _, limit := range []int{1, 3, 7, 40, 1000} {
			var all []query.Entry
			next := ""
			for n := 0; ; n++ {
				page := as[query.Page](t, get(t, fmt.Sprintf("%s%s&limit=%d&cursor=%s", f.urls[n%2], c.path, limit, next)), 200)
				if len(page.Items) > limit || len(page.Items) < limit && page.Next != "" {
					t.Fatalf("%s: %d items of %d, next %q", c.path, len(page.Items), limit, page.Next)
				}
				all = append(all, page.Items...)
				if next = page.Next; next == "" {
					break
				}
			}
			if len(all) != c.want {
				t.Errorf("%s limit %d: %d items, want %d", c.path, limit, len(all), c.want)
			}
			if !slices.IsSortedFunc(all, compareEntries) {
				t.Errorf("%s limit %d: not in order", c.path, limit)
			}
			if len(slices.CompactFunc(slices.Clone(all), func(a, b query.Entry) bool { return compareEntries(a, b) == 0 })) != len(all) {
				t.Errorf("%s limit %d: an item came twice", c.path, limit)
			}
		}
	}
}

func compareEntries(a, b query.Entry) int {
	if a.Window != nil && a.Window.Start != b.Window.Start {
		return int(a.Window.Start - b.Window.Start)
	}
	return strings.Compare(string(a.Key), string(b.Key))
}

// TestLongAnswersAreCut bounds the bytes of a page: it ends early and goes on
// by cursor, wherever the items are.
func TestLongAnswersAreCut(t *testing.T) {
	f := newFleet(t, 2, query.Config{MaxBytes: 4096})
	for _, m := range f.members {
		m.fill(t, 200)
	}
	count, next, pages := 0, "", 0
	for {
		a := get(t, f.urls[pages%2]+"/v1/stores/totals/windows?limit=1000&cursor="+next)
		page := as[query.Page](t, a, 200)
		if len(a.body) > 4096+500 {
			t.Errorf("a page has %d bytes", len(a.body))
		}
		count += len(page.Items)
		pages++
		if next = page.Next; next == "" {
			break
		}
		if len(page.Items) == 0 {
			t.Fatal("a page in the middle is empty")
		}
	}
	if count != 600 || pages < 10 {
		t.Errorf("%d items in %d pages", count, pages)
	}
}

// TestItemLongerThanAnAnswer has one key that alone exceeds the bound.
func TestItemLongerThanAnAnswer(t *testing.T) {
	f := newFleet(t, 2, query.Config{MaxBytes: 4096})
	key := strings.Repeat("x", 5000)
	has, _ := f.owner(key)
	h := f.members[has].tasks[streams.TaskID{Partition: codec.Partition([]byte(key), tasks)}]
	l, err := createCount(h, key)
	if err != nil {
		t.Fatal(err)
	}
	*l = 1
	h.commit(t)
	for _, base := range f.urls {
		wantError(t, get(t, base+"/v1/stores/counts/keys"), 413, query.CodeTooLarge, "4096")
		wantError(t, get(t, base+"/v1/stores/counts/keys/"+key), 413, query.CodeTooLarge, "4096")
	}
}

// TestClosingDuringQueries closes a database while it is read: each answer is
// whole, or says that the task is moving.
func TestClosingDuringQueries(t *testing.T) {
	topo := shop(t)
	for range 8 {
		m := newMember(t, topo)
		m.directory = &streams.Directory{}
		m.hold(t, 0, 0, 1, 2, 3)
		m.fill(t, 100)
		s, err := query.New(m, query.Config{})
		if err != nil {
			t.Fatal(err)
		}
		h := m.tasks[streams.TaskID{Partition: 1}]
		begun := make(chan struct{}, 1000)
		var readers sync.WaitGroup
		closed := make(chan struct{})
		for range 4 {
			readers.Go(func() {
				for last := false; !last; {
					select {
					case <-closed:
						last = true
					default:
					}
					w := httptest.NewRecorder()
					s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/stores/totals/windows?limit=1000", nil))
					select {
					case begun <- struct{}{}:
					default:
					}
					var page query.Page
					switch w.Code {
					case 200:
						if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Items) != 300 {
							t.Errorf("%d items, %v", len(page.Items), err)
						}
					case 503:
						if !strings.Contains(w.Body.String(), query.CodeMoving) {
							t.Errorf("%s", w.Body)
						}
					default:
						t.Errorf("%d %s", w.Code, w.Body)
					}
					if last && w.Code != 503 {
						t.Errorf("%d after the task was closed", w.Code)
					}
				}
			})
		}
		<-begun
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
		close(closed)
		readers.Wait()
	}
}

func TestWatermarksSayWhatHoldsBack(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	f.members[0].set(func() {
		m := f.members[0]
		m.tasks[streams.TaskID{Sub: 1, Partition: 2}].state = streams.TaskRestoring
		m.tasks[streams.TaskID{Sub: 1, Partition: 2}].remaining = 9
		m.status = []streams.TaskStatus{
			{Task: streams.TaskID{}, Watermark: at, Inputs: []streams.InputStatus{
				{Topic: "orders", Partition: 0, Next: 7, Watermark: at, Since: time.UnixMilli(at + 1000), Heard: true},
				{Topic: "refunds", Partition: 0, Next: 9, Watermark: at + 5000},
				{Topic: "returns", Partition: 0, Watermark: window.MinTime, Idle: true},
			}},
			{Task: streams.TaskID{Partition: 2}, Watermark: window.MinTime, Idle: true, Holder: -1, Inputs: []streams.InputStatus{
				{Topic: "orders", Partition: 2, Watermark: window.MinTime, Idle: true, Heard: true},
			}},
			{Task: streams.TaskID{Sub: 1}, Watermark: window.MinTime, Inputs: []streams.InputStatus{
				{Topic: "shop-by-id-repartition", Watermark: window.MinTime, Heard: true, Waiting: []window.Upstream{{SubTopology: 0, Task: 1}, {SubTopology: 0, Task: 3}}},
			}},
		}
	})
	f.members[1].set(func() {
		f.members[1].status = []streams.TaskStatus{
			{Task: streams.TaskID{Partition: 1}, Watermark: window.MaxTime, Ended: true},
			{Task: streams.TaskID{Partition: 3}, Watermark: window.MinTime, Inputs: []streams.InputStatus{{Topic: "orders", Partition: 3, Watermark: window.MinTime, Heard: true}}},
		}
	})
	for _, base := range f.urls {
		got := as[query.Watermarks](t, get(t, base+"/v1/watermarks"), 200)
		if len(got.Tasks) != 8 || len(got.Missing) != 0 {
			t.Fatalf("%d tasks, missing %v", len(got.Tasks), got.Missing)
		}
		for i, want := range []struct {
			task, at, back, origins, why string
		}{
			{"0_0", "2026-05-01T12:00:00.000Z", "orders/0", "orders/0", "no record has moved its watermark past 2026-05-01T12:00:00.000Z"},
			{"0_1", "infinity", "", "", "the bounded run is over"},
			{"0_2", "-infinity", "", "", "every input is idle: the watermark stands still"},
			{"0_3", "-infinity", "orders/3", "orders/3", "no record yet"},
			{"1_0", "-infinity", "shop-by-id-repartition/0", "orders/3", "upstream tasks 0_1, 0_3"},
			{"1_1", "-infinity", "", "task 1_1", "does not run yet"},
			{"1_2", "-infinity", "", "task 1_2", "9 changelog records"},
			{"1_3", "-infinity", "", "task 1_3", "does not run yet"},
		} {
			p := got.Tasks[i]
			if p.Task != want.task || p.Time != want.at || strings.Join(p.HeldBackBy, " ") != want.back || strings.Join(p.Origins, " ") != want.origins || !strings.Contains(p.Why, want.why) {
				t.Errorf("task %d: %+v, want %v", i, p, want)
			}
			if p.Endpoint != f.urls[p.Partition%2] {
				t.Errorf("%s: endpoint %q", p.Task, p.Endpoint)
			}
		}
		if p := got.Tasks[0]; p.Millis == nil || *p.Millis != at || got.Tasks[1].Millis != nil {
			t.Errorf("watermarks %v, %v", got.Tasks[0].Millis, got.Tasks[1].Millis)
		}
		if in := got.Tasks[0].Inputs[0]; in.Since != "2026-05-01T12:00:01.000Z" || !in.Heard || in.Paused {
			t.Errorf("input %+v", in)
		}
	}
}

// TestWhyAnInputWaits has one input, in each state that it may be in.
func TestWhyAnInputWaits(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	up := []window.Upstream{{SubTopology: 0, Task: 3}}
	for want, in := range map[string]streams.InputStatus{
		"orders/0, at 2026-05-01T12:00:00.000Z, cannot be read: no leader":                                         {Watermark: at, Heard: true, Unreadable: "no leader"},
		"orders/0, at 2026-05-01T12:00:00.000Z, is paused until orders/2, which it is aligned with, has caught up": {Watermark: at, Heard: true, Paused: true, PausedFor: "orders/2"},
		"orders/0, at 2026-05-01T12:00:00.000Z, waits for the first answer of its broker":                          {Watermark: at},
		"orders/0, at 2026-05-01T12:00:00.000Z, has not heard yet of the upstream tasks 0_3":                       {Watermark: at, Waiting: up, Unheard: up},
		"every input is idle: the watermark follows the clock":                                                     {Watermark: at, Idle: true},
	} {
		f.members[0].set(func() {
			in.Topic = "orders"
			f.members[0].status = []streams.TaskStatus{{Watermark: at, Idle: in.Idle, Clocked: in.Idle, Inputs: []streams.InputStatus{in}}}
		})
		got := as[query.Watermarks](t, get(t, f.urls[0]+"/v1/watermarks"), 200).Tasks[0]
		if got.Why != want || got.FollowsClock != in.Idle || got.Inputs[0].PausedFor != in.PausedFor {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

// TestValuesThatJSONLacks reads values that JSON has no number or time for.
func TestValuesThatJSONLacks(t *testing.T) {
	for want, got := range map[string]string{
		`"value":"NaN"`:             answerAbout(t, codec.Float64, math.NaN()),
		`"value":"253402300800000"`: answerAbout(t, codec.Time, time.UnixMilli(253402300800000).UTC()),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// answerAbout returns the answer about a key that has a value.
func answerAbout[A any](t *testing.T, c codec.Codec[A], value A) string {
	t.Helper()
	b := topology.New("odd")
	topology.AggregateTable(topology.Source(b, "in", codec.String, codec.String).GroupByKey(codec.String, codec.String),
		c, topology.Aggregator[string, A]{New: func() *A { return new(A) }, Add: func(*A, string) error { return nil }},
		topology.Store("counts"))
	topo, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(t, topo)
	m.hold(t, 0, 0, 1, 2, 3)
	h := m.tasks[streams.TaskID{Partition: codec.Partition([]byte("odd"), tasks)}]
	l, err := h.opened["counts"].(*stores.Aggregates[string, A]).Create([]byte("odd"))
	if err != nil {
		t.Fatal(err)
	}
	*l.Value = value
	h.commit(t)
	s, err := query.New(m, query.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/stores/counts/keys/odd", nil))
	return w.Body.String()
}
