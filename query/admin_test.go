package query_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
)

const token = "a token of 24 characters"

// post sends an order.
func post(t *testing.T, url, authorization string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}
}

func TestOrdersNeedTheToken(t *testing.T) {
	f := newFleet(t, 1, query.Config{AdminToken: token})
	m, url := f.members[0], f.urls[0]+"/v1/admin/"
	for name, authorization := range map[string]string{
		"none": "", "another": "Bearer another token, as long", "another scheme": "Basic " + token, "a part": "Bearer a token", "no scheme": token,
	} {
		a := post(t, url+"pause", authorization)
		wantError(t, a, 401, query.CodeUnauthorized, "Bearer")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	if len(m.orders) > 0 {
		t.Errorf("orders %v were obeyed", m.orders)
	}
	for _, order := range []string{"pause", "resume", "drain", "drain?stop=true", "workers?count=3"} {
		if a := post(t, url+order, "bearer "+token); a.status != 200 {
			t.Errorf("%s: %d %s", order, a.status, a.body)
		} else if st := as[query.Status](t, a, 200); st.Application != "shop" || len(st.Tasks) != len(m.tasks) || st.State != streams.Running || st.Workers != 2 {
			t.Errorf("%s answers %+v", order, st)
		}
	}
	if got := strings.Join(m.orders, " "); got != "pause resume drain(false) drain(true) workers(3)" {
		t.Errorf("orders %s", got)
	}
	wantError(t, post(t, url+"drain?stop=perhaps", "Bearer "+token), 400, query.CodeBadParameter, "stop")
	for _, count := range []string{"", "many", "101"} {
		wantError(t, post(t, url+"workers?count="+count, "Bearer "+token), 400, query.CodeBadParameter, "count")
	}
	m.set(func() { m.refuses = streams.ErrNotRunning })
	wantError(t, post(t, url+"drain", "Bearer "+token), 503, query.CodeNotReady)
	wantError(t, post(t, url+"workers?count=3", "Bearer "+token), 503, query.CodeNotReady)
	wantError(t, get(t, url+"pause"), 405, query.CodeMethod, "POST")
}

func TestOrdersAreOffByDefault(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	wantError(t, post(t, f.urls[0]+"/v1/admin/pause", "Bearer "), 404, query.CodeNoPath, "token")
	if _, err := query.New(f.members[0], query.Config{AdminToken: "short"}); !errors.Is(err, query.ErrInvalidConfig) || strings.Contains(err.Error(), "short") {
		t.Errorf("a short token: %v", err)
	}
}

func TestStatesThatAnOperatorMakes(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	m := f.members[0]
	for state, ready := range map[streams.State]bool{streams.Paused: true, streams.Draining: false, streams.Drained: false} {
		m.set(func() { m.state = state })
		a := get(t, f.urls[0]+"/readyz")
		if (a.status == 200) != ready || !strings.Contains(string(a.body), string(state)) {
			t.Errorf("%s: /readyz %d %s", state, a.status, a.body)
		}
		if a := get(t, f.urls[0]+"/healthz"); a.status != 200 {
			t.Errorf("%s: /healthz %d", state, a.status)
		}
		if st := as[query.Status](t, get(t, f.urls[0]+"/v1/status"), 200); st.State != state {
			t.Errorf("status %+v", st)
		}
	}
}
