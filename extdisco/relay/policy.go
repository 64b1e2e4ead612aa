package relay

import (
	"maps"
	"net/netip"
	"time"
)

// Policy is the part of the configuration that Reload replaces while the relay runs
// (turn.md §12).
type Policy struct {
	// Peers says who may be reached.
	Peers Peers
	// MaxBps bounds an allocation, in bytes a second and direction, TotalBps all of
	// them; 0 is off.
	MaxBps, TotalBps int
	// QuotaUser, QuotaAddress and QuotaTotal bound the allocations of one
	// credential id, of one source address (of IPv6, a /64), and in all (0: the range of
	// each relay address less 10 %).
	QuotaUser, QuotaAddress, QuotaTotal int
	// Permissions and Channels bound what one allocation has of each.
	Permissions, Channels int
	// RequestRate bounds the Binding requests answered to one source address a second,
	// UnauthorizedRate the requests refused with 401 or 438, UnauthorizedTotal those
	// in all. Loopback is exempt from the first two.
	RequestRate, UnauthorizedRate, UnauthorizedTotal int
	// MaxLifetime is the longest that an allocation is given at a time.
	MaxLifetime time.Duration
	// MaxSession is how long an allocation may outlive its credential's expiry.
	MaxSession time.Duration
	// StaleNonce is how long a nonce holds; 0: for ever.
	StaleNonce time.Duration
	// FingerprintAlways puts FINGERPRINT on every answer.
	FingerprintAlways bool
	// Software is told in SOFTWARE; empty: none is.
	Software string
	// Alternates are relays elsewhere that clients are sent on to (300 Try Alternate)
	// when there is no room here or it drains; with AlternateAlways all are.
	Alternates      []Alternate
	AlternateAlways bool
}

func (p *Policy) complete(c *Config) {
	if p.QuotaTotal == 0 {
		each := [2]int{}
		for _, a := range c.Relays {
			each[familyOf(a.Bind)]++
		}
		p.QuotaTotal = max((int(c.MaxPort)-int(c.MinPort)+1)*max(each[0], each[1])*9/10, 1)
	}
	p.MaxLifetime = max(p.MaxLifetime, defaultLifetime)
}

// policy is the present one.
func (s *Server) policy() *Policy { return s.rules.Load() }

// Reload has a policy hold from now on, for the allocations there are as well: a peer
// that is refused now is not reached any more. What they have above a lower quota they
// keep.
func (s *Server) Reload(p Policy) {
	p.complete(&s.cfg)
	s.rules.Store(&p)
	s.bindings.limit(p.RequestRate, 0)
	s.unauthorized.limit(p.UnauthorizedRate, p.UnauthorizedTotal)
	s.Judge()
}

// Judge has the policy looked at anew for the peers there are: what its functions say is
// not what they have said.
func (s *Server) Judge() {
	for _, a := range s.allocations() {
		a.judgeAgain()
	}
}

// judgeAgain has what is known of peers looked up anew. The packets under way go by what
// they have found; the next find what is published here.
func (a *allocation) judgeAgain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	old := a.bindings.Load()
	next := &bindings{make(map[netip.Addr]*permission, len(old.permissions)), maps.Clone(old.channels), maps.Clone(old.peers)}
	for addr, p := range old.permissions {
		next.permissions[addr] = p.renewed()
	}
	for number, p := range old.channels {
		q := a.server.newPeer(p.addr, next.permissions[p.addr.Addr()])
		q.channel = number
		q.expires.Store(p.expires.Load())
		next.channels[number], next.peers[p.addr] = q, q
	}
	a.bindings.Store(next)
	a.lastOut.Store(nil)
	a.lastSent.Store(nil)
	for _, r := range a.relays {
		if r != nil {
			r.lastIn.Store(nil)
		}
	}
	if a.tcp != nil {
		a.tcp.judgeAgain()
	}
}

// renewed is one that lives as long and knows no peer.
func (p *permission) renewed() *permission {
	q := &permission{}
	q.expires.Store(p.expires.Load())
	return q
}
