package query

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// directoryPath is where instances ask the leader who runs what.
const directoryPath = "/v1/directory"

// route is one path, as it is served and as it is described in the OpenAPI
// document.
type route struct {
	path, id string
	summary  string
	params   []param
	// method is that of the request; GET if empty, and then HEAD too.
	method string
	// answer is a value of the type that a 200 holds; nil for plain text.
	answer any
	// fails are the statuses beside 200, 400, 405 and 500.
	fails []int
	serve func(*request) (any, error)
	// raw takes the place of serve for a handler of another make.
	raw http.Handler
}

// param is a parameter of a route.
type param struct {
	name   string
	inPath bool
	must   bool
	schema map[string]any
	about  string
}

// queryParams returns the names of those that are not in the path.
func (rt *route) queryParams() []string {
	var names []string
	for _, p := range rt.params {
		if !p.inPath {
			names = append(names, p.name)
		}
	}
	return names
}

func (s *Server) makeRoutes() []*route {
	text := map[string]any{"type": "string"}
	inStore := param{name: "store", inPath: true, must: true, schema: text, about: "The store's name."}
	key := param{name: "key", inPath: true, must: true, schema: text,
		about: "The key as text: a string itself, a number in decimal, a UUID, a time, anything else as JSON; escaped, a / as %2F."}
	stale := param{name: "stale", schema: map[string]any{"type": "boolean", "default": false},
		about: "Whether state that is being restored may answer. The answer then has its lag."}
	limit := param{name: "limit", schema: map[string]any{"type": "integer", "minimum": 1, "maximum": s.cfg.MaxItems, "default": min(defaultLimit, s.cfg.MaxItems)},
		about: "The greatest number of items."}
	cursor := param{name: "cursor", schema: map[string]any{"type": "string", "maxLength": maxCursorText},
		about: "The next of the page before; the other parameters must be the same."}
	fromTime := param{name: "from", schema: text, about: "Windows that start at or after this time, RFC 3339 or Unix milliseconds."}
	toTime := param{name: "to", schema: text, about: "Windows that start before this time."}
	cold := param{name: "cold", schema: map[string]any{"type": "string", "enum": []coldChoice{coldAuto, coldRequired, coldNever}, "default": coldAuto},
		about: "What becomes of the answer when the cold tier fails: auto answers without it and sets partial, required fails. With never it is not asked."}
	keyParams := []param{inStore, key}
	found := []int{404, 413, 421, 503, 504}
	return append(s.adminRoutes(), []*route{
		{path: "/v1/stores", id: "listStores", summary: "The stores of the topology.", answer: StoreList{}, serve: s.serveStores},
		{path: "/v1/stores/{store}/keys", id: "scanKeys", summary: "Entries of a store without windows, in the order of encoded keys, over all partitions.",
			params: []param{
				inStore,
				{name: "from", schema: text, about: "The first key, as text."}, {name: "to", schema: text, about: "The key to stop before, as text."},
				limit, cursor, stale,
			}, answer: Page{}, fails: found, serve: s.serveKeys},
		{path: "/v1/stores/{store}/keys/{key}", id: "getKey", summary: "The entry of one key of a store without windows.",
			params: append(slices.Clip(keyParams), stale), answer: KeyValue{}, fails: found, serve: s.serveKey},
		{path: "/v1/stores/{store}/keys/{key}/windows", id: "getKeyWindows", summary: "The windows of one key, in the order of their starts.",
			params: append(slices.Clip(keyParams), fromTime, toTime, limit, cursor, stale, cold), answer: Page{}, fails: found, serve: s.serveKeyWindows},
		{path: "/v1/stores/{store}/windows", id: "scanWindows", summary: "Windows of a store, in the order of their starts, then of encoded keys, over all partitions.",
			params: []param{inStore, fromTime, toTime, limit, cursor, stale, cold}, answer: Page{}, fails: found, serve: s.serveWindows},
		{path: "/v1/stores/{store}/owner", id: "getOwner", summary: "Which task has a key, and which instance runs it.",
			params: []param{inStore, {name: "key", must: true, schema: text, about: key.about}}, answer: Owner{}, fails: []int{404, 503, 504}, serve: s.serveOwner},
		{path: "/v1/watermarks", id: "getWatermarks", summary: "How far each task has come, and what holds back those windows that are still open.",
			answer: Watermarks{}, fails: []int{504}, serve: s.serveWatermarks},
		{path: "/v1/topology", id: "getTopology", summary: "The graph that the application runs.",
			params: []param{{name: "format", schema: map[string]any{"type": "string", "enum": []string{"json", "text", "dot", "mermaid"}, "default": "json"},
				about: "The form; text is that of Kafka Streams."}},
			answer: topology.Description{}, serve: s.serveTopology},
		{path: directoryPath, id: "getDirectory", summary: "Which instance runs which tasks.",
			answer: streams.Directory{}, fails: []int{421, 503, 504}, serve: s.serveDirectory},
		{path: "/v1/openapi.json", id: "getOpenAPI", summary: "This document.", answer: map[string]any{}, serve: s.serveOpenAPI},
		{path: "/metrics", id: "getMetrics", summary: "Metrics for Prometheus.", fails: []int{404}, serve: s.serveNoMetrics, raw: s.metrics()},
		{path: "/healthz", id: "getHealth", summary: "Whether the instance is alive; also while it restores.", answer: Health{}, fails: []int{503}, serve: s.serveHealth},
		{path: "/readyz", id: "getReady", summary: "Whether each task of the instance runs.", answer: Health{}, fails: []int{503}, serve: s.serveReady},
		{path: "/v1/status", id: "getStatus", summary: "How this instance stands, and its tasks.", answer: Status{}, serve: s.serveStatus},
	}...)
}

// metrics returns the page of the configured gatherer, or nil without one.
func (s *Server) metrics() http.Handler {
	if s.cfg.Gatherer == nil {
		return nil
	}
	return promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelError), Timeout: s.cfg.Timeout,
	})
}

func (s *Server) serveNoMetrics(*request) (any, error) {
	return nil, fail(http.StatusNotFound, CodeNoPath, "there are no metrics: the server was made without a Gatherer")
}

func (s *Server) serveOpenAPI(*request) (any, error) { return json.RawMessage(s.openAPI), nil }

// serveTopology answers /v1/topology.
func (s *Server) serveTopology(q *request) (any, error) {
	t := s.inst.Topology()
	switch format := q.params.Get("format"); format {
	case "", "json":
		b, err := t.JSON()
		return json.RawMessage(b), err
	case "text":
		return text{"text/plain; charset=utf-8", t.Describe()}, nil
	case "dot":
		return text{"text/vnd.graphviz; charset=utf-8", t.DOT()}, nil
	case "mermaid":
		return text{"text/plain; charset=utf-8", t.Mermaid()}, nil
	default:
		return nil, bad(CodeBadParameter, "format=%q: want json, text, dot or mermaid", format)
	}
}
