package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Config says how to reach a cluster. The zero value of every field but Brokers
// is a working default.
type Config struct {
	// Brokers are the addresses (host:port) asked first. The others are learnt
	// from whichever of them answers.
	Brokers []string

	// ClientID names this process in the brokers' logs and quotas.
	// Default "millrace".
	ClientID string

	// TLS encrypts every connection when it is not nil. An empty ServerName
	// stands for the host that is dialled.
	TLS *tls.Config

	// SASL authenticates every connection when its Mechanism is not empty.
	SASL SASL

	// Dial opens a connection. Default: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger receives what happens to connections. Default: nothing is logged.
	Logger *slog.Logger

	// DialTimeout bounds dialling, the TLS handshake and authentication
	// together. Default 10 s.
	DialTimeout time.Duration

	// RequestTimeout bounds the wait for an answer, beyond what the request
	// itself asks the broker to wait. Default 30 s.
	RequestTimeout time.Duration

	// RetryTimeout bounds how long one operation is retried before it fails
	// with ErrUnavailable; the application's task.timeout. Default 5 min.
	RetryTimeout time.Duration

	// RetryBackoff is the wait before the first retry. It doubles up to
	// MaxRetryBackoff. Defaults 50 ms and 1 s.
	RetryBackoff, MaxRetryBackoff time.Duration

	// Jitter returns a number in [0, 1) that spreads retries; safe for
	// concurrent use. Default: math/rand/v2.
	Jitter func() float64
}

// SASL is how a connection proves who it is.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or empty for none.
	Mechanism string
	User      string
	Password  string
}

// The values of SASL.Mechanism.
const (
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
)

// String hides the password.
func (s SASL) String() string {
	if s.Mechanism == "" {
		return "none"
	}
	return fmt.Sprintf("%s as %q", s.Mechanism, s.User)
}

// GoString hides the password from %#v too.
func (s SASL) GoString() string { return "kafka.SASL{" + s.String() + "}" }

// Validate returns every mistake in the configuration, joined, each wrapping
// ErrInvalidConfig.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalidConfig}, args...)...))
	}
	if len(c.Brokers) == 0 {
		wrong("brokers: none given; give at least one as host:port")
	}
	for _, addr := range c.Brokers {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			wrong("brokers: %q: %v; write host:port", addr, err)
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			wrong("brokers: %q: port %q is not a number from 1 to 65535", addr, port)
		}
	}
	switch c.SASL.Mechanism {
	case "":
		if c.SASL.User != "" || c.SASL.Password != "" {
			wrong("sasl: a user or password without a mechanism; use %s, %s or %s", SASLPlain, SASLScramSHA256, SASLScramSHA512)
		}
	case SASLPlain, SASLScramSHA256, SASLScramSHA512:
		if c.SASL.User == "" {
			wrong("sasl: %s needs a user", c.SASL.Mechanism)
		}
		if c.SASL.Password == "" {
			wrong("sasl: %s needs a password", c.SASL.Mechanism)
		}
	default:
		wrong("sasl: unknown mechanism %q; use %s, %s or %s", c.SASL.Mechanism, SASLPlain, SASLScramSHA256, SASLScramSHA512)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"dial timeout", c.DialTimeout}, {"request timeout", c.RequestTimeout}, {"retry timeout", c.RetryTimeout},
		{"retry back-off", c.RetryBackoff}, {"maximum retry back-off", c.MaxRetryBackoff},
	} {
		if d.value < 0 {
			wrong("%s: %v is negative", d.name, d.value)
		}
	}
	if c.MaxRetryBackoff > 0 && c.RetryBackoff > c.MaxRetryBackoff {
		wrong("retry back-off: %v is above its maximum %v", c.RetryBackoff, c.MaxRetryBackoff)
	}
	return errors.Join(errs...)
}

// withDefaults returns c with every unset field filled in.
func (c Config) withDefaults() Config {
	if c.ClientID == "" {
		c.ClientID = "millrace"
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	orDefault(&c.DialTimeout, 10*time.Second)
	orDefault(&c.RequestTimeout, 30*time.Second)
	orDefault(&c.RetryTimeout, 5*time.Minute)
	orDefault(&c.RetryBackoff, 50*time.Millisecond)
	orDefault(&c.MaxRetryBackoff, max(time.Second, c.RetryBackoff))
	return c
}

func orDefault[T ~int | ~int32 | ~int64](p *T, value T) {
	if *p == 0 {
		*p = value
	}
}
