//go:build integration

package integration_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tap listens in on a process's connections to its brokers, and notes in a file
// how far each partition was fetched before the process sees any of it. What
// was written to the file survives the process, however it ends: so a test
// learns what a process that was killed can have read at most.
type tap struct {
	mu   sync.Mutex
	file *os.File
	next map[place]int64
}

func newTap(file string) (*tap, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &tap{file: f, next: map[place]int64{}}, nil
}

// readTap returns the offsets behind the last record fetched, by partition.
func readTap(t testing.TB, file string) map[place]int64 {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[place]int64{}
	for line := range bytes.Lines(b) {
		var at place
		var next int64
		if _, err := fmt.Sscan(string(line), &at.topic, &at.partition, &next); err != nil {
			t.Fatalf("tap %s: %q: %v", file, line, err)
		}
		out[at] = max(out[at], next)
	}
	return out
}

// fetched notes what one answer has brought.
func (p *tap) fetched(resp *kmsg.FetchResponse) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []byte
	for _, t := range resp.Topics {
		for _, part := range t.Partitions {
			for b := range batches(part.RecordBatches) {
				at := place{t.Topic, part.Partition}
				if b.next > p.next[at] {
					p.next[at] = b.next
					lines = fmt.Appendf(lines, "%s %d %d\n", at.topic, at.partition, b.next)
				}
			}
		}
	}
	_, err := p.file.Write(lines)
	return err
}

func (p *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: conn, tap: p, versions: map[int32]int16{}}, nil
}

// tapped is a connection whose fetch answers are held back until they are noted.
type tapped struct {
	net.Conn
	tap *tap

	mu       sync.Mutex      // guards versions
	versions map[int32]int16 // of fetch requests under way, by correlation id
	sent     []byte          // of a request that is not complete

	received []byte // of an answer that is not complete
	ready    []byte // of answers that are noted
}

const fetchKey = 1

// Write passes requests on and notes which of them are fetches.
func (c *tapped) Write(b []byte) (int, error) {
	c.sent = append(c.sent, b...)
	for frame := range frames(&c.sent) {
		if int16(binary.BigEndian.Uint16(frame)) == fetchKey {
			c.mu.Lock()
			c.versions[int32(binary.BigEndian.Uint32(frame[4:]))] = int16(binary.BigEndian.Uint16(frame[2:]))
			c.mu.Unlock()
		}
	}
	return c.Conn.Write(b)
}

// Read returns bytes of whole answers only.
func (c *tapped) Read(b []byte) (int, error) {
	buf := make([]byte, 64<<10)
	for len(c.ready) == 0 {
		n, err := c.Conn.Read(buf)
		c.received = append(c.received, buf[:n]...)
		for frame := range frames(&c.received) {
			if err := c.answer(frame); err != nil {
				return 0, err
			}
			c.ready = binary.BigEndian.AppendUint32(c.ready, uint32(len(frame)))
			c.ready = append(c.ready, frame...)
		}
		if err != nil && len(c.ready) == 0 {
			return 0, err
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func (c *tapped) answer(frame []byte) error {
	id := int32(binary.BigEndian.Uint32(frame))
	c.mu.Lock()
	version, ok := c.versions[id]
	delete(c.versions, id)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(version)
	body := frame[4:]
	if resp.IsFlexible() {
		body = body[1:] // the header's tags, of which there are none
	}
	if err := resp.ReadFrom(body); err != nil {
		return fmt.Errorf("tap: fetch answer, version %d: %w", version, err)
	}
	return c.tap.fetched(resp)
}

// frames yields the complete frames at the start of a buffer and takes them out.
func frames(buf *[]byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(*buf) >= 4 {
			n := int(binary.BigEndian.Uint32(*buf))
			if len(*buf) < 4+n {
				return
			}
			frame := (*buf)[4 : 4+n]
			*buf = (*buf)[4+n:]
			if !yield(frame) {
				return
			}
		}
	}
}

// batch is the outside of a record batch.
type batch struct {
	next    int64 // offset behind its last one
	records int32
}

// batches yields the whole batches among the bytes that a fetch brought.
func batches(b []byte) func(func(batch) bool) {
	const header = 61
	return func(yield func(batch) bool) {
		for len(b) >= header {
			size := 12 + int(binary.BigEndian.Uint32(b[8:]))
			if len(b) < size {
				return
			}
			base, delta := int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[23:]))
			if !yield(batch{next: base + int64(delta) + 1, records: int32(binary.BigEndian.Uint32(b[57:]))}) {
				return
			}
			b = b[size:]
		}
	}
}
