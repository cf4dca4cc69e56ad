package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is the network of one process. A test cuts its connections, freezes
// them, or ends it for good.
type wire struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// latency is how long each piece of data is on its way; nil for no time.
	latency func() time.Duration

	mu    sync.Mutex
	conns map[*wireConn]struct{}
	dead  bool
	lag   time.Duration // comes on top of the latency
	// throttles is how many heartbeats are still to be answered with the word to
	// keep silent for silence; throttled is how many were.
	throttles, throttled int
	silence              time.Duration
	// thaw is closed when what is frozen flows again; nil while it flows.
	thaw chan struct{}
}

var errDead = errors.New("the process is dead")

func newWire(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *wire {
	return &wire{dial: dial, conns: map[*wireConn]struct{}{}}
}

func (w *wire) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := w.flow(ctx.Done()); err != nil {
		return nil, err
	}
	c, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wc := &wireConn{Conn: c, wire: w, closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		c.Close()
		return nil, errDead
	}
	w.conns[wc] = struct{}{}
	return wc, nil
}

// flow waits while the wire is frozen, until done is closed.
func (w *wire) flow(done <-chan struct{}) error {
	for {
		w.mu.Lock()
		thaw, dead := w.thaw, w.dead
		w.mu.Unlock()
		if dead {
			return errDead
		}
		if thaw == nil {
			return nil
		}
		select {
		case <-thaw:
		case <-done:
			return net.ErrClosed
		}
	}
}

// cut closes all connections, and returns how many there were. New ones can be
// made.
func (w *wire) cut() int {
	w.mu.Lock()
	var conns []*wireConn
	for c := range w.conns {
		conns = append(conns, c)
	}
	w.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	return len(conns)
}

// slow has each piece of data take longer by d.
func (w *wire) slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lag = d
}

// delay returns how long the next piece of data takes.
func (w *wire) delay() time.Duration {
	w.mu.Lock()
	d := w.lag
	w.mu.Unlock()
	if w.latency != nil {
		d += w.latency()
	}
	return d
}

// kill closes all connections, and no others can be made.
func (w *wire) kill() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.unfreeze()
	w.cut()
}

// freeze holds everything back that is sent or received, as if the process had
// been stopped: what it was about to send arrives when it wakes.
func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.thaw == nil && !w.dead {
		w.thaw = make(chan struct{})
	}
}

func (w *wire) unfreeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.thaw != nil {
		close(w.thaw)
		w.thaw = nil
	}
}

// throttle has the next n answers to heartbeats tell the client to keep silent
// for d. They are the coordinator's own in all else: it has heard the member, or
// knows it no more.
func (w *wire) throttle(n int, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.throttles, w.silence = w.throttles+n, d
}

// throttledSoFar returns how many answers have said so.
func (w *wire) throttledSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.throttled
}

// wireConn is a connection over a wire.
type wireConn struct {
	net.Conn
	wire   *wire
	once   sync.Once
	closed chan struct{}
	// awaited is set while the answer to a heartbeat is to be changed, and answered
	// how much of it was read; the wire's mu guards both.
	awaited  bool
	answered int
}

// Where things are in frames: the request's API key behind its size, and the
// throttle time behind size, correlation id and the empty tags of a heartbeat's
// answer in version 4.
const (
	apiKeyAt     = 4
	throttleFrom = 9
	throttleTo   = 13
)

// asked looks at a request that is on its way out.
func (c *wireConn) asked(b []byte) {
	if len(b) < apiKeyAt+2 || kmsg.Key(binary.BigEndian.Uint16(b[apiKeyAt:])) != kmsg.Heartbeat {
		return
	}
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.wire.throttles > 0 {
		c.wire.throttles--
		c.awaited, c.answered = true, 0
	}
}

// got changes the answer to a heartbeat, of which b is the next part. A member's
// connection has one request under way at a time.
func (c *wireConn) got(b []byte) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if !c.awaited {
		return
	}
	silence := binary.BigEndian.AppendUint32(nil, uint32(c.wire.silence.Milliseconds()))
	for i := range b {
		if at := c.answered + i; throttleFrom <= at && at < throttleTo {
			b[i] = silence[at-throttleFrom]
		}
	}
	if c.answered += len(b); c.answered >= throttleTo {
		c.awaited = false
		c.wire.throttled++
	}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.got(b[:n])
	if held := c.wire.flow(c.closed); held != nil {
		return 0, held
	}
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	if d := c.wire.delay(); d > 0 {
		select {
		case <-time.After(d):
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	if err := c.wire.flow(c.closed); err != nil {
		return 0, err
	}
	c.asked(b)
	return c.Conn.Write(b)
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
