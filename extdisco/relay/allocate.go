package relay

import (
	"errors"
	"net/netip"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// wish is what an Allocate request asks for.
type wish struct {
	families     [2]bool    // IPv4, IPv6
	local        netip.Addr // that the client has come to
	additional   bool       // one of them is enough (RFC 8656 §7.2)
	even, pair   bool
	dontFragment bool
	token        []byte
	mobile       bool
	tcp          bool // RFC 6062
}

// wish reads an Allocate request; code is that of the error, or 0.
func (q *request) wish() (w wish, code int) {
	transport, ok := q.m.Get(stun.AttrRequestedTransport)
	if !ok || len(transport) != 4 {
		return w, stun.CodeBadRequest
	}
	if transport[0] != stun.TransportUDP && (transport[0] != stun.TransportTCP || !q.server.cfg.TCPRelay) {
		return w, stun.CodeUnsupportedTransport
	}
	family, hasFamily := q.m.Get(stun.AttrRequestedAddressFamily)
	additional, hasAdditional := q.m.Get(q.additionalFamily())
	even, hasEven := q.m.Get(stun.AttrEvenPort)
	token, hasToken := q.m.Get(stun.AttrReservationToken)
	w.local = q.leg.local().Addr()
	w.dontFragment = q.m.Has(stun.AttrDontFragment)
	w.even = hasEven
	if hasEven {
		if len(even) < 1 {
			return w, stun.CodeBadRequest
		}
		w.pair = even[0]&0x80 != 0
	}
	switch {
	case hasToken && (hasEven || hasFamily || hasAdditional), hasFamily && hasAdditional, hasAdditional && w.pair,
		hasToken && len(token) != tokenSize, hasFamily && len(family) != 4,
		hasAdditional && (len(additional) != 4 || additional[0] != stun.FamilyIPv6):
		return w, stun.CodeBadRequest
	case hasToken:
		w.token = token
	case hasAdditional:
		w.families, w.additional = [2]bool{true, true}, true
	case !hasFamily:
		// The family of the client: what has only IPv6 can use no other
		// (turn.md §7.4, coturn's keep-address-family).
		w.families[familyOf(q.from.Addr())] = true
		if i := familyOf(q.from.Addr()); len(q.server.ports[i]) == 0 {
			w.families[i], w.families[1-i] = false, true
		}
	case family[0] == stun.FamilyIPv4:
		w.families[0] = true
	case family[0] == stun.FamilyIPv6:
		w.families[1] = true
	default:
		return w, stun.CodeFamilyNotSupported
	}
	if t, ok := q.m.Get(stun.AttrMobilityTicket); ok {
		switch {
		case !q.server.cfg.Mobility:
			return w, stun.CodeMobilityForbidden
		case len(t) > 0:
			return w, stun.CodeBadRequest // RFC 8016 §3.1.1
		}
		w.mobile = true
	}
	if transport[0] == stun.TransportTCP {
		return w, q.tcpWish(&w)
	}
	return w, 0
}

// lifetime is what is granted for the LIFETIME of a request (RFC 8656 §7.2).
func (q *request) lifetime() time.Duration {
	v, ok := q.m.Uint32(stun.AttrLifetime)
	if !ok {
		return defaultLifetime
	}
	return min(max(time.Duration(v)*time.Second, defaultLifetime), q.server.policy().MaxLifetime)
}

// allocate answers an Allocate request (RFC 8656 §7.2).
func (q *request) allocate(held *allocation) {
	s := q.server
	if held != nil {
		held.mu.Lock()
		defer held.mu.Unlock()
		if held.ended || held.request != q.m.ID() || held.username != q.username {
			q.fail(stun.CodeAllocationMismatch)
			return
		}
		q.allocated(held) // the answer was lost
		return
	}
	w, code := q.wish()
	if code != 0 {
		q.fail(code)
		return
	}
	if w.dontFragment && !datagram.CanForbidFragments { // RFC 8656 §7.2
		q.start(stun.Error).AddError(stun.CodeUnknownAttribute)
		q.flight.build.AddUnknown([]uint16{stun.AttrDontFragment})
		q.finish()
		s.counters.refused(stun.CodeUnknownAttribute)
		return
	}
	if s.draining.Load() || s.policy().AlternateAlways {
		if !q.sendOn() {
			q.fail(stun.CodeAllocationQuotaReached)
		}
		return
	}
	a := &allocation{server: s, username: q.username, user: q.user, key: q.key, ends: q.ends, began: q.now,
		request: q.m.ID(), source: site(q.from.Addr()), loop: q.loop}
	if a.loop == nil {
		a.loop = s.anyLoop()
	}
	if ok, room := s.reserveQuota(a.user, a.source); !ok {
		s.counters.overQuota.Add(1)
		if room || !q.sendOn() {
			q.fail(stun.CodeAllocationQuotaReached)
		}
		return
	}
	open := a.open
	if w.tcp {
		open = a.openTCP
	}
	if err := open(w); err != nil {
		s.releaseQuota(a.user, a.source)
		a.closeSockets()
		switch {
		case errors.Is(err, errNoFamily):
			q.fail(stun.CodeFamilyNotSupported)
		case errors.Is(err, errQuota):
			s.counters.overQuota.Add(1)
			q.fail(stun.CodeAllocationQuotaReached)
		default:
			s.summary.unable(err)
			if errors.Is(err, errNoToken) || !q.sendOn() {
				q.fail(stun.CodeInsufficientCapacity)
			}
		}
		return
	}
	if q.client == nil {
		q.client = &client{leg: q.leg, addr: q.from, dest: datagram.NewDestination(q.from)}
	}
	a.mu.Lock() // until the answer is made: with the ticket in it the client may move at once
	defer a.mu.Unlock()
	a.client.Store(q.client)
	a.bindings.Store(&bindings{map[netip.Addr]*permission{}, map[uint16]*peer{}, map[netip.AddrPort]*peer{}})
	a.grant(q.lifetime(), q.flight.now)
	q.client.hold(a) // before others know of it, who may end it
	s.add(a)
	if w.mobile {
		s.issueTicket(a, nil)
	}
	for _, r := range a.relays {
		if r != nil {
			if err := a.loop.poller.Add(r.socket, r); err != nil {
				s.log.Error("relayed socket can't be watched", "relayed", r.relayed, "err", err)
			}
		}
	}
	if a.tcp != nil && !s.goes(a.tcp.accept) {
		a.tcp.close()
	}
	q.allocated(a)
	s.log.Debug("allocation created", "allocation", a.number, "remote", q.from, "transport", q.leg.network(), "relayed", a.relayed(), "id", a.user)
}

var errQuota = errors.New("no quota for a reservation")

// open opens the relayed sockets.
func (a *allocation) open(w wish) error {
	s := a.server
	if w.token != nil {
		r := s.redeem(w.token)
		if r == nil {
			return errNoToken // RFC 8656 §7.2: 508
		}
		s.releaseQuota(r.user, r.source)
		a.relay(r.socket, r.ports)
		return nil
	}
	if w.pair {
		if ok, _ := s.reserveQuota(a.user, a.source); !ok {
			return errQuota
		}
	}
	var failed error
	for i, wanted := range w.families {
		if !wanted {
			continue
		}
		if err := a.openRelay(s.portsFor(i, w.local), w); err != nil {
			failed = err
		}
	}
	if w.pair && a.token == nil {
		s.releaseQuota(a.user, a.source)
	}
	if w.additional && a.relayed().IsValid() {
		return nil // one of the two is enough
	}
	return failed
}

// openRelay opens the relayed socket of a family on the first address that has a port.
func (a *allocation) openRelay(list []*ports, w wish) error {
	err := errNoFamily
	for _, p := range list {
		var first, second *datagram.Socket
		if first, second, err = p.open(w.even, w.pair, w.dontFragment); err != nil {
			continue
		}
		a.relay(first, p)
		if second != nil {
			a.token = a.server.reserve(a, second, p)
		}
		return nil
	}
	return err
}

func (a *allocation) relay(socket *datagram.Socket, p *ports) {
	r := &relaySocket{allocation: a, socket: socket, ports: p, relayed: netip.AddrPortFrom(p.addr.Public, socket.Local().Port())}
	a.relays[familyOf(p.addr.Bind)] = r
}

func (a *allocation) closeSockets() {
	if a.tcp != nil {
		a.tcp.close()
	}
	for _, r := range a.relays {
		if r != nil {
			r.ended.Store(true)
			a.loop.poller.Remove(r.socket)
			r.ports.close(r.socket)
		}
	}
}

// relayed is the relayed address, the first of two.
func (a *allocation) relayed() netip.AddrPort {
	if a.tcp != nil {
		return a.tcp.relayed
	}
	for _, r := range a.relays {
		if r != nil {
			return r.relayed
		}
	}
	return netip.AddrPort{}
}

// has reports whether it has a relayed address of a family.
func (a *allocation) has(i int) bool {
	return a.relays[i] != nil || a.tcp != nil && familyOf(a.tcp.relayed.Addr()) == i
}

// grant has the allocation live for d.
func (a *allocation) grant(d time.Duration, now int64) {
	a.granted = d
	a.expires.Store(now + int64(d))
}

// allocated answers with what was allocated (RFC 8656 §7.2).
func (q *request) allocated(a *allocation) {
	b := q.start(stun.Success)
	if a.tcp != nil {
		b.AddXORAddress(stun.AttrXORRelayedAddress, a.tcp.relayed)
	}
	for _, r := range a.relays {
		if r != nil {
			b.AddXORAddress(stun.AttrXORRelayedAddress, r.relayed)
		}
	}
	b.AddXORAddress(stun.AttrXORMappedAddress, q.from)
	b.AddUint32(stun.AttrLifetime, uint32(a.granted/time.Second))
	if a.token != nil {
		b.Add(stun.AttrReservationToken, a.token)
	}
	if kind := q.additionalFamily(); q.m.Has(kind) {
		code := uint16(stun.AttrAddressErrorCode)
		if kind == stun.AttrDraftAdditionalAddressFamily {
			code = stun.AttrDraftAddressErrorCode
		}
		for i, r := range a.relays {
			if r == nil {
				b.Add(code, addressError(byte(i+1), len(q.server.ports[i]) == 0))
			}
		}
	}
	if a.ticket != (ticket{}) {
		b.Add(stun.AttrMobilityTicket, a.ticket[:])
	}
	q.finish()
}

// additionalFamily is the attribute by which a request may ask for a second family.
func (q *request) additionalFamily() uint16 {
	if q.m.Has(stun.AttrDraftAdditionalAddressFamily) && !q.m.Has(stun.AttrAdditionalAddressFamily) {
		return stun.AttrDraftAdditionalAddressFamily
	}
	return stun.AttrAdditionalAddressFamily
}

// addressError is the value of ADDRESS-ERROR-CODE for the family of which no address
// could be had (RFC 8656 §18.12).
func addressError(family byte, noFamily bool) []byte {
	code := stun.CodeInsufficientCapacity
	if noFamily {
		code = stun.CodeFamilyNotSupported
	}
	return []byte{family, 0, byte(code / 100), byte(code % 100)}
}

// refresh answers a Refresh request (RFC 8656 §8.2). a.mu is held.
func (q *request) refresh(a *allocation) {
	if q.m.Has(stun.AttrMobilityTicket) {
		if !q.server.cfg.Mobility {
			q.fail(stun.CodeMobilityForbidden)
		} else {
			q.fail(stun.CodeBadRequest) // RFC 8016 §3.2.1: only from elsewhere
		}
		return
	}
	family, has := q.m.Get(stun.AttrRequestedAddressFamily)
	only := -1
	if has {
		if len(family) != 4 || family[0] != stun.FamilyIPv4 && family[0] != stun.FamilyIPv6 || !a.has(int(family[0])-1) {
			q.fail(stun.CodePeerFamilyMismatch)
			return
		}
		only = int(family[0]) - 1
	}
	lifetime := q.lifetime()
	if v, ok := q.m.Uint32(stun.AttrLifetime); ok && v == 0 {
		lifetime = 0
	}
	if lifetime == 0 {
		q.flight.flush() // what came before goes out by the socket that is closed now
	}
	b := q.start(stun.Success)
	b.AddUint32(stun.AttrLifetime, uint32(lifetime/time.Second))
	switch {
	case lifetime > 0:
		a.grant(lifetime, q.flight.now)
	case only >= 0 && a.relays[1-only] != nil && !a.relays[1-only].ended.Load(): // of a dual allocation
		q.server.endRelay(a, only)
	default:
		q.server.end(a, "deleted")
	}
	q.finish()
}

// createPermission answers a CreatePermission request (RFC 8656 §10.2): all addresses
// or none. a.mu is held.
func (q *request) createPermission(a *allocation) {
	var addrs []netip.Addr
	code := 0
	q.m.Each(func(kind uint16, value []byte) bool {
		if kind != stun.AttrXORPeerAddress {
			return true
		}
		ap, ok := q.m.Address(value)
		if !ok {
			code = stun.CodeBadRequest
			return false
		}
		ip := ap.Addr().Unmap()
		code = q.refusal(a, netip.AddrPortFrom(ip, 0))
		addrs = append(addrs, ip)
		return code == 0 && len(addrs) <= q.server.policy().Permissions // more is too much: below
	})
	switch {
	case code != 0:
		q.fail(code)
	case len(addrs) == 0:
		q.fail(stun.CodeBadRequest)
	case len(addrs) > q.server.policy().Permissions || !a.permit(addrs, q.flight.now):
		q.fail(stun.CodeInsufficientCapacity)
	default:
		q.start(stun.Success)
		q.finish()
	}
}

// refusal is the code with which a peer is refused, or 0. With port 0 the question is
// whether any port of the address can be reached.
func (q *request) refusal(a *allocation, ap netip.AddrPort) int {
	s := q.server
	if !a.has(familyOf(ap.Addr())) {
		return stun.CodePeerFamilyMismatch
	}
	if a.tcp != nil {
		if !a.tcp.allowed(ap) {
			return stun.CodeForbidden
		}
		return 0
	}
	allowed := false
	if ap.Port() == 0 {
		allowed = s.relaysAt(ap.Addr()) || s.policy().Peers.AllowIP(ap.Addr())
	} else {
		allowed = s.ownRelay(ap) && s.relayAt(ap) != nil || s.policy().Peers.Allow(ap)
	}
	if !allowed {
		return stun.CodeForbidden
	}
	return 0
}

// channelBind answers a ChannelBind request (RFC 8656 §12.2). a.mu is held.
func (q *request) channelBind(a *allocation) {
	number, ok := q.m.Get(stun.AttrChannelNumber)
	value, has := q.m.Get(stun.AttrXORPeerAddress)
	ap, valid := q.m.Address(value)
	if !ok || len(number) != 4 || !has || !valid || ap.Port() == 0 {
		q.fail(stun.CodeBadRequest)
		return
	}
	n := uint16(number[0])<<8 | uint16(number[1])
	if n < stun.MinChannel || n > stun.MaxChannel {
		q.fail(stun.CodeBadRequest)
		return
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	if code := q.refusal(a, ap); code != 0 {
		q.fail(code)
		return
	}
	if code := a.bind(n, ap, q.flight.now); code != 0 {
		q.fail(code)
		return
	}
	q.start(stun.Success)
	q.finish()
}
