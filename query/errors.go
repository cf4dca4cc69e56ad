package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/stores"
)

// Error is what an answer other than 200 holds, under the name "error".
type Error struct {
	// Code is stable and meant for programs: one of the Code constants.
	Code string `json:"code"`
	// Message says what is wrong and what is expected, for people.
	Message string `json:"message"`
	// Tasks are those that the answer waits for.
	Tasks []Lag `json:"tasks,omitempty"`
	// Owner is the endpoint of the instance to ask instead, if it is known.
	Owner string `json:"owner,omitempty"`
}

// Error returns the message with the code.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }

// The codes of errors.
const (
	// Status 400: the request is wrong, and stays so.
	CodeBadParameter = "bad_parameter"
	CodeBadKey       = "bad_key"
	CodeBadTime      = "bad_time"
	CodeBadLimit     = "bad_limit"
	CodeBadCursor    = "bad_cursor"
	// CodeWrongKind: the store has windows and the path none, or the reverse.
	CodeWrongKind = "wrong_kind"

	// CodeUnauthorized, status 401: the request changes something, and has not the
	// token for that.
	CodeUnauthorized = "unauthorized"

	// Status 404.
	CodeNoPath       = "no_such_path"
	CodeUnknownStore = "unknown_store"
	CodeUnknownKey   = "unknown_key"

	// CodeMethod, status 405: only GET and HEAD are answered, or only POST.
	CodeMethod = "method_not_allowed"
	// CodeTooLarge, status 413: one item alone is longer than an answer may be.
	CodeTooLarge = "too_large"
	// CodeNotOwner, status 421: a forwarded request has come to an instance
	// that does not run the task.
	CodeNotOwner = "not_owner"

	// Status 503, with Retry-After: the same request may succeed later.
	//
	// CodeStarting: the instance is not in its group yet.
	CodeStarting = "starting"
	// CodeRestoring: a task's state is being restored; tasks says how much is
	// missing, and stale=true gets what there is.
	CodeRestoring = "restoring"
	// CodeColdUnavailable: the cold tier does not answer, and the request takes no
	// answer without it.
	CodeColdUnavailable = "cold_unavailable"
	// CodeMoving: a task is on its way from one instance to another.
	CodeMoving = "moving"
	// CodeUnavailable: another instance that has to be asked does not answer,
	// or advertises no endpoint.
	CodeUnavailable = "unavailable"
	// CodeNotReady: an answer of /readyz or /healthz.
	CodeNotReady = "not_ready"

	// CodeDeadline, status 504: the answer took too long.
	CodeDeadline = "deadline"
	// CodeInternal, status 500: the server is at fault.
	CodeInternal = "internal"
)

// retryAfter is when a client is told to come back.
const retryAfter = time.Second

// failure is an Error with how it is sent.
type failure struct {
	status int
	detail Error
}

func fail(status int, code, format string, args ...any) *failure {
	return &failure{status, Error{Code: code, Message: fmt.Sprintf(format, args...)}}
}

func bad(code, format string, args ...any) *failure {
	return fail(http.StatusBadRequest, code, format, args...)
}

func unavailable(code, format string, args ...any) *failure {
	return fail(http.StatusServiceUnavailable, code, format, args...)
}

func (f *failure) Error() string { return f.detail.Message }

// errorAnswer is the form of all errors.
type errorAnswer struct {
	Error Error `json:"error"`
}

// toFailure says how err, met on a request with context ctx, is sent.
func (s *Server) toFailure(ctx context.Context, err error) *failure {
	f, known := errors.AsType[*failure](err)
	switch {
	case known:
		return f
	case ctx.Err() != nil:
		// Nobody reads this if it was the client that went away.
		return fail(http.StatusGatewayTimeout, CodeDeadline,
			"no answer within %v: ask for less, such as a smaller limit or a shorter span", s.cfg.Timeout)
	case errors.Is(err, stores.ErrClosed), errors.Is(err, context.Canceled):
		// The database cancels queries when it closes.
		return unavailable(CodeMoving, "the task is being closed here: ask again")
	case errors.Is(err, stores.ErrQuery):
		return bad(CodeWrongKind, "%v", err)
	}
	return fail(http.StatusInternalServerError, CodeInternal, "%v", err)
}
