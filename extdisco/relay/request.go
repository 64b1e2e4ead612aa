package relay

import (
	"net/netip"
	"time"

	"confab/extdisco/stun"
)

// arrival says how a message has come.
type arrival struct {
	leg    leg
	udp    *udpLocal // of a UDP listener: for RFC 5780
	from   netip.AddrPort
	client *client // nil: it has no allocation
	loop   *loop   // that reads the relayed sockets of a new allocation; nil: any
}

// request is one being answered.
type request struct {
	arrival
	server *Server
	flight *flight
	m      stun.Message
	now    time.Time

	marked   bool   // it has FINGERPRINT
	username string // once authenticated
	user     string
	ends     time.Time
	key      []byte
}

// maxUsername is the longest USERNAME (RFC 8489 §14.3).
const maxUsername = 508

// message takes a STUN message and returns the client if it has an allocation now.
func (s *Server) message(f *flight, in arrival, b []byte) *client {
	m, ok := stun.Parse(b)
	if !ok {
		s.counters.garbage.Add(1)
		return nil
	}
	marked, valid := m.Fingerprinted()
	if !valid { // RFC 8489 §7.3: not meant for us
		s.counters.garbage.Add(1)
		return nil
	}
	switch m.Class() {
	case stun.Request:
		f.tos = 0 // the answer is ours
	case stun.Indication:
		if m.Method() == stun.Send {
			s.sendIndication(f, in.client, m)
		}
		return nil // a Binding indication keeps a NAT open
	default:
		s.counters.garbage.Add(1)
		return nil
	}
	q := &request{arrival: in, server: s, flight: f, m: m, now: s.cfg.Now(), marked: marked}
	switch m.Method() {
	case stun.Binding:
		q.binding()
	case stun.Allocate, stun.Refresh, stun.CreatePermission, stun.ChannelBind:
		if s.cfg.Credentials == nil {
			q.reject() // silence would have the client ask for 40 s
		} else if q.authenticate() {
			q.dispatch()
			return q.client
		}
	case stun.Connect, stun.ConnectionBind:
		// Where TCP relays are not offered, 442 has said so to their clients.
		if s.cfg.Credentials == nil || !s.cfg.TCPRelay {
			q.reject()
		} else if q.authenticate() {
			if m.Method() == stun.ConnectionBind {
				q.connectionBind()
			} else {
				q.dispatch()
			}
			return q.client
		}
	default:
		q.reject()
	}
	return nil
}

// reject refuses what nobody has signed.
func (q *request) reject() {
	if q.admitted() {
		q.fail(stun.CodeBadRequest)
	}
}

func (q *request) dispatch() {
	if q.m.Method() == stun.Refresh && q.m.Has(stun.AttrMobilityTicket) && !q.settled() {
		q.move()
		return
	}
	held := q.server.allocationOf(q.client)
	switch {
	case q.m.Method() == stun.Allocate:
		q.allocate(held)
	case held == nil:
		q.fail(stun.CodeAllocationMismatch)
	case held.username != q.username:
		q.fail(stun.CodeWrongCredentials)
	default:
		held.mu.Lock()
		defer held.mu.Unlock()
		switch {
		case held.ended:
			q.fail(stun.CodeAllocationMismatch)
		case q.m.Method() == stun.Refresh:
			q.refresh(held)
		case q.m.Method() == stun.CreatePermission:
			q.createPermission(held)
		case q.m.Method() == stun.Connect:
			q.connect(held)
		case held.tcp != nil:
			q.fail(stun.CodeBadRequest) // RFC 6062 §5.1: such an allocation has no channels
		default:
			q.channelBind(held)
		}
	}
}

// settled reports whether the client has an allocation that is not on its way to it.
func (q *request) settled() bool {
	if q.client == nil {
		return false
	}
	a := q.client.held.Load()
	return a != nil && a.next.Load() != q.client
}

// authenticate checks the long-term credential (RFC 8489 §9.2.4) and answers if it is
// not good.
func (q *request) authenticate() bool {
	s := q.server
	if !q.m.Has(stun.AttrMessageIntegrity) {
		q.challenge(stun.CodeUnauthorized)
		return false
	}
	username, named := q.m.Get(stun.AttrUsername)
	realm, inRealm := q.m.Get(stun.AttrRealm)
	nonce, fresh := q.m.Get(stun.AttrNonce)
	switch {
	case !named || !inRealm || !fresh || len(username) > maxUsername:
		q.reject()
		return false
	case !s.nonces.valid(nonce, q.from, q.now, s.policy().StaleNonce):
		q.challenge(stun.CodeStaleNonce)
		return false
	case string(realm) != s.cfg.Realm || !q.identify(string(username)):
		s.counters.badCredential.Add(1)
		s.summary.unknown(q.from, string(username))
		q.challenge(stun.CodeUnauthorized)
		return false
	}
	if unknown := q.m.Unknown(nil); len(unknown) > 0 {
		q.start(stun.Error).AddError(stun.CodeUnknownAttribute)
		q.flight.build.AddUnknown(unknown)
		q.finish()
		s.counters.refused(stun.CodeUnknownAttribute)
		return false
	}
	return true
}

// identify finds the key that has signed the request. Who holds an allocation is
// known by it: its credential may expire meanwhile (turn.md §4), or its secret be
// replaced.
func (q *request) identify(username string) bool {
	s := q.server
	if a := q.holder(username); a != nil && !a.ends.IsZero() { // a long-term user may have been removed
		if q.now.After(a.ends.Add(s.policy().MaxSession)) || !q.m.Signed(a.key, &q.flight.build) {
			return false
		}
		q.username, q.user, q.ends, q.key = username, a.user, a.ends, a.key
		return true
	}
	id, ok := s.cfg.Credentials.Lookup(username, s.cfg.Realm, q.now)
	if !ok || !id.Expires.IsZero() && q.now.After(id.Expires) {
		return false
	}
	for _, key := range id.Keys {
		if q.m.Signed(key, &q.flight.build) {
			q.username, q.user, q.ends, q.key = username, id.ID, id.Expires, key
			return true
		}
	}
	return false
}

// holder is the allocation of a username that the request is about.
func (q *request) holder(username string) *allocation {
	var a *allocation
	if q.client != nil {
		a = q.client.held.Load()
	}
	if a == nil && q.m.Method() == stun.Refresh {
		if t, ok := q.m.Get(stun.AttrMobilityTicket); ok {
			a = q.server.byTicket(t, q.now)
		}
	}
	if id, ok := q.m.Uint32(stun.AttrConnectionID); ok && a == nil && q.m.Method() == stun.ConnectionBind {
		a = q.server.tcp.waits(id)
	}
	if a == nil || a.username != username || q.m.Method() == stun.Allocate {
		return nil
	}
	return a
}

// admit counts what an unknown source costs.
func (s *Server) admit(g *gate, ip netip.Addr, now time.Time) bool {
	if g.admit(ip, now) {
		return true
	}
	s.counters.overBudget.Add(1)
	return false
}

// admitted counts a request that is refused for want of a credential. A connection has
// shown that its address is its own, and nobody repeats what is lost on it: there the
// bounds are those of connections.
func (q *request) admitted() bool {
	return q.leg.network() != "udp" || q.server.admit(q.server.unauthorized, q.from.Addr(), q.now)
}

// challenge refuses with what the client needs to do better.
func (q *request) challenge(code int) {
	s := q.server
	if !q.admitted() {
		return
	}
	b := q.start(stun.Error)
	b.AddError(code)
	b.AddString(stun.AttrRealm, s.cfg.Realm)
	b.Add(stun.AttrNonce, s.nonces.make(q.from, q.now))
	q.finish()
	s.counters.refused(code)
}

// fail answers with an error.
func (q *request) fail(code int) {
	q.start(stun.Error).AddError(code)
	q.finish()
	q.server.counters.refused(code)
}

func (q *request) start(class uint16) *stun.Builder {
	q.flight.build.Start(q.m.Method()|class, q.m.ID())
	return &q.flight.build
}

// finish signs the answer if the request was, and sends it. FINGERPRINT comes back to
// whoever uses it; strangers get no byte more than they must (turn.md §5.1).
func (q *request) finish() {
	b := &q.flight.build
	if q.server.policy().Software != "" {
		b.AddString(stun.AttrSoftware, q.server.policy().Software)
	}
	if q.key != nil {
		b.Sign(q.key)
	}
	if q.key != nil || q.marked || q.server.policy().FingerprintAlways {
		b.Fingerprint()
	}
	q.answer(q.leg, q.from)
}

// answer sends what was built.
func (q *request) answer(by leg, to netip.AddrPort) {
	by.send(q.flight, nil, q.flight.keep(q.flight.build.Bytes()), q.destination(to))
}
