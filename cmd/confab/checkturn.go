package main

// confab check: what the relay needs from the machine, and, while the server runs, whether
// it relays what it should and nothing else (turn.md §8.6).

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
	"syscall"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
	"confab/extdisco/probe"
	"confab/extdisco/stun"
)

const (
	// turnTimeout is how long one server, or one step with it, is waited for.
	turnTimeout = 5 * time.Second

	// canaryWait is how long a packet may take that must not arrive. One that was sent
	// later has arrived by then.
	canaryWait = 300 * time.Millisecond

	// relayTries is how often a packet is sent through the relay that must arrive.
	relayTries = 10
)

// relayPorts looks at who else wants the ports of the relay.
func (r *report) relayPorts(cfg config.Config, proc string) {
	t := &cfg.TURN
	if t.Mode != "full" {
		return
	}
	in := func(n int) bool { return n >= t.MinPort && n <= t.MaxPort }
	for key, n := range map[string]int{"bridge.udp_port": cfg.Bridge.UDPPort, "turn.port": t.Port, "turn.alt_port": t.AltPort, "turn.tls_port": t.TLSPort} {
		if in(n) && (key != "turn.alt_port" || t.RFC5780) && (key != "turn.tls_port" || t.DTLS) {
			r.warn("relay range", "%s, %d, lies in it: another program's relay may hold it at a start. Move turn.min_port or turn.max_port", key, n)
		}
	}
	text, err := os.ReadFile(filepath.Join(proc, "sys/net/ipv4/ip_local_port_range"))
	if err != nil {
		return // not Linux
	}
	var from, to int
	if _, err := fmt.Sscan(string(text), &from, &to); err != nil {
		r.warn("relay range", "net.ipv4.ip_local_port_range can't be read: %v", err)
		return
	}
	from, to = max(from, t.MinPort), min(to, t.MaxPort)
	reserved, err := os.ReadFile(filepath.Join(proc, "sys/net/ipv4/ip_local_reserved_ports"))
	switch {
	case from > to:
		r.ok("relay range", "UDP %d to %d, apart from the ports of outgoing connections", t.MinPort, t.MaxPort)
	case err == nil && allReserved(string(reserved), from, to):
		r.ok("relay range", "UDP %d to %d, reserved", t.MinPort, t.MaxPort)
	default:
		r.warn("relay range", "the system gives UDP %d to %d to other programs, too (net.ipv4.ip_local_port_range); they are skipped. To keep them: sysctl -w net.ipv4.ip_local_reserved_ports=%d-%d",
			from, to, from, to)
	}
}

// allReserved reports whether "8080,49152-65535" has all ports from one to another.
func allReserved(list string, from, to int) bool {
	type span struct{ from, to int }
	var spans []span
	for item := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA == nil && errB == nil {
			spans = append(spans, span{a, b})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	for _, s := range spans {
		if s.from <= from && s.to >= from {
			from = s.to + 1
		}
	}
	return from > to
}

// relaySettings looks at what does not go together, or not on this machine.
func (r *report) relaySettings(cfg config.Config) {
	t := &cfg.TURN
	if t.Mode == "off" {
		return
	}
	own := localAddresses()
	for key, list := range map[string][]netip.Addr{"turn.listen": addresses(t.Listen), "turn.relay_addresses": addresses(t.RelayAddresses)} {
		for _, a := range list {
			if !a.IsUnspecified() && !own[a] {
				r.fail(key, "this machine has no address %s", a)
			}
		}
	}
	if t.RFC5780 {
		usable := map[bool]int{}
		for _, ap := range concreteListen(cfg) {
			if !ap.IsLoopback() || len(t.Listen) > 0 {
				usable[ap.Is4()]++
			}
		}
		if usable[true] < 2 && usable[false] < 2 {
			r.warn("turn.rfc5780", "NAT behaviour discovery takes two addresses of one family, this machine has one: it stays off, nothing else suffers")
		}
	}
	if t.Mode == "full" && t.TLS && cfg.TLS.Mode == "off" {
		r.warn("TURN over TLS", "is off, as TLS ends at a proxy (tls.mode): people whose network lets only 443 through can't take part. A relay with a name and a certificate of its own can be told them (turn.servers)")
	}
}

// concreteListen are the addresses that STUN and TURN are answered on.
func concreteListen(cfg config.Config) []netip.Addr {
	var out []netip.Addr
	listen := addresses(cfg.TURN.Listen)
	if len(listen) == 0 {
		listen = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	own := localAddresses()
	for _, a := range listen {
		if !a.IsUnspecified() {
			out = append(out, a)
			continue
		}
		for o := range own {
			if o.Is4() == a.Is4() && !o.IsLinkLocalUnicast() && (cfg.Network.IPv6 || o.Is4()) {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// turnTarget is an address under which clients find the relay.
type turnTarget struct {
	addr  netip.Addr
	local bool // an address of this machine: what is sent there never leaves it
}

// turnTargets are the best address of each family that clients are told.
func turnTargets(cfg config.Config) []turnTarget {
	own := localAddresses()
	var list []turnTarget
	auto := false
	for _, text := range cfg.Network.PublicAddresses {
		public, _, _ := strings.Cut(text, "/")
		auto = auto || text == "auto"
		if a, err := netip.ParseAddr(public); err == nil {
			list = append(list, turnTarget{a.Unmap(), own[a.Unmap()]})
		}
	}
	if auto {
		for _, a := range concreteListen(cfg) {
			if !a.IsLoopback() {
				list = append(list, turnTarget{a, true})
			}
		}
	}
	if len(list) == 0 { // a machine without a network
		for _, a := range concreteListen(cfg) {
			list = append(list, turnTarget{a, true})
		}
	}
	best := map[bool]turnTarget{}
	for _, t := range list {
		if b, ok := best[t.addr.Is4()]; !ok || better(t.addr, b.addr) {
			best[t.addr.Is4()] = t
		}
	}
	var out []turnTarget
	for _, v4 := range []bool{true, false} {
		if t, ok := best[v4]; ok && (v4 || cfg.Network.IPv6) {
			out = append(out, t)
		}
	}
	return out
}

// relaySelfTest uses the running server as clients do.
func (r *report) relaySelfTest(ctx context.Context, cfg config.Config) {
	t := &cfg.TURN
	if t.Mode == "off" {
		return
	}
	pid, err := runningServer(cfg.DataDir)
	if pid == 0 {
		why := "the server does not run"
		if err != nil {
			why = err.Error()
		}
		r.ok("TURN self-test", "not tried, as %s: it takes a running one", why)
		return
	}
	for _, target := range turnTargets(cfg) {
		at := func(port int) string { return netip.AddrPortFrom(target.addr, uint16(port)).String() }
		udp := t.UDP && r.answers(ctx, target, "udp", at(t.Port), "")
		tcp := t.Mode == "full" && t.TCP && r.answers(ctx, target, "tcp", at(t.Port), "")
		if t.Mode != "full" {
			continue
		}
		if t.TLS && cfg.TLS.Mode != "off" && t.TLSPort != 0 {
			r.answers(ctx, target, "tls", at(t.TLSPort), cfg.Domain)
		}
		switch {
		case udp:
			r.allocations(ctx, cfg, "udp", at(t.Port))
		case tcp:
			r.allocations(ctx, cfg, "tcp", at(t.Port))
		}
	}
	r.shared443(ctx, cfg)
}

// answers asks for a Binding, and says what the answer shows and what it does not.
func (r *report) answers(ctx context.Context, target turnTarget, network, address, name string) bool {
	subject := "STUN by " + strings.ToUpper(network)
	seen, err := binding(ctx, network, address, name)
	switch {
	case err == nil && target.local:
		r.ok(subject, "%s answers; as it is an address of this machine, that does not show what a firewall before it lets in", address)
	case err == nil:
		r.ok(subject, "%s answers, and sees this machine as %s: the NAT lets in what comes from inside; what comes from outside is not shown", address, seen.Addr())
	case target.local:
		r.fail(subject, "no answer from %s: %v", address, rootCause(err))
	default:
		r.warn(subject, "no answer from %s: %v. Either the NAT does not pass the port on, or it does not send back what comes from inside, as many don't: confab check --stun asks from outside", address, rootCause(err))
	}
	return err == nil
}

func binding(ctx context.Context, network, address, name string) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	c, err := probe.Dial(ctx, network, address, name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer c.Close()
	seen, _, err := c.Binding(ctx)
	return seen, err
}

// shared443 looks whether TURN over TLS gets through where the web is, under the name that
// people use: a proxy that takes HTTP only stands in its way (turn.md §7.10).
func (r *report) shared443(ctx context.Context, cfg config.Config) {
	if cfg.RelayOnly() || !cfg.TURN.Share443 || !cfg.TURN.TLS || cfg.TLS.Mode == "off" || cfg.Domain == "localhost" || len(cfg.Web.Listen) == 0 {
		return
	}
	_, port, err := net.SplitHostPort(cfg.Web.Listen[0])
	if err != nil {
		return
	}
	address := net.JoinHostPort(cfg.Domain, port)
	const subject = "TURN over TLS"
	if _, err := binding(ctx, "tls", address, cfg.Domain); err == nil {
		r.ok(subject, "%s answers TURN where the web is", address)
		return
	}
	dctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if c, err := probe.Dial(dctx, "tls", address, cfg.Domain); err == nil {
		_ = c.Close()
		r.warn(subject, "%s speaks TLS, but does not answer TURN: something before this server takes the web's requests only, such as a CDN or a proxy. People whose network lets only 443 through can't take part; give the relay a name that leads here (turn.servers)", address)
		return
	}
	r.warn(subject, "%s can't be reached from this machine: whether TURN gets through there is not shown", address)
}

// turnCredential is one that the running server takes.
func turnCredential(cfg config.Config, now time.Time) (credential.Credential, error) {
	var secret string
	if len(cfg.TURN.Secrets) > 0 {
		secret = string(cfg.TURN.Secrets[0])
	} else {
		s, err := readSecrets(filepath.Join(cfg.DataDir, secretsFile))
		if err != nil {
			return credential.Credential{}, err
		}
		if list := s.inForce(now); len(list) > 0 {
			secret = list[0].Value
		}
	}
	return credential.Secrets{secret}.Mint(now, time.Hour, "confab-check")
}

// allocations opens two, has one send to the other, and tries what must not go.
func (r *report) allocations(ctx context.Context, cfg config.Config, network, address string) {
	ctx, cancel := context.WithTimeout(ctx, 3*turnTimeout)
	defer cancel()
	cred, err := turnCredential(cfg, time.Now())
	if err != nil {
		r.warn("TURN", "not tried: %v", err)
		return
	}
	var clients [2]*probe.Client
	var relayed [2]netip.AddrPort
	for i := range clients {
		c, err := probe.Dial(ctx, network, address, "")
		if err == nil {
			defer c.Close()
			relayed[i], err = c.Allocate(ctx, cred)
		}
		if err != nil {
			r.fail("TURN", "no allocation at %s: %v", address, explainRefusal(err))
			return
		}
		defer func() { _ = c.Release(ctx) }() // it would end by itself
		clients[i] = c
	}
	toBridge := ""
	if bridge := netip.AddrPortFrom(relayed[0].Addr(), uint16(cfg.Bridge.UDPPort)); bridge.Port() != 0 && !cfg.RelayOnly() {
		if err := clients[0].Bind(ctx, stun.MinChannel, bridge); err != nil {
			r.fail("TURN", "clients that come through the relay can't reach the bridge at %s: %v", bridge, explainRefusal(err))
			return
		}
		toBridge = ", and lets them reach the bridge"
	}
	if err := errors.Join(clients[0].Permit(ctx, relayed[1].Addr()), clients[1].Permit(ctx, relayed[0].Addr())); err != nil {
		r.fail("TURN", "two allocations can't reach each other: %v", explainRefusal(err))
		return
	}

	canary, err := net.ListenUDP("udp", nil)
	if err != nil {
		r.warn("TURN", "not tried: %v", err)
		return
	}
	defer canary.Close()
	port := canary.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	var own []netip.Addr
	for a := range localAddresses() {
		if a.Is4() == relayed[0].Addr().Is4() && !a.IsLinkLocalUnicast() {
			own = append(own, a)
		}
	}
	var open []string
	if a := relayed[0].Addr(); !slices.Contains(own, a) {
		own = append(own, a)
	}
	for i, a := range own {
		if clients[0].Permit(ctx, a) == nil { // at the bridge's port
			_ = clients[0].Send(netip.AddrPortFrom(a, port), []byte("confab check"))
		}
		for j, other := range controlPorts(cfg) {
			peer := netip.AddrPortFrom(a, other)
			if clients[0].Bind(ctx, stun.MinChannel+1+uint16(4*i+j), peer) == nil {
				open = append(open, peer.String())
			}
		}
	}
	if err := relays(ctx, clients[0], clients[1], relayed[1]); err != nil {
		r.fail("TURN", "nothing got from one allocation at %s to the other: %v", address, err)
		return
	}
	r.ok("TURN", "%s gives allocations at %s, relays between them%s", address, relayed[0].Addr(), toBridge)
	if err := canary.SetReadDeadline(time.Now().Add(canaryWait)); err != nil {
		r.warn("TURN", "%v", err)
		return
	}
	if _, _, err := canary.ReadFrom(make([]byte, 100)); err == nil {
		r.fail("TURN peers", "clients reach other ports of this machine through the relay (tried with UDP %d): whatever listens here is open to them", port)
		return
	}

	for _, peer := range forbiddenPeers(cfg) {
		if err := clients[0].Permit(ctx, peer); err == nil {
			open = append(open, peer.String())
		} else if _, refused := errors.AsType[probe.Refused](err); !refused {
			r.warn("TURN peers", "not all tried: %v", err)
			return
		}
	}
	if len(open) > 0 {
		r.fail("TURN peers", "clients may reach %s through the relay", strings.Join(open, ", "))
		return
	}
	r.ok("TURN peers", "loopback, cloud metadata and unspecified addresses in all spellings are refused, and ports of this machine but the bridge's (tried: UDP %d, SSH, admin.listen)", port)
}

// controlPorts are ports of this machine that nobody may reach through the relay: SSH's
// and that of the admin listener.
func controlPorts(cfg config.Config) []uint16 {
	list := []uint16{22}
	if _, text, err := net.SplitHostPort(cfg.Admin.Listen); err == nil {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil && n != 0 {
			list = append(list, uint16(n))
		}
	}
	return list
}

// forbiddenPeers are refused whatever is set, unless the bridge is announced there.
func forbiddenPeers(cfg config.Config) []netip.Addr {
	var out []netip.Addr
	for _, text := range []string{
		"127.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "::ffff:169.254.169.254",
		"64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fd00:ec2::254", "224.0.0.1", "255.255.255.255",
	} {
		a := netip.MustParseAddr(text)
		if !slices.ContainsFunc(cfg.Network.PublicAddresses, func(s string) bool {
			return slices.Contains(strings.Split(s, "/"), a.Unmap().String())
		}) {
			out = append(out, a)
		}
	}
	return out
}

// relays sends from one client to the relayed address of another until something comes.
func relays(ctx context.Context, from, to *probe.Client, at netip.AddrPort) error {
	var err error
	for range relayTries {
		if err = from.Send(at, []byte("confab check")); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, canaryWait)
		_, err = to.Receive(wait)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// explainRefusal says what a code means here.
func explainRefusal(err error) error {
	code, ok := errors.AsType[probe.Refused](err)
	if !ok {
		return rootCause(err)
	}
	switch code {
	case 401:
		return errors.New("the server does not take the secret of this configuration: was it started with another?")
	case 403:
		return errors.New("the address is refused")
	case 486:
		return errors.New("a quota is full (turn.quota_*)")
	case 508:
		return errors.New("no port of the relay range is free")
	}
	return code
}

// outside asks a server elsewhere to send packets to our ports, and says what each shows.
func (r *report) outside(ctx context.Context, cfg config.Config, helper string) {
	if _, _, err := net.SplitHostPort(helper); err != nil {
		helper = net.JoinHostPort(strings.Trim(helper, "[]"), "3478")
	}
	type use struct {
		port int
		what string
	}
	var ports []use
	if !cfg.RelayOnly() {
		ports = append(ports, use{cfg.Bridge.UDPPort, "media"})
	}
	if t := &cfg.TURN; t.Mode != "off" && t.UDP {
		ports = append(ports, use{t.Port, "STUN and TURN"})
		if t.Mode == "full" && !t.Peers.OnlyBridge {
			for _, n := range []int{t.MinPort, (t.MinPort + t.MaxPort) / 2, t.MaxPort} {
				ports = append(ports, use{n, "relayed media"})
			}
		}
	}
	told := false
	for _, p := range ports {
		subject := fmt.Sprintf("outside, UDP %d", p.port)
		pctx, cancel := context.WithTimeout(ctx, 2*turnTimeout)
		mapped, arrived, err := probe.Arrival(pctx, helper, uint16(p.port))
		cancel()
		if mapped.IsValid() && !told {
			told = true
			if slices.Contains(ownAddresses(cfg), mapped) {
				r.ok("public address", "%s sees this machine as %s, which is announced", helper, mapped)
			} else {
				r.warn("public address", "%s sees this machine as %s, which is not announced: network.public_addresses = [\"auto\", \"%s\"]", helper, mapped, mapped)
			}
		}
		switch {
		case errors.Is(err, probe.ErrNoHelp):
			r.warn("from outside", "%s does not send to other ports: it takes a server with RFC 5780, such as another Confab with turn.rfc5780 on a machine with two addresses", helper)
			return
		case errors.Is(err, syscall.EADDRINUSE):
			r.ok(subject, "not tried, the port is in use: stop the server for it (%s)", p.what)
		case err != nil:
			r.warn("from outside", "%s can't be asked: %v", helper, rootCause(err))
			return
		case arrived:
			r.ok(subject, "open: a packet from %s came in that nobody here had asked for (%s)", helper, p.what)
		default:
			r.fail(subject, "closed: nothing came from %s, three times (%s). Pass the port on at the router, and open it in the firewall", helper, p.what)
		}
	}
	r.ok("from outside", "TCP ports are not shown by this")
}
