package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// inFlight is how many requests one connection may have unanswered. A broker
// recognises repeats of an idempotent producer's last five batches only.
const inFlight = 5

// conn is one connection to one broker in one role. It dials when it is first
// used and again after a failure. At most one call is under way; the others wait
// for their turn on a channel, so that no mutex is held across a request.
type conn struct {
	cfg     *Config
	addr    string
	timeout time.Duration // the longest wait for an answer

	life context.Context // ends when the connection is closed for good
	end  context.CancelCauseFunc
	turn chan struct{} // holds one token while a call is under way
	link *link         // nil when not connected; belongs to the holder of the turn
}

// link is an open connection: the socket, and sarama's codec on top of it.
type link struct {
	socket net.Conn
	broker *sarama.Broker
}

func newConn(cfg *Config, addr string, timeout time.Duration) *conn {
	c := &conn{cfg: cfg, addr: addr, timeout: timeout, turn: make(chan struct{}, 1)}
	c.life, c.end = context.WithCancelCause(context.Background())
	return c
}

// call runs request on the connection, dialling first if need be. When ctx ends
// or the connection is closed the socket is cut, which makes request return. An
// error that is no answer of the broker is a brokerError and leaves the
// connection to be dialled anew.
func (c *conn) call(ctx context.Context, request func(*sarama.Broker) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(ErrClosed) })()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case c.turn <- struct{}{}:
	}
	defer func() { <-c.turn }()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.link == nil {
		l, err := c.cfg.dial(ctx, c.addr, c.timeout)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &brokerError{c.addr, err}
		}
		c.link = l
	}
	l := c.link
	stop := context.AfterFunc(ctx, func() { l.socket.Close() })
	err := request(l.broker)
	cut := !stop()
	if cut || err != nil && !answered(err) {
		l.close()
		c.link = nil
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case answered(err):
		return err
	}
	return &brokerError{c.addr, err}
}

// answered reports whether err is what a broker said, not a failure to ask it.
func answered(err error) bool {
	_, ok := errors.AsType[sarama.KError](err)
	return ok || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrInconsistentProtocol)
}

// reset drops the connection, so that the next call dials. Callbacks of requests
// without an answer have run when it returns.
func (c *conn) reset() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.discard()
}

// discard drops the connection for the holder of the turn, or for its only user.
func (c *conn) discard() {
	if c.link != nil {
		c.link.close()
		c.link = nil
	}
}

// close ends the call under way and waits for it. Later calls fail with
// ErrClosed.
func (c *conn) close() {
	c.end(ErrClosed)
	c.reset()
}

// close cuts the socket first, since Broker.Close waits for pending answers.
// Nobody else may be using the broker.
func (l *link) close() {
	_ = l.socket.Close()
	_ = l.broker.Close() // also ErrNotConnected, when a failed request has closed it
}

// dial opens, encrypts and authenticates a connection.
func (c *Config) dial(ctx context.Context, addr string, timeout time.Duration) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.DialTimeout, fmt.Errorf("no connection within %v", c.DialTimeout))
	defer cancel()
	socket, err := c.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	if c.TLS != nil {
		secured := tls.Client(socket, c.tlsFor(addr))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = socket.Close()
			return nil, fmt.Errorf("TLS handshake: %w", orCause(ctx, err))
		}
		socket = secured
	}
	l := &link{socket: socket, broker: sarama.NewBroker(addr)}
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	if err := l.broker.Open(c.sarama(socket, timeout)); err != nil {
		_ = socket.Close()
		return nil, err
	}
	// Open hands over to a goroutine that authenticates; Connected waits for it.
	if _, err := l.broker.Connected(); err != nil {
		l.close()
		if code, ok := errors.AsType[sarama.KError](err); ok && sentinel(code) == ErrAuthentication {
			return nil, fmt.Errorf("%w: SASL %v: %w", ErrAuthentication, c.SASL, err)
		}
		if errors.Is(err, io.EOF) {
			// It may also be stopping, so this is tried again where other failures are.
			return nil, fmt.Errorf("SASL %v: the broker closed the connection, wrong user or password? %w", c.SASL, err)
		}
		return nil, fmt.Errorf("SASL %v: %w", c.SASL, orCause(ctx, err))
	}
	return l, nil
}

// orCause prefers the reason why ctx ended to the error that its end caused.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *Config) tlsFor(addr string) *tls.Config {
	if c.TLS.ServerName != "" {
		return c.TLS
	}
	t := c.TLS.Clone()
	t.ServerName, _, _ = net.SplitHostPort(addr)
	return t
}

// sarama returns the settings of a codec over an open socket. Versions of
// requests are fixed by the callers and checked once by Open, so there is no
// negotiation a connection.
func (c *Config) sarama(socket net.Conn, timeout time.Duration) *sarama.Config {
	s := sarama.NewConfig()
	s.ClientID = c.ClientID
	s.Version = sarama.V4_1_0_0
	s.ApiVersionsRequest = false
	s.MetricRegistry = noMetrics{}
	s.Net.MaxOpenRequests = inFlight
	s.Net.ReadTimeout = timeout
	s.Net.WriteTimeout = c.RequestTimeout
	s.Net.Proxy.Enable = true
	s.Net.Proxy.Dialer = dialled{socket}
	if c.SASL.Mechanism != "" {
		s.Net.SASL.Enable = true
		s.Net.SASL.Version = sarama.SASLHandshakeV1
		s.Net.SASL.Mechanism = sarama.SASLMechanism(c.SASL.Mechanism)
		s.Net.SASL.User = c.SASL.User
		s.Net.SASL.Password = c.SASL.Password
		s.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
			if c.SASL.Mechanism == SASLScramSHA512 {
				return &scramClient{hash: scram.SHA512}
			}
			return &scramClient{hash: scram.SHA256}
		}
	}
	return s
}

// dialled hands sarama the connection that is already open.
type dialled struct{ socket net.Conn }

func (d dialled) Dial(string, string) (net.Conn, error) { return d.socket, nil }

// scramClient lets sarama use xdg-go/scram (RFC 5802).
type scramClient struct {
	hash         scram.HashGeneratorFcn
	conversation *scram.ClientConversation
}

func (s *scramClient) Begin(user, password, authzID string) error {
	client, err := s.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	s.conversation = client.NewConversation()
	return nil
}

func (s *scramClient) Step(challenge string) (string, error) { return s.conversation.Step(challenge) }
func (s *scramClient) Done() bool                            { return s.conversation.Done() }
