package query

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrInvalidConfig is wrapped by every mistake in a Config.
var ErrInvalidConfig = errors.New("query: invalid configuration")

// Config says how a Server answers. The zero value is a working default.
type Config struct {
	// Advertise is the URL at which other instances reach this server, the
	// same that the instance advertises to its group. If the server is mounted
	// below a path, that path belongs to it. Empty: nobody else asks here.
	Advertise string
	// Gatherer is what /metrics shows. Default: there is no such page.
	Gatherer prometheus.Gatherer
	// Client asks other instances. If they want credentials, its transport adds
	// them: those of the caller are not passed on. Default: a client of the
	// server's own that follows no redirects and uses no proxy.
	Client *http.Client

	// AdminToken is what a request must have as its bearer token to pause, resume or
	// drain the instance, or change its workers; at least 16 bytes. It goes over the wire as it is: use TLS
	// in front, or a network of one's own. Empty: nobody can.
	AdminToken string

	// Timeout bounds the work on one request, other instances' included.
	// Default: 5 s.
	Timeout time.Duration
	// MaxItems bounds the parameter limit. Default: 1,000.
	MaxItems int
	// MaxBytes bounds, roughly, the bytes of one answer; a page that would be
	// longer ends earlier. It should be the same on all instances. Default:
	// 4 MiB.
	MaxBytes int

	// Logger gets one line a request at debug level, and errors of the server.
	// Default: nothing is logged.
	Logger *slog.Logger
	// RequestID names requests that come without an X-Request-Id. Default:
	// random text.
	RequestID func() string
}

// Bounds of what a request may hold, and the number of items of a page that
// asks for none.
const (
	defaultLimit  = 100
	maxKeyText    = 8 << 10
	maxCursorText = 16 << 10
	leastMaxBytes = 4 << 10
)

// resolve returns c with defaults filled in, or every mistake in it.
func (c Config) resolve() (Config, error) {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.MaxItems = cmp.Or(c.MaxItems, 1000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 4<<20)
	c.Advertise = strings.TrimSuffix(c.Advertise, "/")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.RequestID == nil {
		c.RequestID = rand.Text
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrInvalidConfig, fmt.Sprintf(format, args...)))
	}
	if c.Timeout < time.Millisecond {
		wrong("timeout %v: use at least 1ms", c.Timeout)
	}
	if c.AdminToken != "" && len(c.AdminToken) < leastToken {
		wrong("admin token of %d bytes: use at least %d that nobody can guess", len(c.AdminToken), leastToken)
	}
	if c.MaxItems < 1 {
		wrong("max items %d: use at least 1", c.MaxItems)
	}
	if c.MaxBytes < leastMaxBytes {
		wrong("max bytes %d: use at least %d", c.MaxBytes, leastMaxBytes)
	}
	if c.Advertise != "" {
		u, err := url.Parse(c.Advertise)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
			wrong("advertise %q: use a URL such as http://10.0.0.7:8080", c.Advertise)
		}
	}
	return c, errors.Join(errs...)
}
