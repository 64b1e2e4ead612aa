package main

import (
	"context"
	"time"
)

// awaitEnd returns when the server is to stop: at once when somebody asked for that or
// nobody is left in a graceful shutdown, after a signal when the meetings have ended or
// node.drain_timeout is over.
func (s *server) awaitEnd(ctx context.Context, signalled <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-s.halt:
		return
	case <-s.bridge.Over():
		return
	case <-signalled:
	}
	timeout := s.now().Node.DrainTimeout.Duration
	if timeout <= 0 {
		return
	}
	s.logs.of("main").Info("waiting for the meetings to end", "at_most", timeout, "participants", s.bridge.Stats().Endpoints)
	s.bridge.Shutdown(true)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.halt:
	case <-s.bridge.Over():
	case <-timer.C:
		s.logs.of("main").Warn("meetings are cut off", "participants", s.bridge.Stats().Endpoints)
	}
}

// stop ends the server.
func (s *server) stop() {
	select {
	case s.halt <- struct{}{}:
	default: // it is ending
	}
}
