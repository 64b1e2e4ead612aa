package main

// confab import: what each option of coturn is here (turn.md §5).

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// coturnImport turns a coturn file into ours.
type coturnImport struct {
	dir       string // of the file: what relative paths start from
	relayOnly bool   // there is no web to share ports with

	keys     map[string]*importedKey
	findings []finding

	listen, relays                           []coturnAddress
	external                                 []coturnLine
	allowed, denied, users, secrets          []coturnLine
	syslog, logFile, cert, pkey              coturnLine // without a number: not there
	authSecret, longTerm, minPort, maxPort   coturnLine
	listeningPort, tlsPort, altPort, rfc5780 coturnLine
}

// importedKey is a key of ours and the lines that it comes from.
type importedKey struct {
	value any // bool, int, string, Secret, []string, []Secret
	lines []int
}

type coturnAddress struct {
	line coturnLine
	addr netip.Addr
}

// importCoturn reads a file that lies in dir. relayOnly makes a configuration for a host
// that does nothing but relay.
func importCoturn(text, dir string, relayOnly bool) *coturnImport {
	c := &coturnImport{dir: dir, relayOnly: relayOnly, keys: map[string]*importedKey{}}
	if relayOnly {
		c.set("node.roles", []string{"turn"})
	}
	lines, bad := readCoturn(text)
	c.findings = bad
	last := map[string]int{}
	for i, l := range lines {
		last[l.name] = i
	}
	for i, l := range lines {
		o, known := coturnOptions[l.name]
		switch {
		case !known:
			c.tell(l.lost("coturn has no such option"))
		case !o.many && last[l.name] != i:
			c.tell(l.idle(fmt.Sprintf("line %d says it again", lines[last[l.name]].number)))
		default:
			c.option(o, l)
		}
	}
	c.settleListeners()
	c.settleAddresses()
	c.settleCredentials()
	c.settlePeers()
	c.settleLog()
	slices.SortStableFunc(c.findings, func(a, b finding) int { return a.line - b.line })
	return c
}

func (c *coturnImport) option(o coturnOption, l coturnLine) {
	if o.flag {
		on, ok := l.on()
		if !ok {
			c.tell(l.lost(fmt.Sprintf("%q is neither on nor off", l.value)))
			return
		}
		if !on && o.take == nil {
			c.tell(l.idle("is off"))
			return
		}
	} else if i := strings.Index(l.value, " #"); i >= 0 || strings.HasSuffix(l.value, ";") {
		c.tell(l.note("there are no comments behind a value and no semicolons: coturn takes all of it for the value, and so it was taken here"))
	}
	switch {
	case o.take != nil:
		o.take(c, l)
	case o.lost != "":
		c.tell(l.lost(o.lost))
	default:
		c.tell(l.idle(o.idle))
	}
}

func (c *coturnImport) tell(f finding) { c.findings = append(c.findings, f) }

func (c *coturnImport) set(key string, value any, lines ...coturnLine) {
	k := &importedKey{value: value}
	for _, l := range lines {
		k.lines = append(k.lines, l.number)
	}
	c.keys[key] = k
}

// coturnOption is what becomes of an option: take carries it over; without it there
// is a reason why nothing is missing, or why something is.
type coturnOption struct {
	take       func(*coturnImport, coturnLine)
	idle, lost string
	many       bool // each line counts, not only the last
	flag       bool // a switch
}

const (
	bySystemd    = "systemd's, or the container's: see docs/operating.md"
	byAdmin      = "figures are on admin.listen, http://127.0.0.1:8888/metrics"
	notInClear   = "there is no administration over telnet or the web: the HTTP interface has it (docs/operating.md)"
	byGoTLS      = "TLS 1.2 and 1.3 with ECDHE only; suites and curves are fixed"
	noDatabase   = "coturn's databases are not read; add its users with confab turn user add, its secrets to turn.secrets"
	alwaysBatch  = "packets go in batches without being asked to"
	noMultiplex  = "each allocation has a socket; what goes to the bridge takes no socket at all"
	noAlternate  = "clients are not sent on; list all relays as [[turn.servers]], clients choose among them"
	fixedByRFC   = "fixed: that of RFC 8656"
	logsAnyway   = "times are part of each line"
	noStatsRedis = "no figures in Redis; " + byAdmin
)

// coturnOptions are those of coturn 4.17 (mainrelay.c: long_options), and those that
// older versions had.
var coturnOptions = map[string]coturnOption{
	"listening-port":         {take: func(c *coturnImport, l coturnLine) { c.listeningPort = l }},
	"tls-listening-port":     {take: func(c *coturnImport, l coturnLine) { c.tlsPort = l }},
	"alt-listening-port":     {take: func(c *coturnImport, l coturnLine) { c.altPort = l }},
	"alt-tls-listening-port": {idle: "NAT behaviour discovery uses UDP only"},
	"tcp-proxy-port":         {lost: "the PROXY protocol is not understood"},
	"listening-ip":           {many: true, take: func(c *coturnImport, l coturnLine) { c.address(l, &c.listen) }},
	"relay-ip":               {many: true, take: func(c *coturnImport, l coturnLine) { c.address(l, &c.relays) }},
	"external-ip":            {many: true, take: func(c *coturnImport, l coturnLine) { c.external = append(c.external, l) }},
	"listening-device":       {lost: "name the interface's addresses in turn.listen, or the interface in network.bind"},
	"relay-device":           {lost: "name the interface's address in turn.relay_addresses"},
	"min-port":               {take: func(c *coturnImport, l coturnLine) { c.minPort = l }},
	"max-port":               {take: func(c *coturnImport, l coturnLine) { c.maxPort = l }},
	"aux-server":             {many: true, lost: "one set of ports for all addresses: turn.listen, turn.port"},
	"udp-self-balance":       {flag: true, idle: "all cores serve one port"},
	"relay-threads":          {idle: "one for each core"},
	"cpus":                   {idle: "one for each core; GOMAXPROCS bounds them"},
	"sock-buf-size":          {idle: "as large as net.core.rmem_max lets them be"},
	"ne":                     {idle: "there is one engine"},

	"no-udp":                     {flag: true, take: takeNot("turn.udp")},
	"no-tcp":                     {flag: true, take: (*coturnImport).noTCP},
	"no-tls":                     {flag: true, take: takeNot("turn.tls")},
	"dtls":                       {flag: true, take: takeFlag("turn.dtls")},
	"no-dtls":                    {flag: true, idle: "DTLS is off (turn.dtls)"},
	"no_dtls":                    {flag: true, idle: "DTLS is off (turn.dtls)"},
	"no-udp-relay":               {flag: true, lost: "UDP is what is relayed"},
	"no-tcp-relay":               {flag: true, take: (*coturnImport).noTCPRelay},
	"stun-only":                  {flag: true, take: (*coturnImport).stunOnly},
	"no-turn":                    {flag: true, take: (*coturnImport).stunOnly}, // coturn has no such option, guides do
	"no-stun":                    {flag: true, lost: "Binding requests are always answered"},
	"secure-stun":                {flag: true, lost: "browsers send Binding requests without credentials"},
	"fingerprint":                {flag: true, take: takeChoice("turn.fingerprint", "always", "auto")},
	"mobility":                   {flag: true, take: takeFlag("turn.mobility")},
	"software-attribute":         {flag: true, take: takeFlag("turn.software")},
	"no-software-attribute":      {flag: true, take: takeNot("turn.software")},
	"prod":                       {flag: true, take: takeNot("turn.software")}, // coturn 4.5: its older name
	"rfc5780":                    {take: func(c *coturnImport, l coturnLine) { c.rfc5780 = l }},
	"no-rfc5780":                 {idle: "NAT behaviour discovery is off (turn.rfc5780)"},
	"keep-address-family":        {flag: true, idle: "the relayed address is of the client's family unless the client asks for another"},
	"stale-nonce":                {take: takeSeconds("turn.nonce_ttl", 600, 30*time.Second)},
	"stateless-nonce":            {flag: true, idle: "nonces are always stateless"},
	"stateless-nonce-secret":     {idle: "kept in the data directory; clients get a new nonce by themselves"},
	"max-allocate-lifetime":      {take: takeSeconds("turn.max_lifetime", 3600, 10*time.Minute)},
	"channel-lifetime":           {idle: fixedByRFC},
	"permission-lifetime":        {idle: fixedByRFC},
	"max-allocate-timeout":       {idle: "nothing is kept of a client before it has authenticated; connections have seconds"},
	"unauthorized-ratelimit":     {flag: true, take: (*coturnImport).rateLimit},
	"unauthorized-ratelimit-rps": {take: takeNumber("turn.unauthorized_rate")},

	"allocation-default-address-family": {take: (*coturnImport).addressFamily},
	"stun-backward-compatibility":       {flag: true, lost: "clients of RFC 3489 are not answered"},
	"no-stun-backward-compatibility":    {flag: true, idle: "clients of RFC 3489 are not answered"},
	"rfc3489-compatibility":             {flag: true, lost: "clients of RFC 3489 are not answered"},
	"rfc5766-channel-numbers":           {flag: true, idle: "always so"},
	"response-origin-only-with-rfc5780": {flag: true, idle: "always so"},
	"respond-http-unsupported":          {flag: true, idle: "HTTPS has its own answer on its own port"},
	"include-reason-string":             {flag: true, lost: "errors have the standard phrase only"},
	"drop-invalid-packets":              {flag: true, idle: "always so"},
	"drop-invalid-packets-log":          {flag: true, idle: "they are counted (/metrics)"},

	"use-auth-secret":          {take: func(c *coturnImport, l coturnLine) { c.authSecret = l }},
	"static-auth-secret":       {many: true, take: func(c *coturnImport, l coturnLine) { c.secrets = append(c.secrets, l) }},
	"lt-cred-mech":             {flag: true, take: func(c *coturnImport, l coturnLine) { c.longTerm = l }},
	"user":                     {many: true, take: func(c *coturnImport, l coturnLine) { c.users = append(c.users, l) }},
	"no-auth":                  {flag: true, take: refuse("makes a relay for anybody: there is none here. Take the line out, and give clients credentials")},
	"server-relay":             {flag: true, take: refuse("lets anybody send to relayed addresses without permission: there is no such thing here. Take the line out")},
	"realm":                    {take: (*coturnImport).realm},
	"rest-api-separator":       {take: (*coturnImport).separator},
	"user-quota":               {take: takeQuota("turn.quota_user")},
	"total-quota":              {take: takeNumber("turn.quota_total")},
	"max-bps":                  {take: takeNumber("turn.max_bps")},
	"bps-capacity":             {take: takeNumber("turn.total_bps")},
	"server-name":              {lost: "third-party authorization (OAuth) is not offered"},
	"oauth":                    {flag: true, lost: "third-party authorization (OAuth) is not offered"},
	"check-origin-consistency": {flag: true, idle: "there is one realm, whatever the origin"},
	"no-auth-pings":            {idle: "about coturn's databases"},
	"no-dynamic-ip-list":       {idle: "about coturn's databases"},
	"no-dynamic-realms":        {idle: "about coturn's databases"},
	"userdb":                   {lost: noDatabase},
	"db":                       {lost: noDatabase},
	"psql-userdb":              {lost: noDatabase},
	"sql-userdb":               {lost: noDatabase},
	"mysql-userdb":             {lost: noDatabase},
	"mongo-userdb":             {lost: noDatabase},
	"redis-userdb":             {lost: noDatabase},
	"secret-key-file":          {idle: "about coturn's databases"},
	"redis-statsdb":            {lost: noStatsRedis},

	"cert":            {take: func(c *coturnImport, l coturnLine) { c.cert = l }},
	"pkey":            {take: func(c *coturnImport, l coturnLine) { c.pkey = l }},
	"pkey-pwd":        {lost: "keys with a password are not read: openssl pkey -in KEY -out NEWKEY takes it off; then set tls.key"},
	"CA-file":         {lost: "clients are not asked for certificates"},
	"raw-public-keys": {flag: true, lost: "certificates only"},
	"cipher-list":     {idle: byGoTLS},
	"ec-curve-name":   {idle: byGoTLS},
	"dh-file":         {idle: byGoTLS},
	"dh566":           {flag: true, idle: byGoTLS},
	"dh1066":          {flag: true, idle: byGoTLS},
	"dh2066":          {flag: true, idle: byGoTLS},
	"no-sslv2":        {flag: true, idle: byGoTLS},
	"no-sslv3":        {flag: true, idle: byGoTLS},
	"no-tlsv1":        {flag: true, idle: byGoTLS},
	"no-tlsv1_1":      {flag: true, idle: byGoTLS},
	"no-tlsv1_2":      {flag: true, lost: byGoTLS},
	"tlsv1":           {flag: true, lost: byGoTLS},
	"tlsv1_1":         {flag: true, lost: byGoTLS},
	"acme-redirect":   {idle: "certificates by ACME are built in (acme)"},

	"allowed-peer-ip":      {many: true, take: func(c *coturnImport, l coturnLine) { c.allowed = append(c.allowed, l) }},
	"denied-peer-ip":       {many: true, take: func(c *coturnImport, l coturnLine) { c.denied = append(c.denied, l) }},
	"no-multicast-peers":   {flag: true, idle: "always refused"},
	"no-loopback-peers":    {flag: true, idle: "always refused"},
	"allow-loopback-peers": {flag: true, lost: "loopback is always refused, but for the bridge when network.public_addresses names it"},

	"syslog":                   {flag: true, take: func(c *coturnImport, l coturnLine) { c.syslog = l }},
	"syslog-facility":          {take: (*coturnImport).facility},
	"log-file":                 {take: func(c *coturnImport, l coturnLine) { c.logFile = l }},
	"simple-log":               {flag: true, idle: "the file's name is taken as it is; SIGHUP opens it anew"},
	"no-stdout-log":            {flag: true, idle: "the log goes to one place"},
	"new-log-timestamp":        {flag: true, idle: logsAnyway},
	"new-log-timestamp-format": {idle: logsAnyway},
	"log-min-level":            {take: (*coturnImport).level},
	"verbose":                  {flag: true, take: (*coturnImport).verbose},
	"Verbose":                  {flag: true, take: (*coturnImport).verbose},
	"log-binding":              {flag: true, lost: "Binding requests are counted, not logged"},

	"prometheus":                 {idle: byAdmin},
	"prometheus-port":            {lost: byAdmin},
	"prometheus-address":         {lost: byAdmin},
	"prometheus-path":            {lost: byAdmin},
	"prometheus-username-labels": {lost: "users are no labels; allocations are in the HTTP interface"},
	"prometheus-tls":             {flag: true, lost: byAdmin},
	"prometheus-cert":            {lost: byAdmin},
	"prometheus-key":             {lost: byAdmin},
	"cli":                        {flag: true, lost: notInClear},
	"no-cli":                     {idle: "there is none"},
	"cli-ip":                     {idle: notInClear},
	"cli-port":                   {idle: notInClear},
	"cli-password":               {idle: notInClear},
	"cli-max-output-sessions":    {idle: notInClear},
	"web-admin":                  {flag: true, lost: notInClear},
	"web-admin-ip":               {idle: notInClear},
	"web-admin-port":             {idle: notInClear},

	"web-admin-listen-on-workers": {flag: true, idle: notInClear},
	"proc-user":                   {idle: bySystemd},
	"proc-group":                  {idle: bySystemd},
	"pidfile":                     {idle: bySystemd},
	"daemon":                      {flag: true, idle: bySystemd},
	"drain-min-allocations":       {lost: "node.drain_timeout says how long to wait"},

	"alternate-server":         {many: true, lost: noAlternate},
	"tls-alternate-server":     {many: true, lost: noAlternate},
	"tcp-alternate-server":     {many: true, lost: noAlternate},
	"udp-alternate-server":     {many: true, lost: noAlternate},
	"multiplex-peer":           {lost: noMultiplex},
	"multiplex-peer-port":      {lost: noMultiplex},
	"multiplex-peer-max-peers": {lost: noMultiplex},
	"udp-recvmmsg":             {flag: true, idle: alwaysBatch},
	"udp-recvmmsg-log":         {flag: true, idle: alwaysBatch},
	"udp-sendmmsg-log":         {flag: true, idle: alwaysBatch},
	"udp-gso":                  {flag: true, idle: alwaysBatch},
	"version":                  {idle: "prints coturn's version"},
}

func takeFlag(key string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		on, _ := l.on()
		c.set(key, on, l)
	}
}

func takeNot(key string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		on, _ := l.on()
		c.set(key, !on, l)
	}
}

func takeChoice(key, on, off string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		value := off
		if yes, _ := l.on(); yes {
			value = on
		}
		c.set(key, value, l)
	}
}

// digits tells what is wrong with a number.
func (c *coturnImport) digits(l coturnLine) (int, bool) {
	n, all, ok := l.digits()
	switch {
	case !ok:
		c.tell(l.lost(fmt.Sprintf("%q is no number", l.value)))
	case !all:
		c.tell(l.note(fmt.Sprintf("read as %d", n)))
	}
	return n, ok
}

func takeNumber(key string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		if n, ok := c.digits(l); ok {
			c.set(key, n, l)
		}
	}
}

// takeQuota is a number of which 0 is no limit there, and not possible here.
func takeQuota(key string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		n, ok := c.digits(l)
		switch {
		case ok && n == 0:
			c.tell(l.lost("there is always a limit; " + key + " may be as high as you like"))
		case ok:
			c.set(key, n, l)
		}
	}
}

// takeSeconds is a number of seconds; without one it is standard.
func takeSeconds(key string, standard int, least time.Duration) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		n := standard
		if l.value != "" {
			var ok bool
			if n, ok = c.digits(l); !ok {
				return
			}
		}
		const most = 24 * time.Hour
		d := time.Duration(n) * time.Second
		switch {
		case n == 0:
			c.tell(l.lost("there is always an end; " + key + " may be up to 24h"))
		case d < least || d > most:
			c.tell(l.lost(fmt.Sprintf("%v is not between %v and %v", d, least, most)))
		default:
			c.set(key, shortDuration(d), l)
		}
	}
}

// shortDuration is "10m" where Duration.String is "10m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func refuse(why string) func(*coturnImport, coturnLine) {
	return func(c *coturnImport, l coturnLine) {
		if on, _ := l.on(); on {
			c.tell(finding{l.number, makesRefusal, l.name + ": " + why})
			return
		}
		c.tell(l.idle("is off"))
	}
}

func (c *coturnImport) address(l coturnLine, list *[]coturnAddress) {
	a, err := netip.ParseAddr(strings.TrimSpace(l.value))
	if err != nil || a.Zone() != "" {
		c.tell(l.lost(fmt.Sprintf("%q is no address", l.value)))
		return
	}
	if !slices.ContainsFunc(*list, func(h coturnAddress) bool { return h.addr == a }) {
		*list = append(*list, coturnAddress{l, a})
	}
}

func (c *coturnImport) noTCP(l coturnLine) {
	takeNot("turn.tcp")(c, l)
	if on, _ := l.on(); on {
		c.tell(l.note("Debian's template of Jitsi has this; without it clients whose network breaks TLS still get through"))
	}
}

func (c *coturnImport) noTCPRelay(l coturnLine) {
	if on, _ := l.on(); on {
		c.set("turn.tcp_relay", false, l)
		return
	}
	c.tell(l.lost("TCP is relayed only to peers that are named: turn.tcp_relay with turn.peers.allow"))
}

func (c *coturnImport) stunOnly(l coturnLine) {
	if l.name == "no-turn" {
		c.tell(l.note("coturn has no such option and ignores it; taken for stun-only, which is meant"))
	}
	if on, _ := l.on(); on {
		c.set("turn.mode", "stun", l)
	}
}

func (c *coturnImport) rateLimit(l coturnLine) {
	if on, _ := l.on(); !on {
		c.set("turn.unauthorized_rate", 0, l)
		return
	}
	c.tell(l.idle("always on (turn.unauthorized_rate)"))
}

func (c *coturnImport) addressFamily(l coturnLine) {
	if l.value == "keep" {
		c.tell(l.idle("always so"))
		return
	}
	c.tell(l.lost("the relayed address is of the client's family unless the client asks for another"))
}

func (c *coturnImport) realm(l coturnLine) {
	if l.value == "" || len(l.value) > 127 {
		c.tell(l.lost("must have 1 to 127 bytes"))
		return
	}
	c.set("turn.realm", l.value, l)
}

func (c *coturnImport) separator(l coturnLine) {
	if strings.HasPrefix(l.value, ":") {
		c.tell(l.idle("the colon is what is used here"))
		return
	}
	c.tell(l.lost("credentials have a colon between the time and the name"))
}

func (c *coturnImport) facility(l coturnLine) {
	name := strings.ToLower(strings.TrimSpace(l.value))
	name = strings.TrimPrefix(name, "log_")
	if _, known := facilities[name]; !known {
		c.tell(l.lost(fmt.Sprintf("%q is no facility", l.value)))
		return
	}
	c.set("log.facility", name, l)
}

func (c *coturnImport) level(l coturnLine) {
	level := strings.ToLower(l.value)
	if level == "warning" {
		level = "warn"
	}
	if _, known := levels[level]; !known {
		c.tell(l.lost(fmt.Sprintf("%q is none of debug, info, warning, error", l.value)))
		return
	}
	c.set("log.level", level, l)
}

func (c *coturnImport) verbose(l coturnLine) {
	if on, _ := l.on(); on {
		c.set("log.components", map[string]string{"turn": "debug"}, l)
	}
}

// port reads a port; 0 and nothing stand for the default.
func (c *coturnImport) port(l coturnLine) (int, bool) {
	if l.number == 0 || l.value == "" {
		return 0, false
	}
	n, ok := c.digits(l)
	if ok && n > 65535 {
		c.tell(l.lost(fmt.Sprintf("%d is no port", n)))
		return 0, false
	}
	return n, ok && n != 0
}

// settleListeners is about ports, which are shared with a web server here.
func (c *coturnImport) settleListeners() {
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
func (c *coturnImport) settleAddresses() {
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
func (c *coturnImport) only(v4 bool) netip.Addr {
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
func (c *coturnImport) settleCredentials() {
	var list []Secret
	var lines []coturnLine
	for _, l := range c.secrets {
		switch {
		case len(l.value) < shortestSecret:
			c.tell(l.lost(fmt.Sprintf("a secret of less than %d bytes can be guessed; without turn.secrets a new one is made", shortestSecret)))
		case !slices.Contains(list, Secret(l.value)):
			list, lines = append(list, Secret(l.value)), append(lines, l)
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
			c.tell(l.lost(fmt.Sprintf("users are kept in the database: confab turn user add %s --key, with the key on stdin; it counts as long as turn.realm stays", shellWord(name))))
		default:
			c.tell(l.lost(fmt.Sprintf("users are kept in the database: confab turn user add %s, with the password on stdin", shellWord(name))))
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

// shellWord quotes a name for a shell.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.@-/", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// settlePeers is about who may be relayed to.
func (c *coturnImport) settlePeers() {
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
func (c *coturnImport) settleLog() {
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
