package servers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

var errShort = errors.New("servers: the broker's answer ends early")

// brokersKnownTo asks the broker at addr which brokers are up, by a Metadata
// request (version 5, no topics), and returns their sorted ids. It is written
// by hand so that the harness shares no code with what it serves to test.
func brokersKnownTo(ctx context.Context, addr string) ([]int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, err
	}
	request := []byte{
		0, 0, 0, 15, // length
		0, 3, 0, 5, // Metadata, version 5
		0, 0, 0, 1, // correlation id
		0xff, 0xff, // no client id
		0, 0, 0, 0, // no topics
		0, // do not create any
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<20 {
		return nil, fmt.Errorf("servers: an answer of %d bytes from %s: that is no Kafka", n, addr)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	return brokerIDs(answer)
}

// brokerIDs reads the brokers' ids from a Metadata response of version 5:
// correlation id, throttle time, then an array of id, host, port and rack.
func brokerIDs(answer []byte) ([]int, error) {
	if len(answer) < 12 {
		return nil, errShort
	}
	count, b := int(binary.BigEndian.Uint32(answer[8:])), answer[12:]
	var ids []int
	for range count {
		if len(b) < 4 {
			return nil, errShort
		}
		ids = append(ids, int(binary.BigEndian.Uint32(b)))
		var ok bool
		if b, ok = afterString(b[4:]); !ok || len(b) < 4 {
			return nil, errShort
		}
		if b, ok = afterString(b[4:]); !ok {
			return nil, errShort
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// afterString returns what follows a nullable string.
func afterString(b []byte) ([]byte, bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := max(0, int(int16(binary.BigEndian.Uint16(b))))
	if len(b) < 2+n {
		return nil, false
	}
	return b[2+n:], true
}
