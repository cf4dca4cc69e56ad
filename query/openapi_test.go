package query_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/window"
)

// document loads and validates what the server says of itself.
func document(t *testing.T, base string) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(get(t, base+"/v1/openapi.json").body)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// operation returns the only one of a path.
func operation(item *openapi3.PathItem) *openapi3.Operation {
	if item.Post != nil {
		return item.Post
	}
	return item.Get
}

// TestDocumentHasEveryPath compares the document with the paths that users are
// promised, and each path with the mux: it answers there, and nowhere else.
func TestDocumentHasEveryPath(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	doc := document(t, f.urls[0])
	var got []string
	for path := range doc.Paths.Map() {
		got = append(got, path)
	}
	slices.Sort(got)
	want := []string{
		"/healthz", "/metrics", "/readyz", "/v1/admin/drain", "/v1/admin/pause", "/v1/admin/resume", "/v1/admin/workers", "/v1/directory", "/v1/openapi.json", "/v1/status", "/v1/stores", "/v1/stores/{store}/keys",
		"/v1/stores/{store}/keys/{key}", "/v1/stores/{store}/keys/{key}/windows", "/v1/stores/{store}/owner",
		"/v1/stores/{store}/windows", "/v1/topology", "/v1/watermarks",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	for path, item := range doc.Paths.Map() {
		for _, p := range operation(item).Parameters {
			if p.Value.In == "path" != strings.Contains(path, "{"+p.Value.Name+"}") {
				t.Errorf("%s: parameter %s is in %s", path, p.Value.Name, p.Value.In)
			}
			if p.Value.Description == "" {
				t.Errorf("%s: parameter %s is not described", path, p.Value.Name)
			}
		}
	}
}

// TestRealAnswersFitTheDocument validates answers of every kind, strictly: a
// field that the document does not have is a mistake.
func TestRealAnswersFitTheDocument(t *testing.T) {
	f := newFleet(t, 2, query.Config{})
	for _, m := range f.members {
		m.fill(t, 20)
	}
	doc := document(t, f.urls[0])
	for _, s := range doc.Components.Schemas {
		s.Value.WithoutAdditionalProperties()
	}
	check := func(path, route string, status int) {
		t.Helper()
		a := get(t, f.urls[0]+path)
		if a.status != status {
			t.Fatalf("%s: status %d, want %d: %s", path, a.status, status, a.body)
		}
		response := doc.Paths.Value(route).Get.Responses.Status(status)
		if response == nil {
			t.Fatalf("%s: the document has no status %d", route, status)
		}
		var v any
		if err := json.Unmarshal(a.body, &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		schema := response.Value.Content.Get("application/json").Schema.Value
		if err := schema.VisitJSON(v, openapi3.VisitAsResponse()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	const byKey, ofKey = "/v1/stores/{store}/keys/{key}", "/v1/stores/{store}/keys/{key}/windows"
	check("/v1/stores", "/v1/stores", 200)
	check("/v1/stores/counts/keys?limit=3", "/v1/stores/{store}/keys", 200)
	check("/v1/stores/totals/windows?limit=3", "/v1/stores/{store}/windows", 200)
	check("/v1/stores/totals/windows?from=5&to=5", "/v1/stores/{store}/windows", 200)
	for _, key := range []string{"k001", "k002", "k003", "k004"} {
		check("/v1/stores/counts/keys/"+key, byKey, 200)
		check("/v1/stores/totals/keys/"+key+"/windows", ofKey, 200)
	}
	check("/v1/stores/counts/owner?key=a", "/v1/stores/{store}/owner", 200)
	check("/v1/topology", "/v1/topology", 200)
	check("/v1/directory", "/v1/directory", 200)
	check("/v1/openapi.json", "/v1/openapi.json", 200)
	check("/healthz", "/healthz", 200)
	check("/readyz", "/readyz", 200)
	check("/v1/status", "/v1/status", 200)
	check("/v1/stores/counts/keys/nobody", byKey, 404)
	check("/v1/stores/counts/keys?limit=x", "/v1/stores/{store}/keys", 400)
	check("/metrics", "/metrics", 404)

	m := f.members[0]
	m.set(func() {
		m.status = []streams.TaskStatus{
			{Watermark: window.MinTime, Inputs: []streams.InputStatus{{Topic: "a", Watermark: 5, Waiting: []window.Upstream{{}}}}},
			{Task: streams.TaskID{Partition: 2}, Watermark: 5},
		}
		for _, h := range m.tasks {
			h.state, h.remaining = streams.TaskRestoring, 5
		}
		m.tasks[streams.TaskID{}].state = streams.TaskRunning
	})
	f.urls[1] = "http://127.0.0.1:1"
	f.publish(2)
	check("/v1/watermarks", "/v1/watermarks", 200)
	check("/readyz", "/readyz", 503)
	check("/v1/stores/counts/keys", "/v1/stores/{store}/keys", 503)
}

// TestDocumentHasTheStatusesOfFailures looks up what each path may answer, and
// the limit that the server was configured with.
func TestDocumentHasTheStatusesOfFailures(t *testing.T) {
	f := newFleet(t, 1, query.Config{})
	doc := document(t, f.urls[0])
	for path, item := range doc.Paths.Map() {
		for _, status := range []int{200, 400, 405, 500} {
			if operation(item).Responses.Status(status) == nil {
				t.Errorf("%s: no status %d", path, status)
			}
		}
		if strings.Contains(path, "{store}") {
			for _, status := range []int{404, 503, 504} {
				if operation(item).Responses.Status(status) == nil {
					t.Errorf("%s: no status %s", path, strconv.Itoa(status))
				}
			}
		}
	}
	w := httptest.NewRecorder()
	s, err := query.New(f.members[0], query.Config{MaxItems: 7})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/openapi.json", nil))
	if !strings.Contains(w.Body.String(), `"maximum": 7`) {
		t.Error("the document does not have the configured limit")
	}
}
