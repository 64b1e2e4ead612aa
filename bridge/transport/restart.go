package transport

// Remote descriptions, and which agent they are for: an ICE restart runs a
// second agent beside the first and swaps when it is connected
// (reference/bridge.md §4.5). DTLS and SRTP do not notice.

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"confab/internal/datagram"
)

// SetRemote takes what the client signalled; fields may be empty. The first
// credentials start ICE. Credentials with a Generation belong to the restart
// of that number; others belong to the agent that already has them, else to a
// pending restart. A connected transport that gets unknown credentials without
// a restart starts one, and Local then has our new credentials.
func (t *Transport) SetRemote(d Description) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.setFingerprints(d.Fingerprints)

	target := t.cur
	if d.Ufrag != "" || d.Pwd != "" {
		// RFC 8839 §5.4: 4 to 256 and 22 to 256 ice-chars.
		if len(d.Ufrag) < 4 || len(d.Ufrag) > maxUfrag || !iceChars(d.Ufrag) ||
			len(d.Pwd) < 22 || len(d.Pwd) > 256 || !iceChars(d.Pwd) {
			return ErrCredentials
		}
		var err error
		if target, err = t.agentFor(d); err != nil {
			return err
		}
		if target.remoteUfrag == "" {
			if err := target.start(d.Ufrag, d.Pwd); err != nil {
				return err
			}
			if target == t.cur {
				t.setState(StateConnecting, nil)
			}
		}
	}
	target.add(d.Candidates)
	t.secureIfReady()
	return nil
}

// agentFor finds whom credentials are for. Called with t.mu held.
func (t *Transport) agentFor(d Description) (*agent, error) {
	switch {
	case d.Generation > 0:
		for _, a := range []*agent{t.next, t.cur} {
			if a != nil && a.generation == d.Generation {
				return a, nil
			}
		}
		return nil, ErrGeneration
	case t.cur.remoteUfrag == "" || t.cur.remoteUfrag == d.Ufrag:
		return t.cur, nil
	case t.over:
		return nil, ErrNotConnected
	case t.next == nil:
		if t.state != StateConnected && t.state != StateFailed {
			return nil, fmt.Errorf("%w: others are already in use", ErrCredentials)
		}
		if err := t.restart(); err != nil {
			return nil, err
		}
	}
	return t.next, nil
}

// setFingerprints notes the client's certificate hashes and derives our role
// (RFC 5763 §5). Nothing changes once DTLS runs. Called with t.mu held.
func (t *Transport) setFingerprints(list []Fingerprint) {
	if len(list) == 0 || t.securing {
		return
	}
	t.fingerprints = append([]Fingerprint(nil), list...)
	switch strings.ToLower(list[0].Setup) {
	case "active":
		t.setup = "passive"
	case "passive":
		t.setup = "active"
	case "actpass":
		// RFC 4145 §4: it takes connections as well as it makes them. An offerer
		// says so and RFC 5763 §5 wants its answerer active; a client that says so
		// in its answer breaks that rule but does as it says.
		t.setup = "active"
	}
}

// Restart begins an ICE restart and returns the description to signal, with
// Generation ≥ 1. Asked again before the client answered, it returns the same.
// A transport that is not established yet returns its present description with
// Generation 0 and starts nothing; one that failed without DTLS, or whose DTLS is
// over, can't be restarted and returns ErrNotConnected.
func (t *Transport) Restart() (Description, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Description{}, ErrClosed
	}
	if t.over {
		return Description{}, ErrNotConnected
	}
	if !t.secured && t.state == StateFailed {
		return Description{}, fmt.Errorf("%w: %w", ErrNotConnected, t.err)
	}
	if !t.secured || t.state != StateConnected && t.state != StateFailed {
		d := t.describe(t.cur)
		d.Generation = 0
		return d, nil
	}
	if t.next == nil || t.next.remoteUfrag != "" {
		if err := t.restart(); err != nil {
			return Description{}, err
		}
	}
	return t.describe(t.next), nil
}

// restart makes the next agent, in place of one that is pending. Called with t.mu held.
func (t *Transport) restart() error {
	a, err := t.newAgent(t.generation + 1)
	if err != nil {
		t.s.restarts.unmade.Add(1)
		return err
	}
	t.generation++
	t.s.restarts.started.Add(1)
	if t.next != nil {
		t.s.restarts.superseded.Add(1)
		t.retire(t.next, 0)
	}
	t.next = a
	t.wg.Go(func() {
		if !t.wait(t.s.cfg.RestartTimeout) {
			return
		}
		t.abandon(a)
	})
	return nil
}

// abandon drops a pending restart; the old agent goes on.
func (t *Transport) abandon(a *agent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == a && !t.closed {
		t.next = nil
		t.retire(a, 0)
		t.s.restarts.failed.Add(1)
		t.log.Debug("ice restart abandoned", "generation", a.generation)
	}
}

// retire closes a after delay. Called with t.mu held, and not after Close.
func (t *Transport) retire(a *agent, delay time.Duration) {
	if a.closing || t.closed {
		return
	}
	a.closing = true
	t.wg.Go(func() {
		t.wait(delay)
		a.close()
	})
}

// wait waits for d and reports false if the transport was closed first.
func (t *Transport) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// authenticated learns a source that showed our password. Called by a reader.
func (t *Transport) authenticated(a *agent, src netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed && !a.closing && t.s.addrs.claim(src, t, false) {
		t.claimed[src] = struct{}{}
	}
}

// validated learns that the client answered a check of ours from src: the path
// works in both directions. Called by a reader, for every consent.
func (t *Transport) validated(a *agent, src netip.AddrPort, at *local, now int64) {
	t.active.Store(now)
	if way := t.path.Load(); way != nil && way.remote == src {
		way.heard.Store(now)
		if t.s.addrs.get(src) == t {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || a.closing {
		return
	}
	if t.s.addrs.claim(src, t, true) {
		t.claimed[src] = struct{}{}
	}
	// The first valid pair is used at once, without waiting for nomination
	// (RFC 8445 §12.1; reference/bridge.md §4.4).
	if a == t.cur && t.path.Load() == nil {
		t.setPath(src, at, now)
		t.secureIfReady()
	}
}

// setPath redirects what is sent. Called with t.mu held.
func (t *Transport) setPath(remote netip.AddrPort, at *local, now int64) {
	way := &path{local: at, remote: remote, dest: datagram.NewDestination(remote)}
	way.shorten(t.s.relay.Load(), t.cur)
	way.heard.Store(now)
	t.path.Store(way)
	before := t.way
	t.way = route{at.index, remote}
	if t.cfg.Moved != nil && before.remote.IsValid() && before != t.way {
		t.cfg.Moved()
	}
}

// agentSelected is called when an agent nominated a pair, first or anew.
func (t *Transport) agentSelected(a *agent, remote netip.AddrPort, at *local) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || a.closing {
		return
	}
	switch a {
	case t.next:
		old := t.cur
		t.cur, t.next = a, nil
		t.s.restarts.succeeded.Add(1)
		t.retire(old, t.s.cfg.RestartTransition)
		t.log.Debug("ice restarted", "generation", a.generation)
	case t.cur:
	default:
		return
	}
	if t.s.addrs.claim(remote, t, true) {
		t.claimed[remote] = struct{}{}
	}
	if way := t.path.Load(); way == nil || way.remote != remote || way.local.index != at.index {
		t.setPath(remote, at, t.s.cfg.Clock())
	}
	if t.secured {
		t.setState(StateConnected, nil)
	}
	t.secureIfReady()
}

// agentFailed is called when checks or consent failed for good (RFC 7675 §5.1).
func (t *Transport) agentFailed(a *agent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || a.closing {
		return
	}
	switch a {
	case t.cur:
		t.path.Store(nil) // no consent, no sending
		t.setState(StateFailed, ErrICE)
	case t.next:
		t.next = nil
		t.retire(a, 0)
		t.s.restarts.failed.Add(1)
	}
}
