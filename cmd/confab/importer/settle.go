package importer

// What several options of a turnserver.conf settle together.

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"confab/cmd/confab/config"
)

// settleListeners is about ports, which are shared with a web server here.
func (c *Import) settleListeners() {
	port := 3478
	if n, ok := c.port(c.listeningPort); ok {
		port = n
		c.set("turn.port", n, c.listeningPort)
		if tcp, set := c.keys["turn.tcp"]; (n == 443 || n == 80) && !c.relayOnly && (!set || tcp.value == true) {
			c.set("turn.tcp", false, c.listeningPort)
			c.tell(c.listeningPort.lost(fmt.Sprintf("on TCP %d is the web: TURN over TLS is answered on 443 as well (turn.share_443), plain TURN over TCP is not", n)))
		}
	}
	if n, ok := c.port(c.tlsPort); ok {
		switch {
		case n == 443 && !c.relayOnly:
			c.set("turn.tls_port", 0, c.tlsPort)
			c.tell(c.tlsPort.note("443 is HTTPS and TURN over TLS at once (turn.share_443)"))
		case n == 80 && !c.relayOnly:
			c.set("turn.tls_port", 0, c.tlsPort)
			c.tell(c.tlsPort.lost("on TCP 80 is the web: TURN over TLS is answered on 443 (turn.share_443)"))
		case n == port && (c.keys["turn.tcp"] == nil || c.keys["turn.tcp"].value == true):
			c.set("turn.tls_port", 0, c.tlsPort)
			c.tell(c.tlsPort.note("turn.port answers TLS, too"))
		default:
			c.set("turn.tls_port", n, c.tlsPort)
		}
	}
	if k := c.keys["turn.dtls"]; k != nil && k.value == true {
		if p := c.keys["turn.tls_port"]; p != nil && p.value == 0 {
			delete(c.keys, "turn.dtls")
			c.tell(finding{k.lines[0], notCarried, "dtls: needs a port of its own: set turn.tls_port and turn.dtls"})
		}
	}
	alt, given := c.port(c.altPort)
	switch {
	case c.rfc5780.number > 0:
		if !given {
			alt = port + 1 // coturn's rule
		}
		c.set("turn.rfc5780", true, c.rfc5780)
		c.set("turn.alt_port", alt, c.altPort)
	case c.altPort.number > 0:
		c.tell(c.altPort.idle("for NAT behaviour discovery, which is off (turn.rfc5780)"))
	}
	low, lowSet := c.port(c.minPort)
	high, highSet := c.port(c.maxPort)
	if !lowSet {
		low = 49152
	}
	if !highSet {
		high = 65535
	}
	switch {
	case !lowSet && !highSet:
	case low < 1024:
		c.tell(c.minPort.lost("relayed ports begin at 1024"))
	case high < low:
		c.tell(finding{max(c.minPort.number, c.maxPort.number), notCarried, fmt.Sprintf("min-port, max-port: %d is more than %d", low, high)})
	default:
		if lowSet {
			c.set("turn.min_port", low, c.minPort)
		}
		if highSet {
			c.set("turn.max_port", high, c.maxPort)
		}
	}
}

// settleAddresses is about what is bound and what is announced.
func (c *Import) settleAddresses() {
	list := func(key string, from []coturnAddress) {
		var out []string
		var lines []coturnLine
		for _, a := range from {
			out, lines = append(out, a.addr.String()), append(lines, a.line)
		}
		if len(out) > 0 {
			c.set(key, out, lines...)
		}
	}
	list("turn.listen", c.listen)
	for _, a := range c.relays {
		if a.addr.IsUnspecified() {
			c.tell(a.line.lost("name single addresses"))
		}
	}
	announced := []string{"auto"}
	var lines []coturnLine
	single := false
	for _, l := range c.external {
		text, private, pair := strings.Cut(l.value, "/")
		public, err := netip.ParseAddr(strings.TrimSpace(text))
		var local netip.Addr
		if pair && err == nil {
			local, err = netip.ParseAddr(strings.TrimSpace(private))
		}
		switch {
		case err != nil || public.Zone() != "" || local.Zone() != "":
			c.tell(l.lost(fmt.Sprintf("%q is neither an address nor PUBLIC/PRIVATE", l.value)))
			continue
		case pair && public.Unmap().Is4() != local.Unmap().Is4():
			c.tell(l.lost("one address is IPv4, the other IPv6"))
			continue
		case !pair && single:
			c.tell(l.lost("coturn takes only the first that is no pair"))
			continue
		case pair:
			c.tell(l.note("coturn lets clients relay to any port of " + local.String() + "; here it is the bridge's alone"))
		default:
			single = true
			local = c.only(public.Is4())
		}
		entry := public.String()
		if local.IsValid() {
			entry += "/" + local.String()
		}
		if !slices.Contains(announced, entry) {
			announced, lines = append(announced, entry), append(lines, l)
		}
	}
	if len(lines) > 0 {
		c.set("network.public_addresses", announced, lines...)
	}
	// coturn: without relay-ip sockets are opened on the addresses listened on, if any
	// are given. Loopback is not among ours unless it is announced.
	relays := c.relays
	if len(relays) == 0 {
		relays = c.listen
	}
	list("turn.relay_addresses", slices.DeleteFunc(slices.Clone(relays), func(a coturnAddress) bool {
		return a.addr.IsUnspecified() || a.addr.IsLoopback() && !slices.ContainsFunc(announced, func(s string) bool {
			return slices.Contains(strings.Split(s, "/"), a.addr.String())
		})
	}))
}

// only is the one address of a family that relayed sockets can have, if the file
// says so: what a lone external-ip is mapped to.
func (c *Import) only(v4 bool) netip.Addr {
	list := c.relays
	if len(list) == 0 {
		list = c.listen
	}
	var found netip.Addr
	for _, a := range list {
		if a.addr.Is4() != v4 || a.addr.IsLoopback() {
			continue
		}
		if found.IsValid() || a.addr.IsUnspecified() {
			return netip.Addr{}
		}
		found = a.addr
	}
	return found
}

// shortestSecret is what turn.secrets takes at least.
const shortestSecret = 16

// settleCredentials is about who may relay.
func (c *Import) settleCredentials() {
	var list []config.Secret
	var lines []coturnLine
	for _, l := range c.secrets {
		switch {
		case len(l.value) < shortestSecret:
			c.tell(l.lost(fmt.Sprintf("a secret of less than %d bytes can be guessed; without turn.secrets a new one is made", shortestSecret)))
		case !slices.Contains(list, config.Secret(l.value)):
			list, lines = append(list, config.Secret(l.value)), append(lines, l)
		}
	}
	if len(list) > 0 {
		c.set("turn.secrets", list, lines...)
	}
	timed := c.authSecret.number > 0 || len(c.secrets) > 0
	longTerm := false
	if c.longTerm.number > 0 {
		longTerm, _ = c.longTerm.on()
	}
	if c.authSecret.number > 0 {
		if len(c.secrets) == 0 {
			c.tell(c.authSecret.lost("the secrets are in coturn's database: turnadmin -S -r REALM shows them, for turn.secrets"))
		} else {
			c.tell(c.authSecret.idle("always on"))
		}
	}
	for _, l := range c.users {
		name, key, ok := strings.Cut(l.value, ":")
		switch {
		case timed:
			c.tell(l.idle("coturn does not look at users beside use-auth-secret"))
		case !ok || name == "":
			c.tell(l.lost("has no colon"))
		case strings.HasPrefix(key, "0x"):
			c.tell(l.lost(fmt.Sprintf("users are kept in the database: confab turn user add %s --key, with the key on stdin; it counts as long as turn.realm stays", ShellWord(name))))
		default:
			c.tell(l.lost(fmt.Sprintf("users are kept in the database: confab turn user add %s, with the password on stdin", ShellWord(name))))
		}
	}
	switch mode := c.keys["turn.mode"]; {
	case timed || len(c.users) > 0 || mode != nil:
		if longTerm && timed {
			c.tell(c.longTerm.idle("use-auth-secret includes it"))
		}
	case longTerm:
		c.tell(c.longTerm.lost("the users are in coturn's database: add them with confab turn user add"))
	default:
		c.tell(finding{0, carriedOver, "nothing in the file asks for credentials, so coturn relays for anybody. Here clients need them: those in meetings get them, others by turn.secrets"})
	}
}

// ShellWord quotes a name for a shell.
func ShellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.@-/", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// settlePeers is about who may be relayed to.
func (c *Import) settlePeers() {
	read := func(list []coturnLine) map[int][]netip.Prefix {
		out := map[int][]netip.Prefix{}
		for i, l := range list {
			ps, err := peerRange(l.value)
			if err != nil {
				c.tell(l.lost(err.Error()))
				continue
			}
			// All mapped addresses would be all of IPv4.
			if slices.Contains(ps, netip.PrefixFrom(netip.IPv4Unspecified(), 0)) && strings.Contains(l.value, ":") {
				c.tell(l.idle("such an address is judged as the IPv4 one that it stands for"))
				continue
			}
			out[i] = ps
		}
		return out
	}
	anyway := slices.Concat(neverPeers, specialPeers)
	denied := read(c.denied)
	var all []netip.Prefix
	for _, ps := range denied {
		all = append(all, ps...)
	}
	noPrivate := true
	for _, p := range privatePeers[:3] { // those of RFC 1918
		noPrivate = noPrivate && within(p, all)
	}
	var deny []string
	var denyLines, privateLines []coturnLine
	for i, l := range c.denied {
		var left, private []netip.Prefix
		for _, p := range denied[i] {
			switch {
			case within(p, anyway):
			case noPrivate && within(p, slices.Concat(anyway, privatePeers)):
				private = append(private, p)
			default:
				left = append(left, p)
			}
		}
		switch {
		case len(denied[i]) == 0:
		case len(left) > 0:
			for _, p := range left {
				if !slices.Contains(deny, p.String()) {
					deny = append(deny, p.String())
				}
			}
			denyLines = append(denyLines, l)
		case len(private) > 0:
			privateLines = append(privateLines, l)
		default:
			c.tell(l.idle("refused without being asked to"))
		}
	}
	if len(privateLines) > 0 {
		c.set("turn.peers.private", "off", privateLines...)
	}
	if len(deny) > 0 {
		c.set("turn.peers.deny", deny, denyLines...)
	}

	allowed := read(c.allowed)
	var allow []string
	var allowLines []coturnLine
	for i, l := range c.allowed {
		taken := false
		for _, p := range allowed[i] {
			if within(p, neverPeers) {
				c.tell(l.lost(p.String() + " is refused whatever is set"))
				continue
			}
			taken = true
			if !slices.Contains(allow, p.String()) {
				allow = append(allow, p.String())
			}
		}
		if taken {
			allowLines = append(allowLines, l)
		}
	}
	if len(allow) > 0 {
		c.set("turn.peers.allow", allow, allowLines...)
		c.tell(allowLines[0].note("addresses of this machine itself are open at the bridge's port alone, without being named here"))
	}
}

// settleLog is about where the log goes, and the certificate.
func (c *Import) settleLog() {
	toSyslog := false
	if c.syslog.number > 0 {
		toSyslog, _ = c.syslog.on()
	}
	file := c.logFile
	switch {
	case toSyslog:
		c.set("log.output", "syslog", c.syslog)
		if file.number > 0 {
			c.tell(file.idle("syslog has the log"))
		}
	case file.number == 0:
	case file.value == "syslog":
		c.set("log.output", "syslog", file)
	case file.value == "stdout" || file.value == "-":
		c.set("log.output", "stderr", file)
	case !filepath.IsAbs(file.value):
		c.tell(file.lost("is no path from the root: set log.output = \"file\" and log.file"))
	default:
		c.set("log.output", "file", file)
		c.set("log.file", file.value, file)
		c.tell(file.note("the user that Confab runs as must be able to write there; the name is taken as it is, and SIGHUP opens the file anew, as logrotate wants"))
	}
	switch cert, pkey := c.cert, c.pkey; {
	case cert.number > 0 && pkey.number > 0 && cert.value != "" && pkey.value != "":
		c.set("tls.cert", cert.file(c.dir), cert)
		c.set("tls.key", pkey.file(c.dir), pkey)
	case cert.number > 0:
		c.tell(cert.lost("pkey is missing: set tls.cert and tls.key, or acme"))
	case pkey.number > 0:
		c.tell(pkey.lost("cert is missing: set tls.cert and tls.key, or acme"))
	}
}

// settleAlternates is about relays elsewhere, to which coturn sends all clients on.
func (c *Import) settleAlternates() {
	var all []coturnLine
	for key, lines := range map[string][]coturnLine{"turn.alternate_servers": c.alternates, "turn.tls_alternate_servers": c.tlsAlternates} {
		port := uint16(3478)
		if key == "turn.tls_alternate_servers" {
			port = 5349
		}
		var list []string
		var taken []coturnLine
		for _, l := range lines {
			ap, err := netip.ParseAddrPort(l.value)
			if err != nil {
				var a netip.Addr
				a, err = netip.ParseAddr(strings.Trim(l.value, "[]"))
				ap = netip.AddrPortFrom(a, port)
			}
			if err != nil || ap.Port() == 0 {
				c.tell(l.lost(fmt.Sprintf("%q is no address with a port", l.value)))
				continue
			}
			list, taken = append(list, ap.String()), append(taken, l)
		}
		if len(list) == 0 {
			continue
		}
		all = append(all, taken...)
		c.set(key, list, taken...)
		if port == 5349 {
			c.tell(taken[0].note("clients on TLS check a name: give it behind each address, as 203.0.113.9:5349/relay.example.org"))
		}
	}
	if len(all) > 0 {
		slices.SortFunc(all, func(a, b coturnLine) int { return a.number - b.number })
		c.set("turn.alternate", "always", all...)
	}
}
