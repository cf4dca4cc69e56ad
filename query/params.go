package query

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/window"
)

// Headers that instances pass on to each other.
const (
	// ForwardedHeader is "1" on a request that an instance sends on behalf of
	// a client. Such a request is not forwarded again.
	ForwardedHeader = "Millrace-Forwarded"
	requestIDHeader = "X-Request-Id"
)

// passedOn are the headers of a client that go with a forwarded request.
var passedOn = [...]string{requestIDHeader, "Traceparent", "Tracestate", "Baggage"}

// partitionsParam restricts a forwarded scan to some partitions.
const partitionsParam = "partitions"

// request is one request whose parameters are those of its route.
type request struct {
	ctx       context.Context
	http      *http.Request
	params    url.Values
	forwarded bool
	stale     bool
}

// newRequest checks the names of the parameters.
func newRequest(ctx context.Context, r *http.Request, rt *route) (*request, error) {
	q := &request{ctx: ctx, http: r, forwarded: r.Header.Get(ForwardedHeader) == "1"}
	var err error
	if q.params, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, bad(CodeBadParameter, "the query string cannot be read: %v", err)
	}
	allowed := rt.queryParams()
	for name, values := range q.params {
		switch {
		case q.forwarded && name == partitionsParam:
		case !slices.Contains(allowed, name):
			return nil, bad(CodeBadParameter, "there is no parameter %q here: %s", name, listed("there is", allowed))
		case len(values) > 1:
			return nil, bad(CodeBadParameter, "parameter %q is given %d times", name, len(values))
		}
	}
	if text := q.params.Get("stale"); text != "" {
		if q.stale, err = strconv.ParseBool(text); err != nil {
			return nil, bad(CodeBadParameter, "stale=%q: want true or false", text)
		}
	}
	return q, nil
}

func listed(verb string, names []string) string {
	if len(names) == 0 {
		return verb + " none"
	}
	return verb + " " + strings.Join(names, ", ")
}

// time reads a time; without one it is fallback.
func (q *request) time(name string, fallback int64) (int64, error) {
	text := q.params.Get(name)
	if text == "" {
		return fallback, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, bad(CodeBadTime, "%s=%q: want RFC 3339, such as 2026-01-02T15:04:05Z (a + in it written %%2B), or Unix milliseconds", name, text)
	}
	return t.UnixMilli(), nil
}

// span reads from and to, the latter exclusive.
func (q *request) span() (from, to int64, err error) {
	if from, err = q.time("from", window.MinTime); err != nil {
		return 0, 0, err
	}
	if to, err = q.time("to", window.MaxTime); err != nil {
		return 0, 0, err
	}
	if from > to {
		return 0, 0, bad(CodeBadTime, "from, %s, is after to, %s", window.FormatTime(from), window.FormatTime(to))
	}
	return from, to, nil
}

// limit reads the greatest number of items of a page.
func (q *request) limit(most int) (int, error) {
	text := q.params.Get("limit")
	if text == "" {
		return min(defaultLimit, most), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, bad(CodeBadLimit, "limit=%q: want a number from 1 to %d; the rest comes by cursor", text, most)
	}
	return n, nil
}

// partitions reads those that a forwarded scan is for, of n.
func (q *request) partitions(n int32) ([]int32, error) {
	text := q.params.Get(partitionsParam)
	if text == "" {
		all := make([]int32, n)
		for i := range all {
			all[i] = int32(i)
		}
		return all, nil
	}
	var some []int32
	for part := range strings.SplitSeq(text, ",") {
		p, err := strconv.ParseInt(part, 10, 32)
		if err != nil || p < 0 || p >= int64(n) {
			return nil, bad(CodeBadParameter, "%s=%q: want numbers below %d with commas between them", partitionsParam, text, n)
		}
		some = append(some, int32(p))
	}
	slices.Sort(some)
	return slices.Compact(some), nil
}
