package bridge

import (
	"context"
	"time"
)

// State is how far the bridge has gone towards its end (bridge.md §19).
type State int32

// States, in the only order in which they come.
const (
	Running          State = iota
	GracefulShutdown       // no new conferences; those that are may go on, and grow
	ShuttingDown           // the focus is to move everybody away
)

// State is the present one.
func (s *Service) State() State { return State(s.state.Load()) }

// Drain has the focus prefer other bridges, or not any more; everything is still
// accepted.
func (s *Service) Drain(on bool) {
	if s.draining.Swap(on) != on {
		s.log.Info("drain switched", "on", on)
		s.tell()
	}
}

// Draining reports whether it does.
func (s *Service) Draining() bool { return s.draining.Load() }

// Shutdown begins the end: graceful when the last endpoint is gone or Config.ShutdownMax
// is over, else at once. There is no way back, because a focus remembers either for
// good. Over tells when the bridge may be stopped.
func (s *Service) Shutdown(gracefully bool) {
	want := GracefulShutdown
	if !gracefully {
		want = ShuttingDown
	}
	for {
		now := s.state.Load()
		if now >= int32(want) {
			return
		}
		if s.state.CompareAndSwap(now, int32(want)) {
			break
		}
	}
	s.log.Info("shutdown begins", "graceful", gracefully)
	s.tell()
	select {
	case s.ending <- struct{}{}:
	default: // wind down looks by itself
	}
}

// Over is closed when a shutdown is done: nobody is left, or had the time to go.
func (s *Service) Over() <-chan struct{} { return s.over }

// tell has the presence published at once.
func (s *Service) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// endLook is how often a graceful shutdown looks whether people are left.
const endLook = time.Second

// windDown carries a shutdown through. It returns when ctx ends or it is done.
func (s *Service) windDown(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.ending:
	}
	began := now()
	look := time.NewTicker(min(endLook, max(s.cfg.ShutdownMax, time.Millisecond)))
	defer look.Stop()
	for s.State() == GracefulShutdown {
		if s.endpoints() <= s.cfg.ShutdownParticipants || now().Sub(began) >= s.cfg.ShutdownMax {
			s.Shutdown(false)
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-s.ending: // forced meanwhile
		}
	}
	wait := time.NewTimer(s.cfg.ShutdownDelay)
	defer wait.Stop()
	for s.endpoints() > 0 { // who has been moved away need not be waited for
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			continue
		case <-wait.C:
		}
		break
	}
	s.log.Info("shutdown done", "endpoints", s.endpoints())
	close(s.over)
}

// endpoints counts them.
func (s *Service) endpoints() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conferences {
		n += int(c.size.Load())
	}
	return n
}
