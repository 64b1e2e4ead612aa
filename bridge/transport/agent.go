package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"

	"confab/bridge/rtpx"
)

// nominationAttribute is the renomination attribute that libwebrtc reads
// (draft-thatcher-ice-renomination); others ignore it, as its number permits.
const nominationAttribute = 0xC001

// agent is one ICE agent with one pair of local credentials. A transport has
// one, and during an ICE restart two.
type agent struct {
	t          *Transport
	s          *Sockets
	ice        *ice.Agent
	ufrag, pwd string
	generation int
	conns      []*agentConn // by local.index

	nominations atomic.Uint32 // last nomination value
	remotePwd   atomic.Pointer[string]
	selected    atomic.Bool     // pion has selected a pair
	sent        transactionRing // guarded by s.transactions.mu

	mu      sync.Mutex // guards sources and relayed
	sources map[netip.AddrPort]struct{}
	relayed *relayedChecks // nil unless the client is behind our own relay

	// Guarded by t.mu.
	remoteUfrag string
	candidates  int              // taken from signalling
	relays      []netip.AddrPort // of them: at relays of the client
	closing     bool
}

// newAgent makes an agent that waits for remote credentials. Called with t.mu
// held; nothing calls back before start.
func (t *Transport) newAgent(generation int) (*agent, error) {
	s := t.s
	a := &agent{
		t: t, s: s, generation: generation,
		ufrag: s.cfg.UfragPrefix + randomICE(8), pwd: randomICE(24),
		sources: map[netip.AddrPort]struct{}{},
	}
	a.nominations.Store(1) // pion's first nomination counts as 1 at the client
	for _, l := range s.locals {
		a.conns = append(a.conns, &agentConn{agent: a, local: l, in: newQueue(s.cfg.MaxQueuedSTUN)})
	}
	c := &s.cfg
	var err error
	a.ice, err = ice.NewAgentWithOptions(
		ice.WithLoggerFactory(t.pion),
		ice.WithNet(noNet{}),
		ice.WithUDPMux(agentMux{a}),
		ice.WithLocalCredentials(a.ufrag, a.pwd),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithDisableActiveTCP(),
		ice.WithCheckInterval(c.CheckInterval),
		ice.WithKeepaliveInterval(c.KeepaliveInterval),
		ice.WithDisconnectedTimeout(c.DisconnectedTimeout),
		ice.WithFailedTimeout(c.FailedTimeout),
		// The default of 7 would give a pair up after 350 ms of checks.
		ice.WithMaxBindingRequests(uint16(min(60000, int64(c.DisconnectedTimeout+c.FailedTimeout)/max(1, int64(c.CheckInterval))))),
		// Nominate the first pair that works (reference/bridge.md §4.4).
		ice.WithHostAcceptanceMinWait(0), ice.WithPrflxAcceptanceMinWait(0), ice.WithSrflxAcceptanceMinWait(0),
		ice.WithRenomination(func() uint32 { return a.nominations.Add(1) }),
		ice.WithNominationAttribute(nominationAttribute),
		ice.WithBindingRequestHandler(a.checked),
	)
	if err != nil {
		return nil, fmt.Errorf("ice agent: %w", err)
	}
	_ = a.ice.OnCandidate(func(ice.Candidate) {}) // pion insists; our candidates are our own list
	_ = a.ice.OnSelectedCandidatePairChange(a.pairSelected)
	_ = a.ice.OnConnectionStateChange(func(state ice.ConnectionState) {
		if state == ice.ConnectionStateFailed {
			t.agentFailed(a)
		}
	})
	if err := a.ice.GatherCandidates(); err != nil {
		return nil, fmt.Errorf("ice candidates: %w", err)
	}
	s.mu.Lock()
	s.ufrags[a.ufrag] = a
	s.mu.Unlock()
	return a, nil
}

// start begins connectivity checks. Called with t.mu held.
func (a *agent) start(ufrag, pwd string) error {
	a.remotePwd.Store(&pwd)
	a.remoteUfrag = ufrag
	var err error
	if a.t.cfg.Controlled {
		_, err = a.ice.StartAccept(ufrag, pwd)
	} else {
		_, err = a.ice.StartDial(ufrag, pwd)
	}
	if err != nil {
		return fmt.Errorf("start ice: %w", err)
	}
	return nil
}

// add takes remote candidates, silently leaving out what we can't or won't
// probe. Called with t.mu held.
func (a *agent) add(list []Candidate) {
	for _, c := range list {
		if a.candidates >= a.s.cfg.MaxCandidates {
			return
		}
		ip := c.Addr.Addr().Unmap()
		if !strings.EqualFold(c.Protocol, "udp") || c.Component > 1 || c.Addr.Port() == 0 ||
			!usableRemote(ip, a.s.loopback) {
			continue
		}
		// The type matters little: nomination takes the first pair that works.
		host, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: ip.String(), Port: int(c.Addr.Port()),
			Component: ice.ComponentRTP, Priority: c.Priority, Foundation: c.Foundation,
		})
		if err != nil {
			continue
		}
		a.candidates++
		if c.Type == "relay" {
			a.relays = append(a.relays, netip.AddrPortFrom(ip, c.Addr.Port()))
		}
		_ = a.ice.AddRemoteCandidate(host)
	}
}

// request takes a binding request that carries our ufrag. A source that is new
// must prove that it knows our password before it leaves any trace.
func (a *agent) request(p *rtpx.Packet, src netip.AddrPort, at *local) {
	a.mu.Lock()
	_, known := a.sources[src]
	full := len(a.sources) >= a.s.cfg.MaxSources
	a.mu.Unlock()
	if !known {
		if full || !stunAuthentic(p.Bytes(), a.pwd) {
			a.s.drops.unauthenticated.Add(1)
			return
		}
		a.mu.Lock()
		a.sources[src] = struct{}{}
		a.mu.Unlock()
		a.t.authenticated(a, src)
	}
	if at.as.IsValid() {
		a.checkedBy(stunTransaction(p.Bytes()), src, at)
	}
	// Browsers check the pair in use every 2.5 s, oftener than we do.
	if way := a.t.path.Load(); way != nil && way.remote == src {
		way.heard.Store(p.Arrived)
	}
	c := a.conns[at.index]
	if !c.in.push(p, src) {
		a.s.drops.queueFull.Add(1)
		return
	}
	if !known && a.selected.Load() {
		// pion consults its binding handler only for pairs it already has, so
		// a client's new address is presented twice: see checked.
		c.in.push(p, src)
	}
}

// response takes the answer to a binding request of ours. It proves that the
// client is at src and still consents (RFC 7675 §5.1).
func (a *agent) response(p *rtpx.Packet, src netip.AddrPort, at *local, success bool) {
	if pwd := a.remotePwd.Load(); success && pwd != nil && stunAuthentic(p.Bytes(), *pwd) {
		a.t.validated(a, src, at, p.Arrived)
	}
	a.conns[at.index].in.push(p, src)
}

// checked is pion's binding request handler, on its loop. When the selected
// pair has gone silent while the client checks another, that one is nominated:
// the client's address changed. Browsers check spare pairs too, which is no
// reason to move.
func (a *agent) checked(_ *stun.Message, l, r ice.Candidate, _ *ice.CandidatePair) bool {
	now := a.t.path.Load()
	if now == nil || !a.selected.Load() {
		return false
	}
	if remote, ok := candidateAddr(r); !ok || remote == now.remote {
		return false
	}
	if a.s.cfg.Clock()-now.heard.Load() >= int64(a.s.cfg.RenominateAfter) {
		// Selected when the client answers, not before.
		_ = a.ice.RenominateCandidate(l, r)
	}
	return false
}

// pairSelected is pion's notice that nomination succeeded.
func (a *agent) pairSelected(l, r ice.Candidate) {
	localAddr, ok1 := candidateAddr(l)
	remote, ok2 := candidateAddr(r)
	if !ok1 || !ok2 {
		return
	}
	for _, c := range a.conns {
		if c.local.addr == localAddr {
			a.selected.Store(true)
			a.t.agentSelected(a, remote, c.local)
			return
		}
	}
}

// close ends the agent and waits for it.
func (a *agent) close() {
	a.s.mu.Lock()
	delete(a.s.ufrags, a.ufrag)
	a.s.mu.Unlock()
	_ = a.ice.GracefulClose()
	for _, c := range a.conns {
		c.in.close() // also those that pion never took
	}
	a.s.transactions.forget(a)
}

func candidateAddr(c ice.Candidate) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(c.Address())
	return netip.AddrPortFrom(ip.Unmap(), uint16(c.Port())), err == nil
}

// stunAuthentic checks MESSAGE-INTEGRITY under a short-term password.
func stunAuthentic(b []byte, pwd string) bool {
	m := stun.Message{Raw: append([]byte(nil), b...)}
	return m.Decode() == nil && stun.MessageIntegrity(pwd).Check(&m) == nil
}
