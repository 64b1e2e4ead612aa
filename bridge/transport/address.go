package transport

// Which local addresses are opened, and which candidates they become.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Candidate is one address where an agent can be reached, in the words of
// XEP-0176's <candidate/>.
type Candidate struct {
	Foundation string
	Component  int    // 1
	Protocol   string // "udp"
	Priority   uint32
	Addr       netip.AddrPort // ip and port
	Type       string         // "host", "srflx", "prflx" or "relay"
	Related    netip.AddrPort // rel-addr and rel-port; zero without
	Generation int
}

// mapping is one entry of PublicAddresses.
type mapping struct {
	auto    bool
	public  netip.Addr
	private netip.Addr // invalid when the entry is a lone IP
}

// parseAddresses reads "auto", "IP" and "PUBLIC/PRIVATE".
func parseAddresses(list []string) ([]mapping, error) {
	if len(list) == 0 {
		return []mapping{{auto: true}}, nil
	}
	out := make([]mapping, 0, len(list))
	for _, entry := range list {
		if entry == "auto" {
			out = append(out, mapping{auto: true})
			continue
		}
		public, private, pair := strings.Cut(entry, "/")
		var m mapping
		var err error
		if m.public, err = netip.ParseAddr(public); err != nil {
			return nil, fmt.Errorf("public address %q: %w", entry, err)
		}
		m.public = m.public.Unmap()
		if pair {
			if m.private, err = netip.ParseAddr(private); err != nil {
				return nil, fmt.Errorf("public address %q: %w", entry, err)
			}
			m.private = m.private.Unmap()
			if m.private.Is4() != m.public.Is4() {
				return nil, fmt.Errorf("public address %q mixes address families", entry)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// ifaceAddr is an address of this machine and the interface that has it.
type ifaceAddr struct {
	addr netip.Addr
	name string
}

// machineAddresses lists the usable addresses of the interfaces that are up.
// Link-local addresses are never used (reference/bridge.md §4.2).
func machineAddresses() ([]ifaceAddr, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []ifaceAddr
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); !ok || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
				continue
			}
			out = append(out, ifaceAddr{ip, i.Name})
		}
	}
	return out, nil
}

// bindAddresses chooses the local addresses to open. Loopback is taken only
// when it is listed, or when the machine has nothing else.
func bindAddresses(c *Config, mappings []mapping, have []ifaceAddr) ([]netip.Addr, error) {
	named := func(list []string, a ifaceAddr) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			if s == a.name {
				return true
			}
			ip, err := netip.ParseAddr(s)
			return err == nil && ip.Unmap() == a.addr
		})
	}
	listed := func(ip netip.Addr) bool {
		return slices.ContainsFunc(mappings, func(m mapping) bool { return m.public == ip || m.private == ip })
	}
	auto := slices.ContainsFunc(mappings, func(m mapping) bool { return m.auto })
	anyListed := slices.ContainsFunc(have, func(a ifaceAddr) bool { return listed(a.addr) })

	var out, loopback []netip.Addr
	for _, a := range have {
		switch {
		case a.addr.Is6() && !c.IPv6, named(c.Exclude, a), slices.Contains(out, a.addr):
		case len(c.Bind) > 0:
			if named(c.Bind, a) {
				out = append(out, a.addr)
			}
		case listed(a.addr):
			out = append(out, a.addr)
		case !auto && anyListed:
			// The list names addresses of this machine: those and no others.
		case a.addr.IsLoopback():
			loopback = append(loopback, a.addr)
		default:
			out = append(out, a.addr)
		}
	}
	if len(out) == 0 && len(c.Bind) == 0 {
		out = loopback
	}
	if len(out) == 0 {
		return nil, errors.New("no local address to listen on")
	}
	// IPv4 first: the first local address sets the port when it is 0.
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return out, nil
}

// Plan says which local addresses Listen would open and which candidates it would
// offer, without opening any; all with port 0. A relay without a bridge is reached
// where a bridge would be.
func Plan(cfg Config) (locals []netip.AddrPort, offered []Candidate, err error) {
	mappings, addrs, err := plan(&cfg)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range addrs {
		locals = append(locals, netip.AddrPortFrom(a, 0))
	}
	return locals, candidates(locals, mappings, true), nil
}

func plan(cfg *Config) (mappings []mapping, addrs []netip.Addr, err error) {
	if mappings, err = parseAddresses(cfg.PublicAddresses); err != nil {
		return nil, nil, err
	}
	have, err := machineAddresses()
	if err != nil {
		return nil, nil, err
	}
	addrs, err = bindAddresses(cfg, mappings, have)
	return mappings, addrs, err
}

// Type preferences of RFC 8445 §5.1.2.2.
const (
	hostPreference  = 126
	srflxPreference = 100
)

// candidates makes the list every transport of these sockets offers: the
// addresses announced as host, the mapped ones as srflx with their base.
// private says whether private addresses are shown (reference/bridge.md §4.2).
func candidates(locals []netip.AddrPort, mappings []mapping, private bool) []Candidate {
	auto := slices.ContainsFunc(mappings, func(m mapping) bool { return m.auto })
	onlyLoopback := !slices.ContainsFunc(locals, func(l netip.AddrPort) bool { return !l.Addr().IsLoopback() })

	type entry struct {
		addr, base netip.AddrPort
	}
	var entries []entry
	add := func(e entry) {
		if !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	for _, l := range locals {
		shown := auto && (!l.Addr().IsLoopback() || onlyLoopback)
		for _, m := range mappings {
			switch {
			case m.auto:
			case m.private.IsValid():
				shown = shown || m.private == l.Addr()
			case m.public == l.Addr():
				shown = true
			}
		}
		if shown {
			add(entry{addr: l})
		}
	}
	for _, m := range mappings {
		if m.auto || slices.ContainsFunc(locals, func(l netip.AddrPort) bool { return l.Addr() == m.public }) {
			continue
		}
		for _, l := range locals {
			match := l.Addr() == m.private
			if !m.private.IsValid() {
				// A lone foreign IP stands for the first address of its family.
				match = l.Addr().Is4() == m.public.Is4() && (!l.Addr().IsLoopback() || onlyLoopback)
			}
			if match {
				add(entry{addr: l})
				add(entry{addr: netip.AddrPortFrom(m.public, l.Port()), base: l})
				break
			}
		}
	}

	var out []Candidate
	for _, e := range entries {
		c := Candidate{
			Foundation: fmt.Sprint(len(out) + 1),
			Component:  1,
			Protocol:   "udp",
			Addr:       e.addr,
			Type:       "host",
		}
		preference := uint32(hostPreference)
		if e.base.IsValid() {
			c.Type, c.Related, preference = "srflx", e.base, srflxPreference
			if !private && isPrivate(e.base.Addr()) {
				c.Related = netip.AddrPortFrom(netip.IPv4Unspecified(), 9)
			}
		} else if !private && isPrivate(e.addr.Addr()) {
			continue
		}
		// RFC 8445 §5.1.2.1; the local preference makes equal types differ.
		c.Priority = preference<<24 | (65535-uint32(len(out)))<<8 | 255
		out = append(out, c)
	}
	return out
}

// isPrivate knows RFC 1918, fc00::/7 and fec0::/10.
func isPrivate(ip netip.Addr) bool {
	return ip.IsPrivate() || netip.MustParsePrefix("fec0::/10").Contains(ip)
}

// usableRemote refuses candidates that would make us probe our own machine or
// a metadata service (reference/bridge.md §22). loopback is allowed when our
// own candidates are loopback.
func usableRemote(ip netip.Addr, loopback bool) bool {
	ip = ip.Unmap()
	if ip.IsLoopback() {
		return loopback
	}
	return ip.IsValid() && ip.Zone() == "" && !ip.IsUnspecified() && !ip.IsMulticast() &&
		!ip.IsLinkLocalUnicast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
