package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// host is an instance and the server that answers queries about it.
type host struct {
	instance *streams.Instance
	server   *query.Server
	listener net.Listener
	url      string
}

// newHost listens and makes an instance that says so to its group. advertise is
// the URL that others use; empty for one made of the address. token is for orders
// over HTTP; without one there are none. The host is to be run.
func newHost(ctx context.Context, t *topology.Topology, cfg streams.Config, listen, advertise string, token config.Secret, log *slog.Logger) (*host, error) {
	ln, err := query.Listen(ctx, listen)
	if err != nil {
		return nil, err
	}
	h := &host{listener: ln, url: advertise}
	if h.url == "" {
		h.url = serverURL(ln.Addr())
	}
	registry := prometheus.NewRegistry()
	cfg.Advertise, cfg.Metrics = h.url, registry
	if h.instance, err = streams.New(t, cfg); err == nil {
		h.server, err = query.New(h.instance, query.Config{Advertise: h.url, Gatherer: registry, AdminToken: token.Reveal(), Logger: log})
	}
	if err == nil {
		err = errors.Join(registry.Register(collectors.NewGoCollector()),
			registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return h, nil
}

// run runs the instance until it is done or ctx ends. It answers queries until
// the instance has stopped, so that they learn that it is stopping.
func (h *host) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	served := make(chan error, 1)
	go func() {
		err := h.server.Serve(serving, h.listener)
		if err != nil {
			stop() // an instance that nobody can ask is of no use
		}
		served <- err
	}()
	err := h.instance.Run(ctx)
	end()
	if errors.Is(err, context.Canceled) {
		err = unlessStopped(ctx, err) // it was stopped before it had started
	}
	return errors.Join(err, <-served)
}
