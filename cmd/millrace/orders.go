package main

import (
	"log/slog"

	"github.com/millrace/millrace/streams"
)

// order is what an operator asks of a running instance by a signal.
type order int

const (
	// togglePause pauses what runs, and resumes what is paused or drained.
	togglePause order = iota
	// drain has the instance give all tasks away.
	drain
)

// obey does what signals ask of an instance, until the returned function is
// called.
func (p *program) obey(in *streams.Instance, log *slog.Logger) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case o := <-p.orders:
				carryOut(in, o, log)
			}
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}

func carryOut(in *streams.Instance, o order, log *slog.Logger) {
	switch state := in.State(); {
	case o == drain:
		if err := in.StartDrain(false); err != nil {
			log.Warn("a drain was asked for by a signal", "error", err)
		}
	case state == streams.Paused || state == streams.Draining || state == streams.Drained:
		in.Resume()
	default:
		in.Pause()
	}
}
