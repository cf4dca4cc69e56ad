package query

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/millrace/millrace/streams"
)

// relayed is another instance's answer. As an answer of this one it is passed
// on as it is.
type relayed struct {
	endpoint   string
	status     int
	retryAfter string
	body       []byte
}

// failure returns the error that the answer is, or nil if it is none.
func (a *relayed) failure() error {
	if a.status == http.StatusOK {
		return nil
	}
	var e errorAnswer
	if err := json.Unmarshal(a.body, &e); err != nil || e.Error.Code == "" {
		return unavailable(CodeUnavailable, "the instance at %s answered with status %d: is it another program?", a.endpoint, a.status)
	}
	if a.status == http.StatusMisdirectedRequest {
		return unavailable(CodeMoving, "%s: ask again", e.Error.Message)
	}
	return &failure{a.status, e.Error}
}

// relayOverhead is by how much an answer may exceed Config.MaxBytes: the names
// around the items.
const relayOverhead = 64 << 10

// call asks another instance, in a request marked as forwarded. The error is a
// failure.
func (s *Server) call(ctx context.Context, q *request, endpoint, escapedPath, rawQuery string) (*relayed, error) {
	url := strings.TrimSuffix(endpoint, "/") + escapedPath
	if rawQuery != "" {
		url += "?" + rawQuery
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, unavailable(CodeUnavailable, "instance %q: its advertised endpoint is no URL", endpoint)
	}
	req.Header.Set(ForwardedHeader, "1")
	req.Header.Set("Accept", "application/json")
	for _, name := range passedOn {
		if values := q.http.Header.Values(name); len(values) > 0 {
			req.Header[name] = values
		}
	}
	answer, err := s.client.Do(req)
	if err != nil {
		return nil, s.unreachable(ctx, endpoint, err)
	}
	defer answer.Body.Close()
	most := int64(s.cfg.MaxBytes)*2 + relayOverhead
	body, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err != nil {
		return nil, s.unreachable(ctx, endpoint, err)
	}
	if int64(len(body)) > most {
		return nil, fail(http.StatusRequestEntityTooLarge, CodeTooLarge, "the answer of the instance at %s is longer than %d bytes: ask for less", endpoint, most)
	}
	return &relayed{endpoint: endpoint, status: answer.StatusCode, retryAfter: answer.Header.Get("Retry-After"), body: body}, nil
}

func (s *Server) unreachable(ctx context.Context, endpoint string, err error) error {
	if ctx.Err() != nil {
		return fail(http.StatusGatewayTimeout, CodeDeadline, "the instance at %s did not answer within %v", endpoint, s.cfg.Timeout)
	}
	return unavailable(CodeUnavailable, "the instance at %s cannot be reached: %v", endpoint, err)
}

// forward passes the request on to the instance that runs task. If that is not
// so any more, or nobody answers there, the directory is looked up anew, and if
// it names somebody else, that one is asked.
func (s *Server) forward(q *request, task streams.TaskID) (*relayed, error) {
	if q.forwarded {
		return nil, s.notOwner(task)
	}
	answer, err := s.askOwner(q, task)
	if err == nil || !q.stale {
		return answer, err
	}
	// The owner may have died a moment ago.
	if copied := s.askCopies(q, task); copied != nil {
		return copied, nil
	}
	return nil, err
}

// askCopies asks those who keep a copy of a task's state, one after the other,
// and returns the first answer, or nil.
func (s *Server) askCopies(q *request, task streams.TaskID) *relayed {
	d, err := s.directory(q.ctx, q)
	if err != nil {
		return nil
	}
	for _, endpoint := range d.copies[task.String()] {
		answer, err := s.call(q.ctx, q, endpoint, q.http.URL.EscapedPath(), q.http.URL.RawQuery)
		if err == nil && answer.status < http.StatusMisdirectedRequest {
			return answer
		}
	}
	return nil
}

// askOwner asks who runs a task, once more if that has changed.
func (s *Server) askOwner(q *request, task streams.TaskID) (*relayed, error) {
	var asked string
	var last error
	for range 2 {
		d, err := s.directory(q.ctx, q)
		if err != nil {
			return nil, err
		}
		endpoint, err := s.elsewhere(d, task)
		if err != nil {
			return nil, err
		}
		if endpoint == asked {
			break
		}
		asked = endpoint
		answer, err := s.call(q.ctx, q, endpoint, q.http.URL.EscapedPath(), q.http.URL.RawQuery)
		if err == nil && answer.status != http.StatusMisdirectedRequest {
			return answer, nil
		}
		if last = err; err == nil {
			last = answer.failure()
		}
		if f, ok := errors.AsType[*failure](last); ok && f.detail.Code != CodeMoving && f.detail.Code != CodeUnavailable {
			break
		}
		s.forget()
	}
	return nil, last
}
