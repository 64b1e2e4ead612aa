package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"confab/cmd/confab/config"
	"confab/extdisco"
	"confab/extdisco/relay"
	"confab/xmpp"
)

// openTURN opens the relay on its own port and on the shared HTTPS port.
func (s *server) openTURN() error {
	t := s.cfg.TURN
	if t.Mode == "off" {
		return nil
	}
	rc := relay.DefaultConfig()
	rc.Realm = t.Realm
	rc.MinPort, rc.MaxPort = uint16(t.MinPort), uint16(t.MaxPort)
	rc.NonceKey = turnNonceKey(s.secrets.Cookie)
	rc.TCPRelay, rc.Mobility, rc.ICMP, rc.TOS = t.TCPRelay, t.Mobility, t.ICMP, t.TOS
	rc.Public = s.publicAddress
	rc.PendingPerAddress, rc.Pending = t.PendingAddress, t.PendingTotal
	rc.ConnsPerAddress, rc.Conns = t.ConnsAddress, t.ConnsTotal
	var err error
	if rc.Policy, err = s.relayPolicy(s.cfg); err != nil {
		return err
	}
	if err := s.setProxies(s.cfg); err != nil {
		return err
	}
	rc.Proxied = s.proxied
	listen := s.turnListen()
	if t.UDP {
		rc.UDP = concrete(listen, localAddresses())
	}
	if t.RFC5780 {
		rc.AltPort = uint16(t.AltPort)
	}
	if t.Mode == "full" {
		rc.Credentials = &s.turnKeys.ring
		if t.TCP {
			rc.TCP = listen
		}
		if t.TLS {
			if s.cfg.TLS.Mode != "off" {
				rc.PlainTLS = s.certs.TLSConfig(alpnTURN...)
			}
			if err := s.turnOverTLS(&rc, listen); err != nil {
				return err
			}
		}
		if t.DTLS && s.cfg.TLS.Mode != "off" {
			for _, ap := range concrete(listen, localAddresses()) {
				ln, err := relay.ListenDTLS(netip.AddrPortFrom(ap.Addr(), uint16(t.TLSPort)), relay.DTLSConfig{Certificate: s.certs.GetCertificate,
					PendingPerAddress: rc.PendingPerAddress, Pending: rc.Pending, Timeout: rc.AuthTimeout})
				if err != nil {
					return err
				}
				rc.DTLS = append(rc.DTLS, ln)
			}
		}
	}
	rc.Relays = s.relayAddresses()
	if len(rc.Relays) == 0 {
		rc.Relays = []relay.Address{{Bind: netip.IPv4Unspecified(), Public: netip.IPv4Unspecified()}}
		if rc.Credentials != nil {
			s.logs.of("turn").Warn("no address to relay from: only STUN is answered", "relay_addresses", s.cfg.TURN.RelayAddresses)
		}
		rc.Credentials = nil
	}
	if s.sockets != nil { // there is a bridge in this process
		rc.Bridge = s.sockets
	}
	if s.relay, err = relay.Listen(rc, s.logs.of("turn")); err != nil {
		return err
	}
	s.opened(s.relay)
	if s.sockets == nil {
		return nil
	}
	s.sockets.SetRelay(ownRelay{s.relay})
	if t.ShareMediaPort {
		return s.shareMediaPort()
	}
	return nil
}

// shareMediaPort has the relay answer on the bridge's UDP port as well.
func (s *server) shareMediaPort() error {
	outlets, err := s.sockets.Outlets(min(runtime.GOMAXPROCS(0), runtime.NumCPU())) // as many as the relay has event loops
	if err != nil {
		return fmt.Errorf("turn.share_media_port: %w", err)
	}
	s.sockets.SetForeign(s.relay.Share(s.sockets.Readers(), outlets))
	return nil
}

// turnNonceKey signs the relay's nonces: one that outlives a restart.
func turnNonceKey(cookie config.Secret) []byte {
	sum := sha256.Sum256([]byte("turn nonce " + string(cookie)))
	return sum[:]
}

// publicAddress is what the outside sees of a local address.
func (s *server) publicAddress(local netip.Addr) netip.Addr {
	for _, c := range s.local.Candidates() {
		if c.Related.IsValid() && c.Related.Addr() == local {
			return c.Addr.Addr()
		}
	}
	return local
}

// concrete puts the machine's addresses in place of a wildcard: an answer over UDP has
// to leave from the address that was asked.
func concrete(listen []netip.AddrPort, own map[netip.Addr]bool) (out []netip.AddrPort) {
	for _, ap := range listen {
		if !ap.Addr().IsUnspecified() {
			out = append(out, ap)
			continue
		}
		for a := range own {
			if a.Is4() == ap.Addr().Is4() && !a.IsLinkLocalUnicast() {
				out = append(out, netip.AddrPortFrom(a, ap.Port()))
			}
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// turnListen is the wildcard of each family, or what the bridge binds when it does
// not bind all: the addresses of network.bind, loopback for a test server.
func (s *server) turnListen() []netip.AddrPort {
	port := uint16(s.cfg.TURN.Port)
	if list := addresses(s.cfg.TURN.Listen); len(list) > 0 {
		out := make([]netip.AddrPort, len(list))
		for i, a := range list {
			out[i] = netip.AddrPortFrom(a, port)
		}
		return out
	}
	if len(s.cfg.Network.Bind) > 0 || s.loopbackOnly() != nil {
		// What the bridge was told to bind, interfaces resolved to their addresses.
		locals := s.local.Locals()
		for i, ap := range locals {
			locals[i] = netip.AddrPortFrom(ap.Addr(), port)
		}
		return locals
	}
	out := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	if s.cfg.Network.IPv6 && haveIPv6() {
		out = append(out, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	}
	return out
}

// addresses are those of a list that the configuration has checked.
func addresses(list []string) []netip.Addr {
	out := make([]netip.Addr, 0, len(list))
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// haveIPv6 reports whether the machine can open IPv6 sockets at all.
func haveIPv6() bool {
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func (s *server) turnOverTLS(rc *relay.Config, listen []netip.AddrPort) error {
	if s.cfg.TLS.Mode == "off" {
		return nil
	}
	if s.cfg.TURN.Share443 && s.web != nil {
		if ln := s.web.TURN(); ln != nil {
			rc.TLS = append(rc.TLS, ln)
		}
	}
	if s.cfg.TURN.TLSPort == 0 {
		return nil
	}
	for _, ap := range listen {
		network := "tcp4"
		if ap.Addr().Is6() {
			network = "tcp6"
		}
		ln, err := net.Listen(network, net.JoinHostPort(ap.Addr().String(), strconv.Itoa(s.cfg.TURN.TLSPort)))
		if err != nil {
			if s.cfg.IsSet("turn.tls_port") {
				return fmt.Errorf("TURN over TLS on port %d (turn.tls_port): %w", s.cfg.TURN.TLSPort, err)
			}
			s.logs.of("turn").Warn("default port for TURN over TLS left closed", "port", s.cfg.TURN.TLSPort, "err", err)
			return nil
		}
		rc.TLS = append(rc.TLS, tls.NewListener(relay.Switchable(relay.ListenProxied(ln, s.proxied)), s.certs.TLSConfig(append(alpnTURN, alpnACME)...)))
	}
	return nil
}

// relayAddresses picks the addresses that relayed sockets are opened on, and what clients
// see of them: those of turn.relay_addresses, else the best of each family that the bridge
// announces.
func (s *server) relayAddresses() (out []relay.Address) {
	if only := addresses(s.cfg.TURN.RelayAddresses); len(only) > 0 {
		for _, a := range only {
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
			if err != nil {
				s.logs.of("turn").Warn("nothing is relayed from an address", "relay_address", a, "err", err)
				continue
			}
			_ = conn.Close()
			out = append(out, relay.Address{Bind: a, Public: s.publicAddress(a)})
		}
		// Peers elsewhere reach no private address, so none is given out beside a public one.
		all := slices.Clone(out)
		return slices.DeleteFunc(out, func(a relay.Address) bool {
			return slices.ContainsFunc(all, func(b relay.Address) bool {
				return b.Bind.Is4() == a.Bind.Is4() && better(b.Public, a.Public)
			})
		})
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		var best relay.Address
		for _, c := range s.local.Candidates() {
			a := c.Addr.Addr()
			if c.Related.IsValid() {
				a = c.Related.Addr()
			}
			// A public address is better than a private one.
			if p := s.publicAddress(a); family(a) && (!best.Bind.IsValid() || better(p, best.Public)) {
				best = relay.Address{Bind: a, Public: p}
			}
		}
		if best.Bind.IsValid() {
			out = append(out, best)
		}
	}
	return out
}

func better(a, b netip.Addr) bool {
	return rank(a) > rank(b)
}

// carrier are the addresses between a provider's NAT and its customers (RFC 6598).
var carrier = netip.MustParsePrefix("100.64.0.0/10")

func rank(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return 0
	case a.IsPrivate(), a.IsLinkLocalUnicast(), carrier.Contains(a):
		return 1
	}
	return 2
}

// alpnTURN are the names of RFC 7443. Who asks what NAT it is behind asks by Binding
// requests, which are answered here as well.
var alpnTURN = []string{"stun.turn", "stun.nat-discovery"}

// alpnACME is by which the certificate authority asks on 443 (RFC 8737 §3).
const alpnACME = "acme-tls/1"

// relayPolicy is what of [turn] the relay takes over while it runs.
func (s *server) relayPolicy(c config.Config) (p relay.Policy, err error) {
	t := c.TURN
	p = relay.DefaultConfig().Policy
	p.MaxBps, p.TotalBps = t.MaxBPS, t.TotalBPS
	p.QuotaUser, p.QuotaAddress, p.QuotaTotal = t.QuotaUser, t.QuotaAddress, t.QuotaTotal
	p.MaxSession, p.MaxLifetime, p.StaleNonce = t.MaxSession.Duration, t.MaxLifetime.Duration, t.NonceTTL.Duration
	p.RequestRate, p.UnauthorizedRate, p.UnauthorizedTotal = t.BindingRate, t.UnauthorizedRate, t.UnauthorizedAll
	p.FingerprintAlways = t.Fingerprint == "always"
	if t.Software {
		p.Software = "Confab"
	}
	p.AlternateAlways = t.Alternate == "always"
	for secure, list := range map[bool][]string{false: t.Alternates, true: t.TLSAlternates} {
		for _, text := range list {
			addr, name, err := config.ParseAlternate(text)
			if err != nil {
				return p, fmt.Errorf("turn.alternate_servers: %w", err)
			}
			p.Alternates = append(p.Alternates, relay.Alternate{Addr: addr, Name: name, Secure: secure})
		}
	}
	p.Peers, err = s.peerPolicy(c)
	return p, err
}

// setProxies takes over turn.proxy_protocol.
func (s *server) setProxies(c config.Config) error {
	list, err := prefixes(c.TURN.ProxyProtocol)
	if err != nil {
		return fmt.Errorf("turn.proxy_protocol: %w", err)
	}
	s.proxies.Store(&list)
	return nil
}

// proxied reports whether TURN's connections from an address begin with a header of the
// PROXY protocol.
func (s *server) proxied(a netip.Addr) bool {
	return slices.ContainsFunc(*s.proxies.Load(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// peerPolicy closes the relay to everything but strangers on the Internet and
// what this process announces itself.
func (s *server) peerPolicy(cfg config.Config) (p relay.Peers, err error) {
	c := cfg.TURN.Peers
	if p.Allowed, err = prefixes(c.Allow); err != nil {
		return p, fmt.Errorf("turn.peers.allow: %w", err)
	}
	if p.Denied, err = prefixes(c.Deny); err != nil {
		return p, fmt.Errorf("turn.peers.deny: %w", err)
	}
	p.OnlyOwn, p.MinPort = c.OnlyBridge, uint16(c.MinPort)
	announced := map[netip.AddrPort]bool{}
	public := false
	for _, cand := range s.local.Candidates() {
		announced[cand.Addr] = true
		announced[netip.AddrPortFrom(cand.Addr.Addr(), 0)] = true
		public = public || rank(cand.Addr.Addr()) == 2
	}
	p.Announced = func(ap netip.AddrPort) bool { return announced[ap] }
	p.Own = func(a netip.Addr) bool { return s.own.has(a) || announced[netip.AddrPortFrom(a, 0)] }
	switch c.Private {
	case "on":
		p.Private = true
	case "auto": // a LAN site, whose clients have private addresses themselves
		p.Private = !public
	}
	return p, nil
}

func localAddresses() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out[ip.Unmap()] = true
			}
		}
	}
	return out
}

// turnServers are the entries of turn.servers as clients are told them, without those
// of this server.
func turnServers(c config.Config) (out []extdisco.Server) {
	for _, e := range c.TURN.Servers {
		if e.Type == config.OwnServer {
			continue
		}
		usual, port := "udp", 3478 // RFC 8656 §3.1, RFC 7065 §3.2
		if e.Type == "turns" {
			// LJM uses a relay for the bridge only if it is told tcp in so many words.
			usual, port = "tcp", 5349
		}
		// What has our own name is not probed: the way there from here may lead through a
		// NAT that does not turn packets around, which clients don't meet.
		own := e.Host == c.Domain || slices.Contains(c.Aliases, e.Host) || slices.Contains(c.TURN.SNI, e.Host)
		out = append(out, extdisco.Server{Type: e.Type, Host: e.Host, Port: cmp.Or(e.Port, port), Transport: cmp.Or(e.Transport, usual), Own: own,
			Secret: string(e.Secret), Username: e.Username, Password: string(e.Password), TTL: e.TTL.Duration})
	}
	return out
}

// iceSettings is what clients are told of STUN and TURN servers.
func (s *server) iceSettings(c config.Config) extdisco.Settings {
	set := extdisco.Settings{Servers: turnServers(c), TTL: c.TURN.TTL.Duration}
	if len(c.TURN.Servers) == 0 || slices.ContainsFunc(c.TURN.Servers, func(e config.TURNServer) bool { return e.Type == config.OwnServer }) {
		set.Servers = append(s.ownServers(), set.Servers...)
	}
	for _, a := range c.TURN.Access {
		if j, err := xmpp.ParseJID(a); err == nil { // validated
			set.Access = append(set.Access, j)
		}
	}
	return set
}

// ownServers are the entries of this server.
func (s *server) ownServers() (list []extdisco.Server) {
	t := s.cfg.TURN
	if t.Mode == "off" {
		return nil
	}
	host := s.turnHost()
	add := func(typ string, port int, transport string) {
		list = append(list, extdisco.Server{Type: typ, Host: host, Port: port, Transport: transport, Own: true})
	}
	if t.UDP || t.ShareMediaPort {
		port := t.Port
		if !t.UDP && s.sockets != nil {
			port = s.sockets.Port()
		}
		add("stun", port, "udp")
		if t.Mode == "full" {
			add("turn", port, "udp")
		}
	}
	if t.Mode == "full" && t.TCP {
		add("turn", t.Port, "tcp")
	}
	if t.Mode == "full" && t.TLS {
		if port := s.turnTLSPort(); port != 0 {
			add("turns", port, "tcp")
		}
	}
	return list
}

// buildExtdisco makes what clients are told of STUN and TURN servers, and the keys of
// their credentials.
func (s *server) buildExtdisco(ctx context.Context) error {
	log := s.logs.of("turn")
	s.turnKeys = newTURNKeys(s.cfg, s.storage, log)
	if _, err := s.turnKeys.refresh(ctx); err != nil {
		return fmt.Errorf("TURN credentials: %w", err)
	}
	set := s.iceSettings(s.cfg)
	var health extdisco.Reachable
	if every := s.cfg.TURN.Probe.Duration; every > 0 {
		s.relays = extdisco.NewHealth(every, func() { s.extdisco.Changed() }, log)
		s.guards.add(s.relays.Guard())
		s.relays.Watch(set.Servers)
		health = s.relays
	}
	s.ice = extdisco.NewList(set, &s.turnKeys.ring, []byte(s.secrets.Cookie), health)
	logins := s.names.loginHosts
	if s.visitorsOn() {
		logins = append(slices.Clone(logins), visitorHost)
	}
	s.extdisco = extdisco.NewService(s.ice, logins, s.router)
	return nil
}

// reloadTURN takes over what of [turn] may change while the server runs.
func (s *server) reloadTURN(ctx context.Context, c config.Config) {
	s.reloadRelay(c)
	s.turnKeys.configure(c)
	if _, err := s.turnKeys.refresh(ctx); err != nil {
		s.logs.of("turn").Warn("TURN credentials not read, those before still count", "err", err)
	}
	set := s.iceSettings(c)
	s.ice.Set(set)
	if s.relays != nil {
		s.relays.Watch(set.Servers)
	}
	s.extdisco.Changed()
}

// reloadRelay has the relay take over its part.
func (s *server) reloadRelay(c config.Config) {
	if s.relay == nil {
		return
	}
	p, err := s.relayPolicy(c)
	if err == nil {
		err = s.setProxies(c)
	}
	if err != nil {
		s.logs.of("turn").Error("relay not reloaded", "err", err) // of a validated configuration
		return
	}
	s.relay.Reload(p)
}

// turnHost is the name or address under which clients find the relay: on a
// machine without a name its best address.
func (s *server) turnHost() string {
	if s.cfg.Domain != "localhost" {
		return s.cfg.Domain
	}
	var best netip.Addr
	for _, c := range s.local.Candidates() {
		if a := c.Addr.Addr(); !best.IsValid() || better(a, best) {
			best = a
		}
	}
	return best.String()
}

// turnPorts names the ports that STUN and TURN are answered on. media is the bridge's, which
// may be one of them, overTLS that of TCP for those who are told; 0: there is none.
func turnPorts(c config.Config, media, overTLS int) string {
	t := c.TURN
	full := t.Mode == "full"
	var ports []string
	add := func(on bool, name string, port int) {
		if on {
			ports = append(ports, name+" "+strconv.Itoa(port))
		}
	}
	both := full && t.UDP && t.TCP
	add(both, "UDP and TCP", t.Port)
	add(!both && t.UDP, "UDP", t.Port)
	add(!both && full && t.TCP, "TCP", t.Port)
	add(t.ShareMediaPort && media != 0, "UDP", media)
	add(full && t.TLS && overTLS != 0, "TLS", overTLS)
	add(full && t.DTLS && c.TLS.Mode != "off", "DTLS", t.TLSPort)
	out := strings.Join(ports, ", ")
	if !full {
		out += " (STUN only)"
	}
	return out
}

// turnTLSPort is where clients are sent for TURN over TLS: the HTTPS port passes
// where nothing else does.
func (s *server) turnTLSPort() int {
	if s.cfg.TLS.Mode == "off" {
		return 0
	}
	if s.cfg.TURN.Share443 {
		if _, port, err := net.SplitHostPort(s.listen[0]); err == nil {
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return s.cfg.TURN.TLSPort
}
