package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ErrListen is wrapped by the errors of Listen.
var ErrListen = errors.New("query: cannot listen")

// Timeouts of connections.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	// writeReserve is how much longer than the work on it an answer may take
	// to be sent.
	writeReserve = 10 * time.Second
	// shutdownTimeout is how long Serve waits for requests in work at the end.
	shutdownTimeout = 3 * time.Second
	maxHeaderBytes  = 64 << 10
)

// Listen opens a port for [Server.Serve]: addr is host:port, and port 0 takes a
// free one. Errors wrap [ErrListen] and say what to do.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w on %s: another process has the port; stop it, or choose another port (0 takes a free one): %w", ErrListen, addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w on %s: the system does not allow it; choose a port above 1023: %w", ErrListen, addr, err)
	}
	return nil, fmt.Errorf("%w on %q: use host:port with an address of this machine, such as 127.0.0.1:8080: %w", ErrListen, addr, err)
}

// ListenAndServe is Listen and Serve.
func (s *Server) ListenAndServe(ctx context.Context, addr string) error {
	ln, err := Listen(ctx, addr)
	if err != nil {
		return err
	}
	return s.Serve(ctx, ln)
}

// Serve answers what comes in on ln, which it closes, until ctx ends. It then
// lets the requests in work finish, for up to three seconds, and returns nil.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       2 * headerTimeout,
		WriteTimeout:      s.cfg.Timeout + writeReserve,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s.cfg.Logger.Info("queries are answered", "address", ln.Addr().String(), "advertised", s.cfg.Advertise)
	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("query: serving %s: %w", ln.Addr(), err)
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			s.cfg.Logger.Warn("requests were cut off", "after", shutdownTimeout)
			err = srv.Close()
		}
		<-served
	}
	if s.ownClient {
		s.client.CloseIdleConnections()
	}
	return err
}
