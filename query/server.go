package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// Server answers queries about the state of an application, for its own tasks
// by itself and for those of others by asking them. It is an http.Handler, to
// be served by [Server.Serve] or mounted on a mux of one's own.
type Server struct {
	inst        Instance
	cfg         Config
	client      *http.Client
	ownClient   bool
	catalog     catalog
	directories directories
	routes      []*route
	mux         *http.ServeMux
	openAPI     []byte
}

// New returns a server for an instance, which need not run yet. The error
// joins every mistake in cfg; each wraps [ErrInvalidConfig].
func New(inst Instance, cfg Config) (*Server, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	s := &Server{inst: inst, cfg: cfg, client: cfg.Client, mux: http.NewServeMux()}
	if s.client == nil {
		s.ownClient = true
		s.client = newClient()
	}
	if s.catalog, err = newCatalog(inst.Topology()); err != nil {
		return nil, err
	}
	s.routes = s.makeRoutes()
	if s.openAPI, err = openAPI(s.routes); err != nil {
		return nil, err
	}
	for _, rt := range s.routes {
		s.mux.Handle(rt.path, s.handler(rt))
	}
	s.mux.HandleFunc("/", s.noPath)
	return s, nil
}

// newClient makes the client that asks other instances. They are neighbours:
// it uses no proxy.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: askAtOnce, IdleConnTimeout: 30 * time.Second,
			ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Second, TLSHandshakeTimeout: 5 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	id := r.Header.Get(requestIDHeader)
	if !goodID(id) {
		id = s.cfg.RequestID()
		r.Header.Set(requestIDHeader, id)
	}
	out := &recorder{ResponseWriter: w, status: http.StatusOK}
	out.Header().Set(requestIDHeader, id)
	out.Header().Set("X-Content-Type-Options", "nosniff")
	// State changes with each commit: an answer that was kept would lie.
	out.Header().Set("Cache-Control", "no-store")
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.cfg.Logger.Error("a query panicked", "path", r.URL.Path, "request_id", id, "panic", p, "stack", string(debug.Stack()))
			s.writeFailure(out, r, fail(http.StatusInternalServerError, CodeInternal, "the server failed; its log has request %s", id))
		}
		if s.cfg.Logger.Enabled(r.Context(), slog.LevelDebug) {
			s.cfg.Logger.Debug("query", "method", r.Method, "path", r.URL.Path, "status", out.status, "bytes", out.bytes,
				"took", time.Since(began), "request_id", id, "forwarded", r.Header.Get(ForwardedHeader) == "1")
		}
	}()
	if !cleanPath(r.URL.EscapedPath()) {
		s.noPath(out, r)
		return
	}
	s.mux.ServeHTTP(out, r)
}

// goodID says whether a request's own id can go into logs and headers.
func goodID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' })
}

// cleanPath says whether the mux takes the path as it is, rather than redirect
// to what it makes of it: a key must not be rewritten.
func cleanPath(escaped string) bool {
	segments := strings.Split(escaped, "/")
	for _, segment := range segments[1:] {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return segments[0] == ""
}

// recorder notes what is sent, for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
	begun  bool
}

func (r *recorder) WriteHeader(status int) {
	r.status, r.begun = status, true
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begun = true
	n, err := r.ResponseWriter.Write(b)
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// handler answers the requests of one route.
func (s *Server) handler(rt *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.method != "" && r.Method != rt.method {
			w.Header().Set("Allow", rt.method)
			s.writeFailure(w, r, fail(http.StatusMethodNotAllowed, CodeMethod, "%s is not answered here: use %s", r.Method, rt.method))
			return
		}
		if rt.method == "" && r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.writeFailure(w, r, fail(http.StatusMethodNotAllowed, CodeMethod, "%s is not answered here: queries only read, use GET", r.Method))
			return
		}
		if rt.raw != nil {
			rt.raw.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
		defer cancel()
		q, err := newRequest(ctx, r, rt)
		var answer any
		if err == nil {
			answer, err = rt.serve(q)
		}
		if err != nil {
			s.writeFailure(w, r, s.toFailure(ctx, err))
			return
		}
		s.write(w, r, answer)
	})
}

// text is an answer that is no JSON.
type text struct {
	contentType string
	body        string
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, answer any) {
	switch a := answer.(type) {
	case *relayed:
		if a.retryAfter != "" {
			w.Header().Set("Retry-After", a.retryAfter)
		}
		if !json.Valid(a.body) {
			s.writeFailure(w, r, unavailable(CodeUnavailable, "the instance at %s answered with status %d and no JSON: is it another program?", a.endpoint, a.status))
			return
		}
		s.send(w, r, a.status, "application/json", a.body)
	case text:
		s.send(w, r, http.StatusOK, a.contentType, []byte(a.body))
	case json.RawMessage:
		s.send(w, r, http.StatusOK, "application/json", a)
	default:
		b, err := codec.JSON[any]().Append(nil, a)
		if err != nil {
			s.writeFailure(w, r, fail(http.StatusInternalServerError, CodeInternal, "%v", err))
			return
		}
		s.send(w, r, http.StatusOK, "application/json", append(b, '\n'))
	}
}

func (s *Server) writeFailure(w http.ResponseWriter, r *http.Request, f *failure) {
	if rec, ok := w.(*recorder); ok && rec.begun {
		return
	}
	if f.status == http.StatusInternalServerError {
		s.cfg.Logger.Error("query failed", "path", r.URL.Path, "request_id", r.Header.Get(requestIDHeader), "error", f.detail.Message)
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="millrace"`)
	}
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	b, err := codec.JSON[any]().Append(nil, errorAnswer{f.detail})
	if err != nil {
		b = []byte(`{"error":{"code":"internal","message":"the error cannot be written"}}`)
	}
	s.send(w, r, f.status, "application/json", append(b, '\n'))
}

func (s *Server) send(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil && !errors.Is(err, context.Canceled) {
		s.cfg.Logger.Debug("answer not delivered", "path", r.URL.Path, "error", err)
	}
}

func (s *Server) noPath(w http.ResponseWriter, r *http.Request) {
	hint := "see /v1/openapi.json for those there are"
	if strings.Contains(r.URL.Path, "/keys/") {
		hint = "a / in a key is written %2F, and the keys . and .. as %2E and %2E%2E; an empty key, and one that is just /, can only be had by .../keys"
	}
	s.writeFailure(w, r, fail(http.StatusNotFound, CodeNoPath, "there is nothing at %s: %s", fmt.Sprintf("%.200q", r.URL.Path), hint))
}
