// Package importer makes our configuration out of those of other servers.
package importer

// What each option of coturn is here (turn.md §5).

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Import turns a coturn file into ours.
type Import struct {
	dir       string // of the file: what relative paths start from
	relayOnly bool   // there is no web to share ports with

	keys     map[string]*importedKey
	findings []finding

	listen, relays                           []coturnAddress
	external                                 []coturnLine
	allowed, denied, users, secrets          []coturnLine
	alternates, tlsAlternates                []coturnLine
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

// FromCoturn reads a file that lies in dir. relayOnly makes a configuration for a host
// that does nothing but relay.
func FromCoturn(text, dir string, relayOnly bool) *Import {
	c := &Import{dir: dir, relayOnly: relayOnly, keys: map[string]*importedKey{}}
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
	c.settleAlternates()
	c.settleLog()
	slices.SortStableFunc(c.findings, func(a, b finding) int { return a.line - b.line })
	return c
}

func (c *Import) option(o coturnOption, l coturnLine) {
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

func (c *Import) tell(f finding) { c.findings = append(c.findings, f) }

func (c *Import) set(key string, value any, lines ...coturnLine) {
	k := &importedKey{value: value}
	for _, l := range lines {
		k.lines = append(k.lines, l.number)
	}
	c.keys[key] = k
}

// coturnOption is what becomes of an option: take carries it over; without it there
// is a reason why nothing is missing, or why something is.
type coturnOption struct {
	take       func(*Import, coturnLine)
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
	noAlternate  = "UDP and TCP have one list: turn.alternate_servers"
	fixedByRFC   = "fixed: that of RFC 8656"
	logsAnyway   = "times are part of each line"
	noStatsRedis = "no figures in Redis; " + byAdmin
)

// coturnOptions are those of coturn 4.17 (mainrelay.c: long_options), and those that
// older versions had.
var coturnOptions = map[string]coturnOption{
	"listening-port":         {take: func(c *Import, l coturnLine) { c.listeningPort = l }},
	"tls-listening-port":     {take: func(c *Import, l coturnLine) { c.tlsPort = l }},
	"alt-listening-port":     {take: func(c *Import, l coturnLine) { c.altPort = l }},
	"alt-tls-listening-port": {idle: "NAT behaviour discovery uses UDP only"},
	"tcp-proxy-port":         {lost: "there is no port of its own for proxies: name their addresses in turn.proxy_protocol and have them connect to turn.port or turn.tls_port"},
	"listening-ip":           {many: true, take: func(c *Import, l coturnLine) { c.address(l, &c.listen) }},
	"relay-ip":               {many: true, take: func(c *Import, l coturnLine) { c.address(l, &c.relays) }},
	"external-ip":            {many: true, take: func(c *Import, l coturnLine) { c.external = append(c.external, l) }},
	"listening-device":       {lost: "name the interface's addresses in turn.listen, or the interface in network.bind"},
	"relay-device":           {lost: "name the interface's address in turn.relay_addresses"},
	"min-port":               {take: func(c *Import, l coturnLine) { c.minPort = l }},
	"max-port":               {take: func(c *Import, l coturnLine) { c.maxPort = l }},
	"aux-server":             {many: true, lost: "one set of ports for all addresses: turn.listen, turn.port"},
	"udp-self-balance":       {flag: true, idle: "all cores serve one port"},
	"relay-threads":          {idle: "one for each core"},
	"cpus":                   {idle: "one for each core; GOMAXPROCS bounds them"},
	"sock-buf-size":          {idle: "as large as net.core.rmem_max lets them be"},
	"ne":                     {idle: "there is one engine"},

	"no-udp":                     {flag: true, take: takeNot("turn.udp")},
	"no-tcp":                     {flag: true, take: (*Import).noTCP},
	"no-tls":                     {flag: true, take: takeNot("turn.tls")},
	"dtls":                       {flag: true, take: takeFlag("turn.dtls")},
	"no-dtls":                    {flag: true, idle: "DTLS is off (turn.dtls)"},
	"no_dtls":                    {flag: true, idle: "DTLS is off (turn.dtls)"},
	"no-udp-relay":               {flag: true, lost: "UDP is what is relayed"},
	"no-tcp-relay":               {flag: true, take: (*Import).noTCPRelay},
	"stun-only":                  {flag: true, take: (*Import).stunOnly},
	"no-turn":                    {flag: true, take: (*Import).stunOnly}, // coturn has no such option, guides do
	"no-stun":                    {flag: true, lost: "Binding requests are always answered"},
	"secure-stun":                {flag: true, lost: "browsers send Binding requests without credentials"},
	"fingerprint":                {flag: true, take: takeChoice("turn.fingerprint", "always", "auto")},
	"mobility":                   {flag: true, take: takeFlag("turn.mobility")},
	"software-attribute":         {flag: true, take: takeFlag("turn.software")},
	"no-software-attribute":      {flag: true, take: takeNot("turn.software")},
	"prod":                       {flag: true, take: takeNot("turn.software")}, // coturn 4.5: its older name
	"rfc5780":                    {take: func(c *Import, l coturnLine) { c.rfc5780 = l }},
	"no-rfc5780":                 {idle: "NAT behaviour discovery is off (turn.rfc5780)"},
	"keep-address-family":        {flag: true, idle: "the relayed address is of the client's family unless the client asks for another"},
	"stale-nonce":                {take: takeSeconds("turn.nonce_ttl", 600, 30*time.Second)},
	"stateless-nonce":            {flag: true, idle: "nonces are always stateless"},
	"stateless-nonce-secret":     {idle: "kept in the data directory; clients get a new nonce by themselves"},
	"max-allocate-lifetime":      {take: takeSeconds("turn.max_lifetime", 3600, 10*time.Minute)},
	"channel-lifetime":           {idle: fixedByRFC},
	"permission-lifetime":        {idle: fixedByRFC},
	"max-allocate-timeout":       {idle: "nothing is kept of a client before it has authenticated; connections have seconds"},
	"unauthorized-ratelimit":     {flag: true, take: (*Import).rateLimit},
	"unauthorized-ratelimit-rps": {take: takeNumber("turn.unauthorized_rate")},

	"allocation-default-address-family": {take: (*Import).addressFamily},
	"stun-backward-compatibility":       {flag: true, lost: "clients of RFC 3489 are not answered"},
	"no-stun-backward-compatibility":    {flag: true, idle: "clients of RFC 3489 are not answered"},
	"rfc3489-compatibility":             {flag: true, lost: "clients of RFC 3489 are not answered"},
	"rfc5766-channel-numbers":           {flag: true, idle: "always so"},
	"response-origin-only-with-rfc5780": {flag: true, idle: "always so"},
	"respond-http-unsupported":          {flag: true, idle: "HTTPS has its own answer on its own port"},
	"include-reason-string":             {flag: true, lost: "errors have the standard phrase only"},
	"drop-invalid-packets":              {flag: true, idle: "always so"},
	"drop-invalid-packets-log":          {flag: true, idle: "they are counted (/metrics)"},

	"use-auth-secret":          {take: func(c *Import, l coturnLine) { c.authSecret = l }},
	"static-auth-secret":       {many: true, take: func(c *Import, l coturnLine) { c.secrets = append(c.secrets, l) }},
	"lt-cred-mech":             {flag: true, take: func(c *Import, l coturnLine) { c.longTerm = l }},
	"user":                     {many: true, take: func(c *Import, l coturnLine) { c.users = append(c.users, l) }},
	"no-auth":                  {flag: true, take: refuse("makes a relay for anybody: there is none here. Take the line out, and give clients credentials")},
	"server-relay":             {flag: true, take: refuse("lets anybody send to relayed addresses without permission: there is no such thing here. Take the line out")},
	"realm":                    {take: (*Import).realm},
	"rest-api-separator":       {take: (*Import).separator},
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

	"cert":            {take: func(c *Import, l coturnLine) { c.cert = l }},
	"pkey":            {take: func(c *Import, l coturnLine) { c.pkey = l }},
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

	"allowed-peer-ip":      {many: true, take: func(c *Import, l coturnLine) { c.allowed = append(c.allowed, l) }},
	"denied-peer-ip":       {many: true, take: func(c *Import, l coturnLine) { c.denied = append(c.denied, l) }},
	"no-multicast-peers":   {flag: true, idle: "always refused"},
	"no-loopback-peers":    {flag: true, idle: "always refused"},
	"allow-loopback-peers": {flag: true, lost: "loopback is always refused, but for the bridge when network.public_addresses names it"},

	"syslog":                   {flag: true, take: func(c *Import, l coturnLine) { c.syslog = l }},
	"syslog-facility":          {take: (*Import).facility},
	"log-file":                 {take: func(c *Import, l coturnLine) { c.logFile = l }},
	"simple-log":               {flag: true, idle: "the file's name is taken as it is; SIGHUP opens it anew"},
	"no-stdout-log":            {flag: true, idle: "the log goes to one place"},
	"new-log-timestamp":        {flag: true, idle: logsAnyway},
	"new-log-timestamp-format": {idle: logsAnyway},
	"log-min-level":            {take: (*Import).level},
	"verbose":                  {flag: true, take: (*Import).verbose},
	"Verbose":                  {flag: true, take: (*Import).verbose},
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

	"alternate-server":         {many: true, take: func(c *Import, l coturnLine) { c.alternates = append(c.alternates, l) }},
	"tls-alternate-server":     {many: true, take: func(c *Import, l coturnLine) { c.tlsAlternates = append(c.tlsAlternates, l) }},
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
