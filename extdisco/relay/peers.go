package relay

import (
	"net/netip"
)

// Peers decides which addresses clients may reach through the relay. An open
// relay into the server's own network is the classic TURN hole
// (CVE-2020-26262, CVE-2026-27624), so everything that is not plainly a stranger
// on the Internet is closed unless this process announces it itself.
type Peers struct {
	// Allowed and Denied are the operator's own ranges (turn.peers.allow, .deny).
	Allowed, Denied []netip.Prefix
	// Private admits private ranges: for sites whose clients have such addresses.
	Private bool
	// OnlyOwn closes the relay to everything but our own bridge and allocations.
	OnlyOwn bool
	// MinPort keeps clients from DNS, NTP and other low-port services of third
	// parties.
	MinPort uint16
	// Announced reports whether this process announces ap itself: a candidate of
	// its bridge. An ap with port 0 asks for any port of that address.
	Announced func(ap netip.AddrPort) bool
	// Own reports whether the address is one of this machine or mapped to it.
	Own func(netip.Addr) bool
}

// never are ranges that no setting opens: this host, link-local (where all cloud
// metadata services live), multicast, reserved.
var never = prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"100.100.100.200/32", "192.0.0.192/32", "::/128", "::1/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128")

var private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")

var special = prefixes("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "100::/64", "2001::/23", "2001:db8::/32")

func prefixes(ss ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// AllowIP answers CreatePermission, which names no port: could any port of this
// address be reached?
func (p *Peers) AllowIP(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return p.Announced != nil && p.Announced(netip.AddrPortFrom(ip, 0)) || p.address(ip)
}

// Allow answers for one packet, in either direction.
func (p *Peers) Allow(ap netip.AddrPort) bool {
	ip := ap.Addr().Unmap().WithZone("")
	if ap.Port() == 0 {
		return false // no packet has it
	}
	if p.Announced != nil && p.Announced(netip.AddrPortFrom(ip, ap.Port())) {
		return true
	}
	if !p.address(ip) {
		return false
	}
	return ap.Port() >= p.MinPort || contains(p.Allowed, ip)
}

// address judges an address and, for the forms that embed an IPv4 address, that
// one as well: ::ffff:127.0.0.1 is 127.0.0.1.
func (p *Peers) address(ip netip.Addr) bool {
	if !p.verdict(ip) {
		return false
	}
	for _, v4 := range embedded(ip) {
		if !p.verdict(v4) {
			return false
		}
	}
	return true
}

func (p *Peers) verdict(ip netip.Addr) bool {
	switch {
	case !ip.IsValid(), contains(never, ip), p.OnlyOwn, p.Own != nil && p.Own(ip):
		return false
	case contains(p.Allowed, ip):
		return true
	case contains(p.Denied, ip), contains(special, ip):
		return false
	case contains(private, ip):
		return p.Private
	}
	return true
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// embedded lists the IPv4 addresses that an IPv6 address stands for: IPv4-compatible
// and -translated (RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP
// (RFC 5214).
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	zero := func(from, to int) bool {
		for _, x := range b[from:to] {
			if x != 0 {
				return false
			}
		}
		return true
	}
	var out []netip.Addr
	switch {
	case zero(0, 12), zero(0, 8) && b[8] == 0xff && b[9] == 0xff && zero(10, 12):
		out = append(out, at(12))
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b && zero(4, 12):
		out = append(out, at(12))
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b && b[4] == 0 && b[5] == 1:
		// RFC 8215: a site may have put the address behind any prefix (RFC 6052 §2.2).
		out = append(out, at(12), at(9), netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}))
	case b[0] == 0x20 && b[1] == 0x02:
		out = append(out, at(2))
	case b[0] == 0x20 && b[1] == 0x01 && zero(2, 4):
		out = append(out, netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		out = append(out, at(12))
	}
	return out
}
