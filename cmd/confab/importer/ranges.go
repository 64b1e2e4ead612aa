package importer

// Ranges of addresses as coturn writes them, in ours.

import (
	"fmt"
	"net/netip"
	"strings"
)

// peerRange reads what stands behind allowed-peer-ip and denied-peer-ip: an address or
// "FROM-TO" (coturn: add_ip_list_range). A prefix, with which coturn does not start,
// is understood, too.
func peerRange(text string) ([]netip.Prefix, error) {
	if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
		return unmapped(p.Masked()), nil
	}
	first, last, isRange := strings.Cut(text, "-")
	from, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return nil, fmt.Errorf("%q is no address", first)
	}
	to := from
	if isRange {
		if to, err = netip.ParseAddr(strings.TrimSpace(last)); err != nil {
			return nil, fmt.Errorf("%q is no address", last)
		}
	}
	from, to = from.WithZone(""), to.WithZone("")
	switch {
	case from.BitLen() != to.BitLen():
		return nil, fmt.Errorf("%q has two kinds of addresses", text)
	case to.Less(from):
		return nil, fmt.Errorf("%q ends before it begins", text)
	}
	var out []netip.Prefix
	for _, p := range cover(from, to) {
		out = append(out, unmapped(p)...)
	}
	return out, nil
}

// cover is the shortest list of prefixes that holds the addresses from one to another
// and no others.
func cover(from, to netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for from.IsValid() && !to.Less(from) {
		bits := from.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(from, bits-1)
			if wider.Masked().Addr() != from || to.Less(lastOf(wider)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(from, bits)
		out = append(out, p)
		from = lastOf(p).Next() // not valid behind the last address there is
	}
	return out
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // as long as what it was made of
	return a
}

// mapped are the IPv6 addresses that stand for IPv4 ones (RFC 4291 §2.5.5.2).
var mapped = netip.MustParsePrefix("::ffff:0.0.0.0/96")

// unmapped says a prefix of mapped addresses in IPv4: the relay judges them so.
func unmapped(p netip.Prefix) []netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= mapped.Bits() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped.Bits())
	}
	return []netip.Prefix{p}
}

// within reports whether each address of p is in one of the list.
func within(p netip.Prefix, list []netip.Prefix) bool {
	overlaps := false
	for _, q := range list {
		if q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return true
		}
		overlaps = overlaps || q.Overlaps(p)
	}
	if !overlaps {
		return false
	}
	// One of the list is a part of p: so p has halves.
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	high := netip.PrefixFrom(lastOf(low).Next(), p.Bits()+1)
	return within(low, list) && within(high, list)
}

func parsePrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// What the relay refuses whatever is set, what unless it is allowed by name, and what
// turn.peers.private is about (turn.md §8.1; extdisco/relay decides, a test compares).
var (
	neverPeers = parsePrefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"100.100.100.200/32", "192.0.0.192/32", "::/128", "::1/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128")
	specialPeers = parsePrefixes("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "100::/64", "2001::/23", "2001:db8::/32")
	privatePeers = parsePrefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")
)
