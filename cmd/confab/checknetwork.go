package main

// confab check: ports, names and addresses.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"confab/cmd/confab/config"
)

// ports tries to bind what the server would bind.
func (r *report) ports(cfg config.Config) {
	pid, err := runningServer(cfg.DataDir)
	if err != nil {
		r.warn("ports", "can't tell whether the server runs: %v", err)
	}
	for _, l := range listeners(cfg) {
		subject := l.network + " " + l.address
		err := tryBind(l.network, l.address)
		switch {
		case err == nil:
			r.ok(subject, "free, for %s", l.use)
		case pid != 0 && holds(pid, l.network, l.address):
			r.ok(subject, "held by the running server (process %d), for %s", pid, l.use)
		case l.fallback != "":
			r.warn(subject, "%v: %s, as %s is not set", rootCause(err), l.fallback, l.key)
		default:
			r.fail(subject, "%v, needed for %s (%s)", rootCause(err), l.use, l.key)
		}
	}
}

// listener is an address that the server binds.
type listener struct {
	network, address, key, use string
	fallback                   string // what happens instead when a default can't be had
}

func listeners(cfg config.Config) []listener {
	var list []listener
	add := func(network, address, key, use, fallback string) {
		if cfg.IsSet(key) {
			fallback = ""
		}
		list = append(list, listener{network, address, key, use, fallback})
	}
	whole := !cfg.RelayOnly()
	if whole {
		for _, a := range cfg.Web.Listen {
			add("tcp", a, "web.listen", "HTTPS", ":8443 is used instead")
		}
	}
	if whole && cfg.Web.HTTPListen != "" && cfg.TLS.Mode != "off" {
		add("tcp", cfg.Web.HTTPListen, "web.http_listen", "redirects to HTTPS", "it stays closed")
	}
	if cfg.Admin.Listen != "" {
		add("tcp", cfg.Admin.Listen, "admin.listen", "metrics and health", "a free port is used instead")
	}
	if whole && cfg.XMPP.Port != 0 {
		add("tcp", port(cfg.XMPP.Port), "xmpp.port", "XMPP clients", "")
	}
	if whole && cfg.XMPP.TLSPort != 0 && (cfg.TLS.Mode != "off" || cfg.TLS.Cert != "") {
		add("tcp", port(cfg.XMPP.TLSPort), "xmpp.tls_port", "XMPP clients with TLS", "it stays closed")
	}
	if whole {
		add("udp", port(cfg.Bridge.UDPPort), "bridge.udp_port", "media", "")
	}
	if cfg.TURN.Mode == "off" {
		return list
	}
	t := &cfg.TURN
	at := []string{""}
	if len(t.Listen) > 0 {
		at = t.Listen
	}
	for _, host := range at {
		on := func(n int) string { return net.JoinHostPort(host, strconv.Itoa(n)) }
		if t.UDP {
			add("udp", on(t.Port), "turn.port", "STUN and TURN", "")
		}
		if t.UDP && t.RFC5780 {
			add("udp", on(t.AltPort), "turn.alt_port", "NAT behaviour discovery", "")
		}
		if t.TCP && t.Mode == "full" {
			add("tcp", on(t.Port), "turn.port", "TURN", "")
		}
		if t.TLS && t.Mode == "full" && t.TLSPort != 0 && cfg.TLS.Mode != "off" {
			add("tcp", on(t.TLSPort), "turn.tls_port", "TURN over TLS", "it stays closed")
		}
		if t.DTLS && t.Mode == "full" && cfg.TLS.Mode != "off" {
			add("udp", on(t.TLSPort), "turn.tls_port", "TURN over DTLS", "")
		}
	}
	return list
}

func port(n int) string { return ":" + strconv.Itoa(n) }

func tryBind(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// rootCause is the innermost error: "address already in use".
func rootCause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// holds reports whether process pid has a socket bound to the port of address,
// by /proc (proc_pid_net(5)): columns 2 and 10 are local address and inode.
func holds(pid int, network, address string) bool {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		return false
	}
	suffix := fmt.Sprintf(":%04X", number)
	var inodes []string
	for _, table := range []string{network, network + "6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], suffix) {
				inodes = append(inodes, "socket:["+f[9]+"]")
			}
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, err := os.Readlink(fd)
		return err == nil && slices.Contains(inodes, target)
	})
}

// dns looks whether the domain leads here.
func (r *report) dns(ctx context.Context, cfg config.Config) {
	if cfg.Domain == "localhost" {
		r.warn("DNS", "the domain is localhost: others can come by the machine's address only. Set domain")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cfg.Domain)
	if err != nil {
		r.warn("DNS", "%s has no address: %v", cfg.Domain, rootCause(err))
		return
	}
	own := ownAddresses(cfg)
	for _, a := range found {
		if slices.Contains(own, a.Unmap()) {
			r.ok("DNS", "%s is %s, this machine", cfg.Domain, a.Unmap())
			return
		}
	}
	r.warn("DNS", "%s is %s, none of this machine's addresses (fine behind NAT: then set network.public_addresses)", cfg.Domain, found[0].Unmap())
}

// ownAddresses are those of the interfaces and the public ones of the configuration.
func ownAddresses(cfg config.Config) []netip.Addr {
	var own []netip.Addr
	for _, text := range cfg.Network.PublicAddresses {
		if a, err := netip.ParseAddr(outside(text)); err == nil {
			own = append(own, a)
		}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range list {
		if n, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, n.Addr().Unmap())
		}
	}
	return own
}

// outside is the public part of an entry of network.public_addresses.
func outside(entry string) string {
	public, _, _ := strings.Cut(entry, "/")
	return public
}

// announced reports whether network.public_addresses names an address.
func announced(cfg config.Config, a netip.Addr) bool {
	return slices.ContainsFunc(cfg.Network.PublicAddresses, func(entry string) bool { return outside(entry) == a.String() })
}

// bound reports whether an address may be among those of network.bind, which may name
// interfaces as well.
func bound(cfg config.Config, a netip.Addr) bool {
	return len(cfg.Network.Bind) == 0 || slices.ContainsFunc(cfg.Network.Bind, func(text string) bool {
		b, err := netip.ParseAddr(text)
		return err != nil || b.IsUnspecified() || b.Unmap() == a
	})
}

// addresses looks whether clients elsewhere can reach the media port.
func (r *report) addresses(cfg config.Config) {
	var public, private []string
	for _, a := range ownAddresses(cfg) {
		switch {
		case !bound(cfg, a) && !announced(cfg, a), a.IsLoopback() || a.IsLinkLocalUnicast() || !cfg.Network.IPv6 && a.Is6():
		case a.IsPrivate():
			private = append(private, a.String())
		default:
			public = append(public, a.String())
		}
	}
	switch {
	case len(public) > 0 && cfg.RelayOnly():
		r.ok("addresses", "relayed addresses on %s", strings.Join(slices.Compact(public), ", "))
	case len(public) > 0:
		r.ok("addresses", "media on UDP %d of %s", cfg.Bridge.UDPPort, strings.Join(slices.Compact(public), ", "))
	case len(private) > 0:
		r.warn("addresses", "only private ones (%s): for people outside of this network set network.public_addresses = [\"PUBLIC/PRIVATE\"]",
			strings.Join(private, ", "))
	default:
		r.warn("addresses", "no interface but loopback: only this machine can send media")
	}
}

// localAddresses looks whether the machine has what the configuration says it has.
func (r *report) localAddresses(cfg config.Config) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return // addresses has told
	}
	names := map[string]bool{}
	for _, i := range interfaces {
		names[i.Name] = true
	}
	own := localAddresses()
	for _, b := range cfg.Network.Bind {
		if a, err := netip.ParseAddr(b); err == nil && !own[a.Unmap()] || err != nil && !names[b] {
			r.fail("network.bind", "this machine has no address or interface %s", b)
		}
	}
	for _, text := range cfg.Network.PublicAddresses {
		_, private, pair := strings.Cut(text, "/")
		if a, err := netip.ParseAddr(private); pair && err == nil && !own[a.Unmap()] {
			r.fail("public addresses", "%s: this machine has no address %s", text, private)
		}
	}
}
