// Package relay is the STUN and TURN server (RFC 8489, RFC 8656): clients that
// can't reach the bridge or each other directly go through it.
//
// Rules of this package:
//   - It holds nothing but live allocations: credentials are recomputed from the
//     shared secret and the clock.
//   - Everything is closed by default: which peers can be reached (peers.go), how
//     much an allocation may carry (socket.go), what a source may cost before it
//     has authenticated (gate.go).
//   - All use of pion/turn is in this file and in the address generator of
//     socket.go; the library is the protocol engine, the policy is ours.
package relay

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"confab/extdisco/credential"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// Config is the relay's configuration; the names are those of the [turn] table.
type Config struct {
	Realm   string
	Secrets credential.Secrets // empty: STUN only
	// UDP and TCP are the addresses listened on.
	UDP, TCP []netip.AddrPort
	// TLS listeners take TURN over TLS; their connections are *tls.Conn or carry
	// bytes already decrypted.
	TLS []net.Listener
	// Relays are the addresses of relayed sockets, at most one of each family used.
	Relays           []Address
	MinPort, MaxPort uint16
	Peers            Peers
	// MaxBps bounds an allocation, in bytes a second and direction; 0 is off.
	MaxBps int
	// QuotaUser, QuotaAddress and QuotaTotal bound the allocations of one
	// credential id, of one source address, and in all (0: the range less 10 %).
	QuotaUser, QuotaAddress, QuotaTotal int
	// PeersPerAllocation bounds the addresses that one allocation has permissions
	// for at a time, and likewise its channels; 0 is no bound.
	PeersPerAllocation int
	// RequestRate bounds the Binding and Allocate requests answered to one source
	// address a second. Loopback is exempt.
	RequestRate int
	// MaxSession is how long an allocation may outlive its credential's expiry.
	MaxSession time.Duration
	// ConnsPerAddress, Conns and AuthTimeout bound TCP and TLS connections.
	ConnsPerAddress, Conns int
	AuthTimeout            time.Duration
}

// DefaultConfig has the defaults of the [turn] table.
func DefaultConfig() Config {
	return Config{
		MinPort: 49152, MaxPort: 65535, MaxBps: 5_000_000,
		Peers:     Peers{MinPort: 1024},
		QuotaUser: 12, QuotaAddress: 200, PeersPerAllocation: 256, RequestRate: 100, MaxSession: 24 * time.Hour,
		ConnsPerAddress: 200, Conns: 10_000, AuthTimeout: 20 * time.Second,
	}
}

type counters struct {
	toPeers, fromPeers                            atomic.Uint64 // bytes
	refusedPeer, overRate                         atomic.Uint64 // packets
	garbage, overBudget, badCredential, overQuota atomic.Uint64
}

// Stats is a snapshot of the relay's counters.
type Stats struct {
	Allocations                                   int
	BytesToPeers, BytesFromPeers                  uint64
	RefusedPeer, OverRate                         uint64 // packets
	Garbage, OverBudget, BadCredential, OverQuota uint64
}

// Server is a running relay.
type Server struct {
	cfg       Config
	log       *slog.Logger
	pion      *turn.Server
	keys      *keyring
	sockets   *sockets
	listeners []*gatedListener
	counters  counters
	udp       []*gatedConn

	mu     sync.Mutex
	byUser map[string]int
	byAddr map[netip.Addr]int
	total  int
	live   map[string]*holder // by clientKey
}

// holder is what is kept of a client's address while it has allocations: more
// than one if it comes to several addresses of ours from the same port. pion asks
// about a peer without saying for which of them, so the bounds hold for all.
type holder struct {
	users    map[string]int // allocations by user: their requests stay valid past the expiry of the credential
	peers    map[netip.Addr]int
	channels int
}

// clientKey tells a UDP port from the TCP port of the same number.
func clientKey(a net.Addr) string { return a.Network() + " " + a.String() }

// Listen opens the sockets and serves until Close.
func Listen(cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, byUser: map[string]int{}, byAddr: map[netip.Addr]int{}, live: map[string]*holder{},
		keys: newKeyring(cfg.Secrets, cfg.Realm)}
	s.sockets = &sockets{addrs: cfg.Relays, min: cfg.MinPort, max: cfg.MaxPort, maxBps: cfg.MaxBps,
		peers: &s.cfg.Peers, counters: &s.counters, live: map[netip.AddrPort]struct{}{}}
	if s.cfg.QuotaTotal == 0 {
		s.cfg.QuotaTotal = (int(cfg.MaxPort) - int(cfg.MinPort) + 1) * 9 / 10
	}
	pc := turn.ServerConfig{
		Realm:         cfg.Realm,
		LoggerFactory: quietLoggers{},
		QuotaHandler:  s.quota,
		EventHandler: turn.EventHandler{
			OnAllocationCreated: s.created,
			OnAllocationDeleted: s.deleted,
			OnPermissionCreated: func(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) { s.permitted(src, peer, true) },
			OnPermissionDeleted: func(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) { s.permitted(src, peer, false) },
			OnChannelCreated:    func(src, _ net.Addr, _, _, _ string, _, _ net.Addr, _ uint16) { s.bound(src, 1) },
			OnChannelDeleted:    func(src, _ net.Addr, _, _, _ string, _, _ net.Addr, _ uint16) { s.bound(src, -1) },
			OnAuth: func(_, _ net.Addr, _, _, _, _ string, ok bool) {
				if !ok {
					s.counters.badCredential.Add(1)
				}
			},
		},
	}
	if len(cfg.Secrets) > 0 {
		pc.AuthHandler = s.authenticate
	}
	allowPeer := func(src net.Addr, ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip)
		a = a.Unmap()
		if ok && s.room(src, a) && (s.sockets.announced(netip.AddrPortFrom(a, 0)) || s.cfg.Peers.AllowIP(a)) {
			return true
		}
		s.counters.refusedPeer.Add(1)
		return false
	}
	if err := s.open(&pc, allowPeer); err != nil {
		s.closeSockets()
		return nil, err
	}
	p, err := turn.NewServer(pc)
	if err != nil {
		s.closeSockets()
		return nil, fmt.Errorf("start the relay: %w", err)
	}
	s.pion = p
	return s, nil
}

func (s *Server) open(pc *turn.ServerConfig, allowPeer turn.PermissionHandler) error {
	in := &intake{gate: newGate(s.cfg.RequestRate), keys: s.keys, counters: &s.counters}
	for _, ap := range s.cfg.UDP {
		conn, err := net.ListenUDP(family("udp", ap), net.UDPAddrFromAddrPort(ap))
		if err != nil {
			return fmt.Errorf("TURN over UDP on %s: %w", ap, err)
		}
		gc := &gatedConn{UDPConn: conn, in: in}
		s.udp = append(s.udp, gc)
		pc.PacketConnConfigs = append(pc.PacketConnConfigs, turn.PacketConnConfig{
			PacketConn: gc, RelayAddressGenerator: s.sockets, PermissionHandler: allowPeer})
	}
	add := func(ln net.Listener) {
		gl := newGatedListener(ln, s.cfg.ConnsPerAddress, s.cfg.Conns, s.cfg.AuthTimeout, in)
		s.listeners = append(s.listeners, gl)
		pc.ListenerConfigs = append(pc.ListenerConfigs, turn.ListenerConfig{
			Listener: gl, RelayAddressGenerator: s.sockets, PermissionHandler: allowPeer})
	}
	for _, ap := range s.cfg.TCP {
		ln, err := net.ListenTCP(family("tcp", ap), net.TCPAddrFromAddrPort(ap))
		if err != nil {
			return fmt.Errorf("TURN over TCP on %s: %w", ap, err)
		}
		add(ln)
	}
	for _, ln := range s.cfg.TLS {
		add(ln)
	}
	return nil
}

func (s *Server) closeSockets() {
	for _, c := range s.udp {
		_ = c.Close()
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// UDPAddrs are the addresses listened on, with the ports the system chose.
func (s *Server) UDPAddrs() []netip.AddrPort {
	out := make([]netip.AddrPort, len(s.udp))
	for i, c := range s.udp {
		out[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return out
}

// authenticate recomputes the key of a username. Its expiry is looked at when an
// allocation is opened; a live one keeps its right to refresh (turn.md §4).
func (s *Server) authenticate(req *turn.RequestAttributes) (userID string, key []byte, ok bool) {
	expires, id, ok := credential.Parse(req.Username)
	if !ok || req.Realm != s.cfg.Realm {
		s.counters.badCredential.Add(1)
		return "", nil, false
	}
	if id == "" {
		id = req.Username
	}
	deadline := expires
	if req.Method != stun.MethodAllocate {
		s.mu.Lock()
		if c := s.live[clientKey(req.SrcAddr)]; c != nil && c.users[id] > 0 {
			deadline = expires.Add(s.cfg.MaxSession)
		}
		s.mu.Unlock()
	}
	if now().After(deadline) {
		s.counters.badCredential.Add(1)
		return "", nil, false
	}
	return id, s.keys.key(req.Username), true
}

func (s *Server) quota(user, _ string, src net.Addr) bool {
	ip := addrOf(src)
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.byUser[user] < s.cfg.QuotaUser && s.byAddr[ip] < s.cfg.QuotaAddress && s.total < s.cfg.QuotaTotal
	if !ok {
		s.counters.overQuota.Add(1)
	}
	return ok
}

func (s *Server) created(src, _ net.Addr, _, user, _ string, relayed net.Addr, _ int) {
	key := clientKey(src)
	s.mu.Lock()
	s.byUser[user]++
	s.byAddr[addrOf(src)]++
	s.total++
	c := s.live[key]
	if c == nil {
		c = &holder{users: map[string]int{}, peers: map[netip.Addr]int{}}
		s.live[key] = c
	}
	c.users[user]++
	s.mu.Unlock()
	s.authorized(src, true)
	s.log.Debug("allocation created", "remote", src.String(), "relayed", relayed.String(), "id", user)
}

func (s *Server) deleted(src, _ net.Addr, _, user, _ string) {
	s.mu.Lock()
	decrement(s.byUser, user)
	decrement(s.byAddr, addrOf(src))
	s.total--
	key := clientKey(src)
	last := false
	if c := s.live[key]; c != nil {
		decrement(c.users, user)
		if last = len(c.users) == 0; last {
			delete(s.live, key)
		}
	}
	s.mu.Unlock()
	if last {
		s.authorized(src, false)
	}
	s.log.Debug("allocation deleted", "remote", src.String(), "id", user)
}

// authorized says whether a TCP connection has an allocation and may stay.
func (s *Server) authorized(src net.Addr, yes bool) {
	if src.Network() != "tcp" {
		return
	}
	for _, l := range s.listeners {
		l.authorized(src.String(), yes)
	}
}

// decrement counts down and forgets what has come to nothing.
func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// room reports whether the client may have the peer beside those it has: each
// costs memory and a timer, and each channel time on every packet.
func (s *Server) room(src net.Addr, peer netip.Addr) bool {
	limit := s.cfg.PeersPerAllocation
	if limit == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.live[clientKey(src)]
	if c == nil {
		return false // it has no allocation
	}
	return (c.peers[peer] > 0 || len(c.peers) < limit) && c.channels < limit
}

func (s *Server) permitted(src net.Addr, ip net.IP, created bool) {
	peer, _ := netip.AddrFromSlice(ip)
	peer = peer.Unmap()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := s.live[clientKey(src)]; {
	case c == nil:
	case created:
		c.peers[peer]++
	default:
		decrement(c.peers, peer)
	}
}

func (s *Server) bound(src net.Addr, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.live[clientKey(src)]; c != nil {
		c.channels += n
	}
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Stats is a snapshot of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	total := s.total
	s.mu.Unlock()
	c := &s.counters
	return Stats{Allocations: total, BytesToPeers: c.toPeers.Load(), BytesFromPeers: c.fromPeers.Load(),
		RefusedPeer: c.refusedPeer.Load(), OverRate: c.overRate.Load(), Garbage: c.garbage.Load(),
		OverBudget: c.overBudget.Load(), BadCredential: c.badCredential.Load(), OverQuota: c.overQuota.Load()}
}

// Close ends all allocations and waits for their sockets.
func (s *Server) Close() error {
	err := s.pion.Close()
	for _, l := range s.listeners {
		l.wg.Wait()
	}
	s.sockets.wg.Wait()
	return err
}

// quietLoggers keeps pion's own log out: it speaks at the rate of what strangers
// send. What an operator needs is in the counters.
type quietLoggers struct{}

func (quietLoggers) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)
}

// family keeps a listener to its own address family: the relayed address follows
// it when the client names none (RFC 8656 §7.2).
func family(network string, ap netip.AddrPort) string {
	if ap.Addr().Unmap().Is4() {
		return network + "4"
	}
	return network + "6"
}
