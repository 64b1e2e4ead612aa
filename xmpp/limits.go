package xmpp

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxTracked bounds the addresses and accounts that are remembered; beyond it
// those that have nothing open are forgotten.
const maxTracked = 10000

// gate keeps, by address, the number of connections and the rates of logins and
// wrong passwords (room-services.md §5.9).
type gate struct {
	cfg *Config
	now func() time.Time

	mu       sync.Mutex
	peers    map[netip.Addr]*gatePeer
	accounts map[JID]*rate.Limiter
}

type gatePeer struct {
	conns  int
	trying int // exchanges under way
	logins *rate.Limiter
	tries  *rate.Limiter
}

func newGate(cfg *Config) *gate {
	return &gate{cfg: cfg, now: time.Now, peers: map[netip.Addr]*gatePeer{}, accounts: map[JID]*rate.Limiter{}}
}

// halfRate is a bucket of n that refills by n/2 per second.
func halfRate(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(n)/2, n) }

// perMinute is a bucket of n that refills by n per minute.
func perMinute(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(n)/60, n) }

// exempt reports whether an address has no rates.
func (g *gate) exempt(a netip.Addr) bool {
	for _, p := range g.cfg.Exempt {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// peerKey is the unit that one client can't leave: an IPv6 customer has a /64.
func peerKey(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// enter counts a connection; ok is false when the address has too many.
func (g *gate) enter(a netip.Addr) (leave func(), ok bool) {
	if g.exempt(a) {
		return func() {}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peerLocked(a)
	if p.conns >= g.cfg.ConnectionsPerAddress {
		return nil, false
	}
	p.conns++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		p.conns--
	}), true
}

func (g *gate) peerLocked(a netip.Addr) *gatePeer {
	key := peerKey(a)
	p := g.peers[key]
	if p != nil {
		return p
	}
	if len(g.peers) >= maxTracked {
		for k, old := range g.peers {
			if old.conns == 0 && old.tries.TokensAt(g.now()) >= 1 {
				delete(g.peers, k)
			}
		}
	}
	p = &gatePeer{logins: halfRate(g.cfg.LoginRate), tries: perMinute(g.cfg.TriesPerAddress)}
	g.peers[key] = p
	return p
}

// loginDelay is how long a new connection of the address waits.
func (g *gate) loginDelay(a netip.Addr) time.Duration {
	if g.exempt(a) {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	r := g.peerLocked(a).logins.ReserveN(now, 1)
	if d := r.DelayFrom(now); d <= g.cfg.LoginDelay {
		return d
	}
	r.CancelAt(now) // the debt of a crowd doesn't grow without end
	return g.cfg.LoginDelay
}

// try lets the address begin an exchange with a password, unless it has used up
// its wrong ones. Exchanges that are under way count as wrong until done is
// called: many at once are no way around the bound.
func (g *gate) try(a netip.Addr) (done func(), ok bool) {
	if g.exempt(a) {
		return func() {}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peerLocked(a)
	if p.tries.TokensAt(g.now()) < float64(p.trying+1) {
		return nil, false
	}
	p.trying++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		p.trying--
	}), true
}

// failed counts a wrong password and says how late to answer it. The delay of an
// account holds for wrong passwords only: nobody can lock its owner out.
func (g *gate) failed(a netip.Addr, account JID) time.Duration {
	exempt := g.exempt(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !exempt {
		g.peerLocked(a).tries.AllowN(g.now(), 1)
	}
	lim := g.accounts[account]
	if lim == nil {
		if len(g.accounts) >= maxTracked {
			clear(g.accounts)
		}
		lim = perMinute(g.cfg.TriesPerAccount)
		g.accounts[account] = lim
	}
	if lim.AllowN(g.now(), 1) {
		return 0
	}
	return g.cfg.PasswordDelay
}

// stanzaRates are the token buckets of one session.
type stanzaRates struct {
	presence, iq, message, command, bytes *rate.Limiter

	commands []string // domains
}

func newStanzaRates(cfg *Config) *stanzaRates {
	return &stanzaRates{
		presence: halfRate(cfg.PresenceRate), iq: halfRate(cfg.IQRate), message: halfRate(cfg.MessageRate),
		command: halfRate(cfg.CommandRate), commands: cfg.Commands,
		bytes: rate.NewLimiter(rate.Limit(cfg.ByteRate), max(cfg.ByteRate, cfg.Stanza.Bytes)),
	}
}

// wait holds the reader back until s, which came as size bytes, may pass. Replies
// are free, since we asked, but for their bytes: anybody may send them to anybody,
// and who gets more than it can read loses its connection.
func (r *stanzaRates) wait(ctx context.Context, s *Stanza, size int) error {
	if r == nil {
		return nil
	}
	if err := r.bytes.WaitN(ctx, min(size, r.bytes.Burst())); err != nil {
		return err
	}
	switch {
	case s.Kind == Presence:
		return r.presence.Wait(ctx)
	case s.Kind == Message && s.To.IsBare() && s.To.Local == "" && slices.Contains(r.commands, s.To.Domain):
		return r.command.Wait(ctx)
	case s.Kind == Message:
		return r.message.Wait(ctx)
	case s.IsRequest():
		return r.iq.Wait(ctx)
	}
	return nil
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
