package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"confab/bridge"
	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/extdisco"
	"confab/extdisco/credential"
	"confab/extdisco/relay"
	"confab/focus"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/storage"
	"confab/web"
	"confab/xmpp"
	"confab/xmpp/auth"
	"confab/xmpp/scram"

	"github.com/prometheus/client_golang/prometheus"
)

// server is the whole program, wired and with its sockets open, not yet running.
type server struct {
	cfg     Config
	names   names
	logs    logs
	secrets Secrets
	storage Storage

	router   *xmpp.Router
	sockets  *transport.Sockets
	engine   *forward.Engine
	bridge   *bridge.Service
	rooms    *muc.Service
	brewery  *muc.Service
	focus    *focus.Service
	relay    *relay.Server // nil when off
	sessions *xmpp.Server
	certs    *web.Certificates
	web      *web.Server
	c2s      net.Listener // nil when off
	turnTLS  net.Listener // nil when off
	closers  []io.Closer  // in order of opening
}

// bridgeID is this bridge's nick in the brewery and its id in channel URLs. One
// process has one bridge.
const bridgeID = "bridge-1"

// build opens everything in order; each step succeeds or says why it can't be.
// No goroutine of ours that needs an owner is started but those of Sockets,
// Engine and relay, which Close ends.
func build(ctx context.Context, cfg Config, secrets Secrets, st Storage, logs logs) (_ *server, err error) {
	s := &server{cfg: cfg, logs: logs, secrets: secrets, storage: st,
		names: newNames(cfg.Domain, bridgeID, cfg.RequireHost && cfg.Auth.Guests)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.router = xmpp.NewRouter(logs.of("xmpp"))
	for _, step := range []func() error{s.openCertificates, s.openMedia, s.buildRooms, s.buildBridge, s.buildFocus, s.buildSessions, s.openWeb, s.openTURN, s.openXMPP} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *server) opened(c io.Closer) { s.closers = append(s.closers, c) }

// close releases what is open, latest first.
func (s *server) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, quiet(s.closers[i].Close()))
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *server) openCertificates() (err error) {
	s.certs, err = web.OpenCertificates(web.CertConfig{
		Domain: s.cfg.Domain, DataDir: s.cfg.DataDir, CertFile: s.cfg.TLS.Cert, KeyFile: s.cfg.TLS.Key,
		ACMEEmail: s.cfg.ACME, ACMEDirectory: s.cfg.TLS.ACMEDirectory, Log: s.logs.of("tls"),
	})
	return err
}

// openMedia opens the UDP port and starts the packet path.
func (s *server) openMedia() error {
	b, n := s.cfg.Bridge, s.cfg.Network
	tc := transport.DefaultConfig()
	tc.Port, tc.IPv6 = b.UDPPort, n.IPv6
	tc.PublicAddresses, tc.AdvertisePrivate = n.PublicAddresses, n.AdvertisePrivate
	tc.Bind = s.loopbackOnly()
	tc.Sockets = b.Sockets
	tc.SRTPProfiles = b.SRTPProfiles
	tc.MaxIngress, tc.MaxIngressPackets = b.MaxIngress, b.MaxIngressPackets
	tc.Clock, tc.Pool = rtpx.Now, rtpx.NewPool()
	sockets, err := transport.Listen(tc, s.logs.of("transport"))
	if err != nil {
		return fmt.Errorf("media on UDP port %d (bridge.udp_port): %w", b.UDPPort, err)
	}
	s.sockets = sockets
	s.opened(sockets)
	s.engine = forward.NewEngine(forward.Config{
		Workers: b.Workers, NewBatch: bridge.NewBatches(sockets), Pool: tc.Pool, Log: s.logs.of("forward"),
		LoudestN: b.Loudest,
	})
	s.opened(s.engine)
	return nil
}

// loopbackOnly are the addresses to bind when only loopback ones are announced:
// such a server is a test, and nobody outside should reach it.
func (s *server) loopbackOnly() []string {
	for _, a := range s.cfg.Network.PublicAddresses {
		ip, err := netip.ParseAddr(a)
		if err != nil || !ip.IsLoopback() {
			return nil
		}
	}
	return s.cfg.Network.PublicAddresses
}

func (s *server) buildRooms() error {
	focusAccount, r := s.names.focusJID.Bare(), s.cfg.Rooms
	meta := services.MetadataConfig{Domain: s.names.metadata, ICE: s.iceServers()}
	if r.Moderators == focus.ModeratorsEveryone {
		meta.Flags = map[string]any{"allownersEnabled": true}
	}

	mc := muc.DefaultConfig()
	mc.Domain = s.names.conference
	mc.Admins = []xmpp.JID{focusAccount}
	mc.Focus = focusAccount
	mc.FocusService = xmpp.JID{Domain: s.names.focus}
	mc.SummonFocus = r.SummonFocus
	mc.ServiceDomains = s.names.serviceDomains
	mc.Linger = r.Linger.Duration
	mc.MaxRooms, mc.ParkedJoins, mc.ParkTime = r.MaxRooms, r.ParkedJoins, s.cfg.Focus.StartTimeout.Duration
	mc.History = r.History
	if r.History == 0 {
		mc.History = -1
	}
	mc.PresenceBytes = s.cfg.Limits.Presence
	mc.Stages = policy.Main(policy.Config{
		MaxOccupants: r.MaxOccupants, JoinRate: r.JoinRate, RestrictNicks: r.RestrictNicks,
		PasswordTries: s.cfg.Limits.PasswordTries, EverybodyModerates: r.Moderators == focus.ModeratorsEveryone,
	})
	mc.Services = []func(*muc.Room) muc.RoomService{services.NewMetadata(meta)}
	mc.Client = clientOf
	s.rooms = muc.NewService(mc, s.router, s.logs.of("muc"))
	s.router.Serve(s.names.conference, s.rooms)
	s.router.Serve(s.names.metadata, services.NewMetadataComponent(meta, s.rooms, s.router))

	s.brewery = muc.NewService(muc.Config{
		Domain: s.names.internal, Admins: []xmpp.JID{focusAccount, s.names.bridgeJID.Bare()}, Focus: focusAccount,
		Access: []string{s.names.auth}, Stages: policy.Internal,
	}, s.router, s.logs.of("brewery"))
	s.router.Serve(s.names.internal, s.brewery)
	return nil
}

// clientOf tells a room about the session behind a port.
func clientOf(p xmpp.Port) muc.Client {
	se, ok := p.(*xmpp.Session)
	if !ok {
		return muc.Client{}
	}
	a := se.Attrs()
	return muc.Client{Room: a.Room, Stream: se.Transport() == xmpp.TransportTCP, Host: se.Account().Host, Token: a.Token, Region: a.Region}
}

func (s *server) buildBridge() (err error) {
	b := s.cfg.Bridge
	bc := bridge.DefaultConfig()
	bc.ID, bc.JID, bc.Brewery, bc.Version = bridgeID, s.names.bridgeJID, s.names.brewery, version()
	bc.ChannelURL = "ws" + strings.TrimPrefix(s.publicURL(), "http") + "/colibri-ws"
	bc.IdleTimeout = b.IdleTimeout.Duration
	bc.Alloc = alloc.DefaultConfig()
	bc.Alloc.LastN, bc.Alloc.DefaultMaxHeight = b.LastN, b.DefaultMaxHeight
	s.bridge, err = bridge.NewService(bc, s.router, s.sockets, s.engine, s.logs.of("bridge"))
	return err
}

func (s *server) publicURL() string {
	return publicURL(s.cfg.Domain, s.cfg.Web.Listen[0], s.cfg.TLS.Mode == "off")
}

func (s *server) buildFocus() (err error) {
	f := s.cfg.Focus
	fc := focus.DefaultConfig()
	fc.Domain, fc.Service, fc.JID, fc.MUC, fc.Brewery = s.names.domain, s.names.focus, s.names.focusJID, s.names.conference, s.names.brewery
	fc.RequireHost, fc.IsHost, fc.Moderators = s.cfg.RequireHost, s.isHost, s.cfg.Rooms.Moderators
	fc.TrustedDomains = []string{s.names.recorder}
	fc.StartTimeout, fc.LonelyTimeout = f.StartTimeout.Duration, f.LonelyTimeout.Duration
	fc.MinParticipants, fc.MaxSources, fc.ICERestart, fc.Codecs = f.MinParticipants, f.MaxSourcesPerUser, f.ICERestart, f.Codecs
	fc.MaxConferences = s.cfg.Rooms.MaxRooms
	fc.Channel = s.cfg.Bridge.Channel
	fc.SessionLifetime = s.cfg.Auth.SessionLifetime.Duration
	fc.Version = version()
	s.focus, err = focus.NewService(fc, s.router, s.logs.of("focus"))
	if err == nil {
		s.router.Serve(s.names.focus, s.focus)
	}
	return err
}

// isHost reports whether a session logged in with an account that opens rooms.
func (s *server) isHost(full xmpp.JID) bool {
	p, ok := s.router.Port(full)
	if !ok {
		return false
	}
	se, ok := p.(*xmpp.Session)
	return ok && se.Account().Host
}

// accounts lets xmpp/auth look accounts up.
type accounts struct{ st Storage }

func (a accounts) Account(ctx context.Context, user, host string) (auth.Record, bool, error) {
	r, err := a.st.Account(ctx, user, host)
	if errors.Is(err, storage.ErrNotFound) {
		return auth.Record{}, false, nil
	}
	if err != nil {
		return auth.Record{}, false, err
	}
	return auth.Record{Host: r.IsHost, Keys: scram.Keys{
		Salt: r.Salt, Iterations: r.Iterations,
		SHA1:   scram.Pair{StoredKey: r.SHA1StoredKey, ServerKey: r.SHA1ServerKey},
		SHA256: scram.Pair{StoredKey: r.SHA256StoredKey, ServerKey: r.SHA256ServerKey},
	}}, true, nil
}

func (s *server) buildSessions() error {
	xc := xmpp.DefaultConfig()
	x, l := s.cfg.XMPP, s.cfg.Limits
	ice := s.iceServers()
	services := extdisco.NewService(ice, s.names.loginHosts)
	password := auth.NewPassword(accounts{s.storage}, []byte(s.secrets.Cookie))

	var mainAuth xmpp.Authenticator = password
	if s.cfg.Auth.Guests && !s.cfg.RequireHost {
		mainAuth = auth.Either{auth.Anonymous{}, password}
	}
	add := func(domain string, a xmpp.Authenticator) *xmpp.Host {
		h := xmpp.NewHost(s.router, domain)
		for _, ns := range []string{extdisco.NS1, extdisco.NS2} {
			h.HandleIQ(ns, services.HandleIQ)
		}
		xc.Hosts = append(xc.Hosts, xmpp.LoginHost{Host: h, Auth: a, Services: ice.Services})
		return h
	}
	main := add(s.names.domain, mainAuth)
	main.SetDisco(xmpp.DiscoInfo{Identities: []xmpp.Identity{
		{Category: "server", Type: "im", Name: "Confab"},
		{Category: "component", Type: "room_metadata", Name: s.names.metadata},
	}})
	main.SetItems([]xmpp.DiscoItem{{JID: xmpp.JID{Domain: s.names.conference}, Name: "Meetings"}})
	if len(s.names.loginHosts) > 1 {
		add(s.names.guest, auth.Anonymous{})
	}
	// The domain of the server's own parts has no logins, but addresses.
	xmpp.NewHost(s.router, s.names.auth)

	if s.cfg.TLS.Mode != "off" || s.cfg.TLS.Cert != "" {
		xc.TLS = s.certs.TLSConfig()
	}
	xc.Origins = s.cfg.Web.Origins
	xc.RemoteAddr, xc.Secure = remoteAddr, s.secureRequest
	xc.PushServices = x.PushServices
	xc.Stanza.Bytes, xc.StanzaUnauthenticated = l.Stanza, l.StanzaUnauthenticated
	xc.IdleTimeout, xc.ResumeTimeout = x.IdleTimeout.Duration, x.ResumeTimeout.Duration
	xc.LoginRate, xc.PresenceRate, xc.IQRate, xc.MessageRate = l.LoginRate, l.PresenceRate, l.IQRate, l.MessageRate
	xc.ConnectionsPerAddress, xc.TriesPerAddress = l.ConnectionsPerIP, l.PasswordTries
	xc.Log = s.logs.of("xmpp")
	s.sessions = xmpp.NewServer(xc, s.router)
	s.opened(s.sessions)
	return nil
}

// remoteAddr is the client's address: the web front has already looked at the
// headers of trusted proxies.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// secureRequest holds behind a TLS proxy, too: with tls.mode = "off" nobody else
// is meant to reach the port (prosody's consider_websocket_secure).
func (s *server) secureRequest(r *http.Request) bool {
	return r.TLS != nil || s.cfg.TLS.Mode == "off"
}

// iceServers is the list of STUN and TURN servers that clients are told.
func (s *server) iceServers() *extdisco.List {
	t := s.cfg.TURN
	var list []extdisco.Server
	for _, e := range t.Servers {
		list = append(list, extdisco.Server{Type: e.Type, Host: e.Host, Port: e.Port, Transport: e.Transport,
			Secret: string(e.Secret), Username: e.Username, Password: string(e.Password), TTL: e.TTL.Duration})
	}
	if len(list) == 0 && t.Mode != "off" {
		list = append(list, extdisco.Server{Type: "stun", Host: s.cfg.Domain, Port: t.Port, Transport: "udp"})
		if t.Mode == "full" && t.UDP {
			list = append(list, extdisco.Server{Type: "turn", Host: s.cfg.Domain, Port: t.Port, Transport: "udp"})
		}
		if t.Mode == "full" && t.TCP {
			list = append(list, extdisco.Server{Type: "turn", Host: s.cfg.Domain, Port: t.Port, Transport: "tcp"})
		}
		if t.Mode == "full" && t.TLS {
			if port := s.turnTLSPort(); port != 0 {
				list = append(list, extdisco.Server{Type: "turns", Host: s.cfg.Domain, Port: port, Transport: "tcp"})
			}
		}
	}
	return extdisco.NewList(list, s.turnSecrets(), t.TTL.Duration, []byte(s.secrets.Cookie))
}

// turnTLSPort is where clients are sent for TURN over TLS: the HTTPS port passes
// where nothing else does.
func (s *server) turnTLSPort() int {
	if s.cfg.TLS.Mode == "off" {
		return 0
	}
	if s.cfg.TURN.Share443 {
		if _, port, err := net.SplitHostPort(s.cfg.Web.Listen[0]); err == nil {
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return s.cfg.TURN.TLSPort
}

func (s *server) turnSecrets() credential.Secrets {
	var out credential.Secrets
	for _, v := range s.cfg.TURN.Secrets {
		out = append(out, string(v))
	}
	if len(out) == 0 {
		out = credential.Secrets{string(s.secrets.TURN)}
	}
	return out
}

func (s *server) openWeb() error {
	c := s.cfg
	wc := web.DefaultConfig(c.Domain)
	wc.DataDir = c.DataDir
	wc.Listen = nil
	for _, addr := range c.Web.Listen {
		b := web.Bind{Addr: addr, Default: !c.IsSet("web.listen")}
		if b.Default {
			b.Fallback = ":8443"
		}
		wc.Listen = append(wc.Listen, b)
	}
	wc.HTTP = web.Bind{Addr: c.Web.HTTPListen, Default: !c.IsSet("web.http_listen")}
	wc.Admin = web.Bind{Addr: c.Admin.Listen, Default: !c.IsSet("admin.listen"), Fallback: "127.0.0.1:0"}
	wc.TLSOff = c.TLS.Mode == "off"
	wc.ShareTURN = c.TURN.Share443 && c.TURN.Mode == "full" && c.TURN.TLS
	wc.Dir = c.Web.Dir
	var err error
	if wc.TrustedProxies, err = prefixes(c.Web.TrustedProxies); err != nil {
		return fmt.Errorf("web.trusted_proxies: %w", err)
	}
	wc.Origins, wc.FrameAncestors = c.Web.Origins, c.Web.FrameAncestors
	wc.CSP, wc.CORSOrigin, wc.HSTS = c.Web.CSP, c.Web.CORSOrigin, c.Web.HSTS
	wc.Site.RequireHost, wc.Site.Guests, wc.Site.BOSH = c.RequireHost, c.Auth.Guests, c.XMPP.BOSH
	wc.Site.PreferSCTP = c.Bridge.Channel != "websocket"
	wc.Site.IceRestart = c.Focus.ICERestart
	wc.Site.HiddenDomain = s.names.recorder
	wc.Site.STUNPort = c.TURN.Port
	if c.TURN.Mode == "off" {
		wc.Site.STUNPort = 0
	}
	wc.Site.Config, wc.Site.InterfaceConfig = c.Web.Config, c.Web.InterfaceConfig
	wc.Limits.ConnectionsPerIP, wc.Limits.RequestsPerIP = c.Limits.ConnectionsPerIP, float64(c.Limits.RequestsPerIP)
	wc.Log = s.logs.of("web")
	wc.Metrics = prometheus.NewRegistry()
	if err := wc.Metrics.Register(newCollector(s)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	h := web.Handlers{
		XMPPWebSocket:     s.sessions.WebSocketHandler(),
		ConferenceRequest: s.focus.HTTPHandler(),
		ColibriWS:         s.bridge.ChannelHandler(),
		Ready:             s.ready,
		Admin:             map[string]http.Handler{"GET /debug/bridge": debugHandler(func(ctx context.Context) any { return s.bridge.Debug(ctx) })},
	}
	if c.XMPP.BOSH {
		h.BOSH = s.sessions.BOSHHandler()
	}
	s.web, err = web.Open(wc, s.certs, h)
	if err != nil {
		return err
	}
	s.opened(s.web)
	return nil
}

// ready says why meetings can't be held; the health endpoint asks.
func (s *server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return errors.Join(s.storage.Ping(ctx), s.bridge.Ready())
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *server) openXMPP() (err error) {
	if s.cfg.XMPP.Port == 0 {
		return nil
	}
	host := ""
	if only := s.loopbackOnly(); only != nil {
		host = only[0]
	}
	s.c2s, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(s.cfg.XMPP.Port)))
	if err != nil {
		return fmt.Errorf("XMPP clients on port %d (xmpp.port): %w", s.cfg.XMPP.Port, err)
	}
	s.opened(s.c2s)
	return nil
}

// debugHandler shows the state of a part as JSON.
func debugHandler(state func(context.Context) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(state(r.Context())) // a reader that went away has no use for the error
	})
}
