package config

// What is settled about STUN and TURN, and about hosts that do nothing else.

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"confab/xmpp"
)

// OwnServer is the type of an entry that stands for this server's own relay.
const OwnServer = "own"

// RelayOnly reports whether this process has the relay alone.
func (c *Config) RelayOnly() bool { return len(c.Node.Roles) == 1 && c.Node.Roles[0] == "turn" }

func (c *Config) validateRoles(p *problems) {
	roles := c.Node.Roles
	p.listOf("node.roles", roles, "signalling", "bridge", "turn")
	p.check(slices.Contains(roles, "signalling") == slices.Contains(roles, "bridge"), "node.roles", "signalling and bridge belong together")
	if c.RelayOnly() {
		p.check(c.TURN.Mode != "off", "turn.mode", "is off, and node.roles has nothing else")
	}
}

func (c *Config) validateTURN(p *problems) {
	t := &c.TURN
	p.oneOf("turn.mode", t.Mode, "full", "stun", "off")
	p.between("turn.port", t.Port, 0, 65535)
	p.between("turn.tls_port", t.TLSPort, 0, 65535)
	p.between("turn.alt_port", t.AltPort, 1, 65535)
	for _, a := range t.SNI {
		web := a == c.Domain || slices.Contains(c.Aliases, a) || slices.Contains(TenantHosts(c.Tenants), a)
		p.check(ValidDomain(a) && !web, "turn.sni", "%q is no domain name beside those of the web", a)
	}
	p.check(len(t.SNI) == 0 || t.Share443, "turn.sni", "needs turn.share_443")
	p.check(!t.RFC5780 || t.AltPort != t.Port, "turn.alt_port", "is the same as turn.port")
	p.check(!t.DTLS || t.TLSPort != 0, "turn.dtls", "needs turn.tls_port, whose number it uses")
	p.check(!t.TCPRelay || len(t.Peers.Allow) > 0, "turn.tcp_relay", "needs turn.peers.allow: it relays to nobody else")
	p.addresses("turn.listen", t.Listen)
	p.addresses("turn.relay_addresses", t.RelayAddresses)
	for _, a := range t.RelayAddresses {
		ip, err := netip.ParseAddr(a)
		p.check(err != nil || !ip.IsUnspecified(), "turn.relay_addresses", "%q is no single address", a)
	}
	p.between("turn.min_port", t.MinPort, 1024, 65535)
	p.between("turn.max_port", t.MaxPort, t.MinPort, 65535)
	// RFC 8489 §14.9: a REALM is less than 128 characters.
	p.check(t.Realm != "" && len(t.Realm) < 128, "turn.realm", "is longer than 127 bytes")
	for _, s := range t.Secrets {
		p.check(len(s) >= 16, "turn.secrets", "a secret of less than 16 bytes can be guessed")
	}
	p.duration("turn.ttl", t.TTL, time.Minute, 30*24*time.Hour)
	p.duration("turn.max_session", t.MaxSession, 0, 30*24*time.Hour)
	p.check(t.Probe.Duration == 0 || t.Probe.Duration >= time.Second && t.Probe.Duration <= time.Hour, "turn.probe_interval", "%v is neither 0s nor between 1s and 1h", t.Probe)
	for _, a := range t.Access {
		j, err := xmpp.ParseJID(a)
		p.check(err == nil && j.IsBare(), "turn.access", "%q is neither a host name nor an address without resource", a)
	}
	p.between("turn.quota_user", t.QuotaUser, 1, math.MaxInt)
	p.between("turn.quota_address", t.QuotaAddress, 1, math.MaxInt)
	p.between("turn.quota_total", t.QuotaTotal, 0, math.MaxInt)
	p.between("turn.max_bps", t.MaxBPS, 0, math.MaxInt)
	p.between("turn.total_bps", t.TotalBPS, 0, math.MaxInt)
	p.oneOf("turn.fingerprint", t.Fingerprint, "auto", "always")
	// Ten minutes is what RFC 8656 §7.2 grants by itself.
	p.duration("turn.max_lifetime", t.MaxLifetime, 10*time.Minute, 24*time.Hour)
	p.duration("turn.nonce_ttl", t.NonceTTL, 30*time.Second, 24*time.Hour)
	p.between("turn.unauthorized_rate", t.UnauthorizedRate, 0, math.MaxInt32)
	p.between("turn.unauthorized_total", t.UnauthorizedAll, 0, math.MaxInt32)
	p.between("turn.binding_rate", t.BindingRate, 0, math.MaxInt32)
	p.between("turn.pending_per_address", t.PendingAddress, 1, math.MaxInt32)
	p.between("turn.pending_total", t.PendingTotal, 1, math.MaxInt32)
	p.between("turn.connections_per_address", t.ConnsAddress, 1, math.MaxInt32)
	p.between("turn.connections_total", t.ConnsTotal, 1, math.MaxInt32)
	p.prefixes("turn.proxy_protocol", t.ProxyProtocol)
	p.oneOf("turn.alternate", t.Alternate, "full", "always")
	p.check(t.Alternate == "full" || len(t.Alternates)+len(t.TLSAlternates) > 0, "turn.alternate", "needs turn.alternate_servers or turn.tls_alternate_servers")
	for key, list := range map[string][]string{"turn.alternate_servers": t.Alternates, "turn.tls_alternate_servers": t.TLSAlternates} {
		for _, text := range list {
			_, _, err := ParseAlternate(text)
			p.check(err == nil, key, "%q is not ADDRESS:PORT or ADDRESS:PORT/NAME", text)
		}
	}
	p.prefixes("turn.peers.allow", t.Peers.Allow)
	p.prefixes("turn.peers.deny", t.Peers.Deny)
	p.oneOf("turn.peers.private", t.Peers.Private, "auto", "on", "off")
	p.between("turn.peers.min_port", t.Peers.MinPort, 0, 65535)
	for i, s := range t.Servers {
		key := "turn.servers"
		bad := func(ok bool, what string) { p.check(ok, key, "entry %d: %s", i+1, what) }
		if s.Type == OwnServer {
			bad(s == TURNServer{Type: OwnServer}, `has other keys beside type = "own"`)
			continue
		}
		bad(slices.Contains([]string{"stun", "turn", "turns"}, s.Type), "type is none of stun, turn, turns, own")
		bad(s.Host != "", "host is missing")
		bad(s.Port >= 0 && s.Port <= 65535, "port is not between 0 and 65535")
		bad(slices.Contains([]string{"", "udp", "tcp"}, s.Transport), "transport is neither udp nor tcp")
		bad(s.Password == "" || s.Username != "", "password has no username")
		bad(s.Secret == "" || s.Password == "", "has both a secret and a password")
		bad(s.TTL.Duration >= 0, "ttl is negative")
	}
}

// ParseAlternate reads ADDRESS:PORT or ADDRESS:PORT/NAME.
func ParseAlternate(text string) (addr netip.AddrPort, name string, err error) {
	at, name, _ := strings.Cut(text, "/")
	if addr, err = netip.ParseAddrPort(at); err == nil && addr.Port() == 0 {
		err = errors.New("no port")
	}
	return addr, name, err
}
