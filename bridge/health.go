package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// health is what the self-test found.
type health struct {
	mu       sync.Mutex
	failures int // in a row
	err      error
	done     time.Time // of the last test that came to an end
	tests    uint64
	failed   uint64
	took     time.Duration
}

const (
	// healthRetry separates tests after one that failed.
	healthRetry = 10 * time.Second
	// healthTries is how many must fail in a row before the bridge is called ill: a
	// focus moves everybody away from one that is (bridge.md §2.4), and a machine that
	// was busy for a moment is no reason to.
	healthTries = 3
)

// Healthy tells what is wrong with the bridge, nil for nothing.
func (s *Service) Healthy() error {
	if s.cfg.HealthInterval <= 0 {
		return nil
	}
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures >= healthTries {
		return fmt.Errorf("no media through the bridge: %w", h.err)
	}
	// JVB: a result that is older than one and a half intervals says nothing.
	if age := now().Sub(h.done); age > s.cfg.HealthInterval*3/2+s.cfg.HealthTimeout {
		return fmt.Errorf("no media test of the bridge has come to an end for %v", age.Round(time.Second))
	}
	return nil
}

// watchHealth tests the bridge again and again until ctx ends.
func (s *Service) watchHealth(ctx context.Context) {
	if s.cfg.HealthInterval <= 0 {
		return
	}
	h := &s.health
	for {
		began := now()
		err := s.selfTest(ctx)
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		was := h.failures >= healthTries
		h.tests++
		h.done, h.took = now(), now().Sub(began)
		if h.err = err; err != nil {
			h.failed++
			h.failures++
		} else {
			h.failures = 0
		}
		is, failures := h.failures >= healthTries, h.failures
		h.mu.Unlock()
		wait := s.cfg.HealthInterval
		switch {
		case err != nil:
			wait = min(wait, healthRetry)
			s.log.Warn("media self-test failed", "in_a_row", failures, "err", err)
		case was:
			s.log.Info("media self-test works again")
		}
		if is != was {
			s.tell()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Ready tells why the bridge takes no new meetings, nil if it does.
func (s *Service) Ready() error {
	switch {
	case !s.joined.Load():
		return errors.New("the bridge is not in its brewery yet")
	case s.State() != Running:
		return errors.New("the bridge is shutting down")
	}
	return s.Healthy()
}
