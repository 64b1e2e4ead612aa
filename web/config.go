package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is everything the front needs to know. The names in quotes are the
// keys of the configuration file (deployment.md §15) that cmd/confab maps here.
// The fields marked R are taken over by Server.Reload, the others need a restart.
type Config struct {
	Domain  string   // "domain"
	Aliases []string // "aliases": further host names served; R
	DataDir string   // "data_dir": web/ and public/ are looked for below it

	Listen    []Bind   // "web.listen"
	HTTP      Bind     // "web.http_listen": redirect and ACME HTTP-01; an empty address is off
	Admin     Bind     // "admin.listen"; an empty address is off
	TLSOff    bool     // "tls.mode" = "off": plain HTTP on Listen, behind a TLS proxy
	ShareTURN bool     // "turn.share_443": hand TURN over TLS to Server.TURN
	TURNNames []string // "turn.sni": names, in lower case, whose connections are TURN's whatever they carry; R
	ShareXMPP bool     // hand connections with ALPN xmpp-client to Server.XMPP

	// TURNConn is put around the connections of ports that TURN shares, below TLS; nil: nothing is.
	TURNConn func(net.Conn) net.Conn

	Dir string // "web.dir"; "" is DataDir/web when a build is installed there, else our own page; R

	TrustedProxies []netip.Prefix // "web.trusted_proxies": whose X-Forwarded-* counts; R
	Origins        []string       // "web.origins" of WebSocket and BOSH; empty or "*" is any; R
	FrameAncestors []string       // "web.frame_ancestors"; empty or "*" sends no header; R
	CSP            string         // "web.csp": Content-Security-Policy of a stock build; R
	CORSOrigin     string         // "web.cors_origin" of static files; R
	HSTS           bool           // "web.hsts"; R

	AdminAllow []netip.Prefix // "admin.allow": who may use the admin listener besides loopback; R
	AdminKeys  []string       // "admin.api_keys": bearer keys asked of everybody but loopback; R

	Tenants []TenantSite // "tenants": those that differ from the rest; R

	Shard  string // X-Jitsi-Shard of every response; "" without a cluster
	Site   Site   // what config.js says; R
	Limits Limits // R

	AdminOnly bool // only the admin listener and ACME's, of a part of the server that has no front

	Log     *slog.Logger         // nil is slog.Default
	Metrics *prometheus.Registry // served as /metrics on the admin listener; nil is an empty one
}

// Limits bounds what one peer can cost.
type Limits struct {
	ConnectionsPerIP int            // "limits.connections_per_ip"; 0 no limit
	Exempt           []netip.Prefix // "limits.exempt": addresses without limits, besides loopback
	RequestsPerIP    float64        // "limits.requests_per_ip": conference requests per second; 0 no limit
	RequestsBurst    int            // and their burst
	Body             int64          // bytes of a request body
	Header           int            // bytes of a request header
	HeaderTimeout    time.Duration  // until a request header is complete, also for the TLS handshake
	BodyTimeout      time.Duration  // until a request body is complete
	WriteTimeout     time.Duration  // until a response is out; longer than any BOSH wait
	IdleTimeout      time.Duration  // of a kept-alive connection
	Handshakes       int            // TLS handshakes under way; more connections are closed
	HandshakesPerIP  int            // of these from one address; 0 no limit
	GzipCache        int64          // bytes of compressed static files kept in memory
}

// Bind is an address to listen on and what to do when it can't be had:
// a configured one is a start-up error, a default gives way (deployment.md §7.1).
type Bind struct {
	Addr     string // "host:port"; "" is off
	Default  bool   // not set by anybody, so it may give way
	Fallback string // tried instead of a default; "" leaves it closed
}

// DefaultConfig returns the defaults of deployment.md §15 for domain.
func DefaultConfig(domain string) Config {
	return Config{
		Domain:     domain,
		Listen:     []Bind{{Addr: ":443", Default: true, Fallback: ":8443"}},
		HTTP:       Bind{Addr: ":80", Default: true},
		Admin:      Bind{Addr: "127.0.0.1:8888", Default: true, Fallback: "127.0.0.1:0"},
		ShareTURN:  true,
		CORSOrigin: "*",
		HSTS:       true,
		Site:       DefaultSite(),
		Limits:     DefaultLimits(),
	}
}

// DefaultLimits returns the limits of deployment.md §3.1 and §15.
func DefaultLimits() Limits {
	return Limits{
		ConnectionsPerIP: 500,
		RequestsPerIP:    10,
		RequestsBurst:    100,
		Body:             1 << 20,
		Header:           32 << 10, // a jwt in the query can be 8 KiB
		HeaderTimeout:    10 * time.Second,
		BodyTimeout:      30 * time.Second,
		WriteTimeout:     10 * time.Minute,
		IdleTimeout:      2 * time.Minute,
		Handshakes:       1024,
		HandshakesPerIP:  128,
		GzipCache:        64 << 20,
	}
}

func (c *Config) validate() error {
	if c.Domain == "" {
		return fmt.Errorf("web: no domain")
	}
	if len(c.Listen) == 0 && !c.AdminOnly {
		return fmt.Errorf("web: no address to listen on")
	}
	if err := validateLiteral("web.config", c.Site.Config, 0); err != nil {
		return err
	}
	for _, t := range c.Tenants {
		if err := validateLiteral("tenants "+t.Name+" config", t.Config, 0); err != nil {
			return err
		}
		if err := validateLiteral("tenants "+t.Name+" interface_config", t.InterfaceConfig, 0); err != nil {
			return err
		}
	}
	return validateLiteral("web.interface_config", c.Site.InterfaceConfig, 0)
}

// anyAllowed reports whether a list of origins means "everybody".
func anyAllowed(list []string) bool {
	if len(list) == 0 {
		return true
	}
	for _, v := range list {
		if v == "*" {
			return true
		}
	}
	return false
}

// Handlers are the parts of the server behind the front's paths. A nil handler
// leaves its path answering 404.
//
// A request below a tenant (/acme/xmpp-websocket) reaches the handler with its
// path unchanged and with the query parameter prefix=acme: the tenant, lower
// case and with dots as underscores. A prefix that the client sent itself is
// gone by then, so the parameter can be trusted (deployment.md §3.2 row 7).
// RemoteAddr is the client's address, also behind a trusted proxy.
type Handlers struct {
	XMPPWebSocket     http.Handler // /xmpp-websocket, requests with Upgrade only
	BOSH              http.Handler // /http-bind
	ConferenceRequest http.Handler // /conference-request/v1, GET and POST; preflights are answered here
	ColibriWS         http.Handler // /colibri-ws/…
	VisitorQueue      http.Handler // /visitor/websocket, requests with Upgrade only

	// The next three bound the bodies of their requests themselves; the last two get
	// the path as the route table took it.
	Files    http.Handler // FilesPrefix/…
	SocketIO http.Handler // /socket.io/: the whiteboard's relay
	Etherpad http.Handler // /etherpad/…

	// RoomInfo answers /_api/room-info, below a tenant with its prefix in the query.
	RoomInfo http.Handler

	// Reserved serves what is left below /_/ on the public listener (sign-in,
	// admin page, API); our page, /_/new and the health path are not asked of it.
	Reserved http.Handler

	// Admin are further pages of the admin listener by http.ServeMux pattern,
	// for example "GET /debug/conferences".
	Admin map[string]http.Handler

	// Ready reports why the server can't take meetings; nil when it can. Several
	// reasons are joined by errors.Join. A nil func is always ready.
	Ready func() error
}

// FilesPrefix is where Handlers.Files is served.
const FilesPrefix = "/_/files"

// hostAllowed reports whether we answer for a Host header: domain, aliases,
// tenant sub-domains of both, localhost and any literal address (an address
// can't be rebound by foreign DNS). Deployment.md §4.1.
func (c *Config) hostAllowed(hostport string) bool {
	host := hostOnly(hostport)
	if _, port, err := net.SplitHostPort(hostport); err == nil && strings.Trim(port, "0123456789") != "" {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return false // it goes into headers and configuration
	}
	if matchesDomain(host, c.Domain) {
		return true
	}
	for _, a := range append(c.tenantHosts(), c.Aliases...) {
		if matchesDomain(host, a) {
			return true
		}
	}
	return false
}

func matchesDomain(host, domain string) bool {
	domain = strings.ToLower(domain)
	return host == domain || strings.HasSuffix(host, "."+domain)
}
