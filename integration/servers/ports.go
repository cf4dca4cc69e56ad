package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are picked from here: below 32768, where Linux begins to take the ports
// of outgoing connections (others begin higher), and above the well-known ones.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// FreePorts returns n different loopback ports that nothing listens on. Another
// process may take one before its user does: who starts a server tries again.
func FreePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		held = append(held, l)
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("servers: no %d free ports on the loopback between %d and %d", n, firstPort, lastPort)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
