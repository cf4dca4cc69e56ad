//go:build integration

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/integration/servers"
)

// mesh is the network between the instances and the nodes: a proxy for each
// listener, of which each instance has one, and node.
type mesh struct {
	server *toxiproxy.ApiServer

	mu       sync.Mutex                          // guards what follows
	proxies  map[string]map[int]*toxiproxy.Proxy // by listener and node
	accepted map[string]int                      // connections by listener
}

func newMesh(log io.Writer) *mesh {
	m := &mesh{proxies: map[string]map[int]*toxiproxy.Proxy{}, accepted: map[string]int{}}
	zerolog.SetGlobalLevel(zerolog.InfoLevel) // some toxics log to the global logger
	logger := zerolog.New(io.MultiWriter(log, (*counter)(m))).With().Timestamp().Logger()
	m.server = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), logger)
	return m
}

// counter counts the connections of which the proxies log that they are made.
type counter mesh

func (c *counter) Write(b []byte) (int, error) {
	var l struct{ Name, Message string }
	if json.Unmarshal(b, &l) == nil && l.Message == "Accepted client" {
		listener, _, _ := strings.Cut(l.Name, "/")
		c.mu.Lock()
		c.accepted[listener]++
		c.mu.Unlock()
	}
	return len(b), nil
}

// advertise puts a proxy before a node's listener and returns its address.
func (m *mesh) advertise(listener string, node int, addr string) (string, error) {
	ports, err := servers.FreePorts(1)
	if err != nil {
		return "", err
	}
	p := toxiproxy.NewProxy(m.server, fmt.Sprintf("%s/%d", listener, node), fmt.Sprintf("127.0.0.1:%d", ports[0]), addr)
	if err := p.Start(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proxies[listener] == nil {
		m.proxies[listener] = map[int]*toxiproxy.Proxy{}
	}
	if before := m.proxies[listener][node]; before != nil {
		before.Stop()
	}
	m.proxies[listener][node] = p
	return p.Listen, nil
}

// of returns the proxies of a listener to some nodes.
func (m *mesh) of(listener string, nodes []int) (proxies []*toxiproxy.Proxy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range nodes {
		proxies = append(proxies, m.proxies[listener][n])
	}
	return proxies
}

// connections returns how many connections came by a listener so far.
func (m *mesh) connections(listener string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accepted[listener]
}

// cut closes all connections by a listener. New ones can be made.
func (m *mesh) cut(listener string, nodes []int) error {
	for _, p := range m.of(listener, nodes) {
		p.Stop()
		if err := p.Start(); err != nil {
			return fmt.Errorf("proxy %s: %w", p.Name, err)
		}
	}
	return nil
}

// poison adds a toxic to the proxies of a listener.
func (m *mesh) poison(listener string, nodes []int, toxic, direction string, attributes map[string]int) error {
	text, err := json.Marshal(map[string]any{"type": toxic, "stream": direction, "attributes": attributes})
	if err != nil {
		return err
	}
	for _, p := range m.of(listener, nodes) {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
			return fmt.Errorf("proxy %s: %s: %w", p.Name, toxic, err)
		}
	}
	return nil
}

// cure removes all toxics from the proxies of a listener. Connections that were
// half-open are closed.
func (m *mesh) cure(listener string, nodes []int) {
	for _, p := range m.of(listener, nodes) {
		p.Toxics.ResetToxics(context.Background())
	}
}

func (m *mesh) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, nodes := range m.proxies {
		for _, p := range nodes {
			p.Stop()
		}
	}
}
