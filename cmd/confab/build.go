package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"confab/bridge"
	"confab/bridge/alloc"
	"confab/bridge/bwe"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/cmd/confab/config"
	"confab/extdisco"
	"confab/extdisco/relay"
	"confab/focus"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/presets"
	"confab/muc/reservations"
	"confab/muc/services"
	"confab/web"
	"confab/web/api"
	"confab/web/files"
	"confab/web/queue"
	"confab/web/whiteboard"
	"confab/xmpp"
)

// server is the whole program, wired and with its sockets open, not yet running.
type server struct {
	cfg      config.Config
	reloaded atomic.Pointer[config.Config]  // nil: cfg still holds
	proxies  atomic.Pointer[[]netip.Prefix] // turn.proxy_protocol
	listen   []string                       // web.listen, or what it gave way to
	exempt   []netip.Prefix
	names    names
	logs     logs
	guards   guards
	secrets  Secrets
	storage  Storage

	router   *xmpp.Router
	sockets  *transport.Sockets
	local    mediaAddresses // those of sockets
	own      machineAddresses
	engine   *forward.Engine
	bridge   *bridge.Service
	rooms    *muc.Service
	brewery  *muc.Service
	features []feature // of the rooms, those that may be on
	announce func()    // tells clients that log in which are
	lobbies  *services.Lobbies
	breakout *services.Breakouts
	sides    []*muc.Service // lobbies, breakout rooms and rooms of visitors, made by features
	focus    *focus.Service
	promoted *services.Promotions // names of visitors who were let in
	queue    *queue.Queue         // of visitors; nil without
	relay    *relay.Server        // nil when off
	turnKeys *turnKeys
	ice      *extdisco.List   // what clients are told
	relays   *extdisco.Health // of those of others; nil when they are not probed
	extdisco *extdisco.Service
	files    *files.Store      // nil unless they are kept here
	tokens   *tokens           // nil without file sharing
	boards   *whiteboard.Relay // nil unless it is ours
	jwts     jwts
	sessions *xmpp.Server
	certs    *web.Certificates
	web      *web.Server
	api      *api.Server
	keys     atomic.Pointer[[]string] // admin.api_keys as of now
	presets  *presets.Store
	bookings *reservations.Service
	c2s      net.Listener  // nil when off
	c2sTLS   net.Listener  // nil when off or left closed
	closers  []io.Closer   // in order of opening
	halt     chan struct{} // one slot: stop now
	leaving  atomic.Bool   // a relay alone waits for its allocations to end
}

// bridgeID is this bridge's nick in the brewery and its id in channel URLs. One
// process has one bridge.
const bridgeID = "bridge-1"

// build opens everything in order; each step succeeds or says why it can't be.
// No goroutine of ours that needs an owner is started but those of Sockets,
// Engine and relay, which Close ends.
func build(ctx context.Context, cfg config.Config, secrets Secrets, st Storage, logs logs) (_ *server, err error) {
	s := &server{cfg: cfg, halt: make(chan struct{}, 1), listen: cfg.Web.Listen, logs: logs, guards: guards{logs: logs}, secrets: secrets, storage: st,
		names: newNames(cfg.Domain, bridgeID, cfg.RequireHost && cfg.Auth.Guests)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.giveWay()
	if s.exempt, err = prefixes(cfg.Limits.Exempt); err != nil {
		return nil, fmt.Errorf("limits.exempt: %w", err)
	}
	s.router = xmpp.NewRouter(logs.of("xmpp"))
	for _, step := range []func() error{
		s.openCertificates, s.openMedia, func() error { return s.buildExtdisco(ctx) }, s.openFiles, s.buildBoards, s.buildQueue, s.buildJWT,
		func() error { return s.openPresets(ctx) },
		s.buildReservations, s.buildRooms, s.buildBridge, s.buildFocus, s.buildSessions, s.buildAPI,
		s.openWeb, s.openTURN, s.openXMPP, s.openXMPPTLS,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// giveWay takes another HTTPS port when the default one can't be had. It comes
// first: clients are told the port in many places.
func (s *server) giveWay() {
	if s.cfg.IsSet("web.listen") {
		return
	}
	if err := tryBind("tcp", s.listen[0]); err != nil {
		s.logs.of("web").Info("default address can't be had, using another", "addr", s.listen[0], "instead", otherHTTPS, "err", err)
		s.listen = []string{otherHTTPS}
	}
}

// otherHTTPS is what the default of web.listen gives way to.
const otherHTTPS = ":8443"

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
		Domain: s.cfg.Domain, Aliases: slices.Concat(config.TenantHosts(s.cfg.Tenants), s.cfg.Aliases, s.cfg.TURN.SNI), Addresses: s.publicAddresses(), DataDir: s.cfg.DataDir, CertFile: s.cfg.TLS.Cert, KeyFile: s.cfg.TLS.Key,
		ACMEEmail: s.cfg.ACME, ACMEDirectory: s.cfg.TLS.ACMEDirectory, Log: s.logs.of("tls"),
	})
	if err == nil {
		s.guards.add(s.certs.Guard())
	}
	return err
}

// publicAddresses are those that the configuration names: a self-signed
// certificate lists them, as people may come by address.
func (s *server) publicAddresses() (out []net.IP) {
	for _, a := range s.cfg.Network.PublicAddresses {
		public, _, _ := strings.Cut(a, "/")
		if ip := net.ParseIP(public); ip != nil {
			out = append(out, ip)
		}
	}
	return out
}

// mediaAddresses are those that media, STUN and TURN use, and what clients see of them.
type mediaAddresses interface {
	Locals() []netip.AddrPort
	Candidates() []transport.Candidate
}

// addressConfig is what decides on them.
func (s *server) addressConfig() transport.Config {
	n := s.cfg.Network
	tc := transport.DefaultConfig()
	tc.IPv6 = n.IPv6
	tc.PublicAddresses, tc.AdvertisePrivate = n.PublicAddresses, n.AdvertisePrivate
	if tc.Bind = n.Bind; len(tc.Bind) == 0 {
		tc.Bind = s.loopbackOnly()
	}
	tc.Exclude = n.Exclude
	return tc
}

// openMedia opens the UDP port and starts the packet path.
func (s *server) openMedia() error {
	b := s.cfg.Bridge
	tc := s.addressConfig()
	tc.Port = b.UDPPort
	tc.Sockets = b.Sockets
	tc.SRTPProfiles = b.SRTPProfiles
	tc.MaxIngress, tc.MaxIngressPackets = b.MaxIngress, b.MaxIngressPackets
	tc.Clock, tc.Pool = rtpx.Now, rtpx.NewPool()
	sockets, err := transport.Listen(tc, s.logs.of("transport"))
	if err != nil {
		return fmt.Errorf("media on UDP port %d (bridge.udp_port): %w", b.UDPPort, err)
	}
	s.sockets, s.local = sockets, sockets
	s.opened(sockets)
	s.engine = forward.NewEngine(forward.Config{
		Workers: b.Workers, NewBatch: bridge.NewBatches(sockets), Pool: tc.Pool, Log: s.logs.of("forward"),
		LoudestN: b.Loudest, LoudestAbove: b.LoudestAbove, AudioBitrate: int64(b.MaxAudio), AudioPackets: b.MaxAudioPackets, StripRED: b.REDPolicy == "strip",
		Bandwidth:      bwe.Config{Start: int64(b.StartBitrate), Min: int64(b.MinBitrate), Max: int64(b.MaxBitrate)},
		EstimateChange: b.BWEChangeThreshold,
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
	s.features = s.roomFeatures()
	mc := s.roomConfig()
	mc.Linger, mc.ServicesLinger = s.cfg.Rooms.Linger.Duration, s.cfg.Rooms.ServicesLinger.Duration
	mc.Stages = s.stages(policy.Main)
	mc.Services = append(inMain(s.features), s.bookings.NewRoomService)
	if s.tokens != nil {
		mc.Permissions = append(mc.Permissions, services.FileUpload) // else the button stays hidden
	}
	mc.Policy = s.roomPolicy
	s.rooms = muc.NewService(mc, s.router, s.logs.of("muc"))
	s.router.Serve(s.names.conference, s.rooms)
	s.router.ServeTenants(s.names.conference, s.rooms)
	if err := s.serveFeatures(); err != nil {
		return err
	}

	focusAccount := s.names.focusJID.Bare()
	s.brewery = muc.NewService(muc.Config{
		Domain: s.names.internal, Admins: []xmpp.JID{focusAccount, s.names.bridgeJID.Bare()}, Focus: focusAccount,
		Access: []string{s.names.auth}, Stages: policy.Breweries(s.names.breweries()),
	}, s.router, s.logs.of("brewery"))
	s.router.Serve(s.names.internal, s.brewery)
	return nil
}

// roomConfig is what holds for main rooms and breakout rooms alike.
func (s *server) roomConfig() muc.Config {
	focusAccount, r := s.names.focusJID.Bare(), s.cfg.Rooms
	mc := muc.DefaultConfig()
	mc.Domain = s.names.conference
	mc.Admins = []xmpp.JID{focusAccount}
	mc.Focus = focusAccount
	mc.FocusService = xmpp.JID{Domain: s.names.focus}
	mc.SummonFocus = r.SummonFocus
	mc.ServiceDomains = s.names.serviceDomains
	mc.MaxRooms, mc.ParkedJoins, mc.ParkTime = r.MaxRooms, r.ParkedJoins, s.cfg.Focus.StartTimeout.Duration
	mc.History = r.History
	if r.History == 0 {
		mc.History = -1
	}
	mc.PresenceBytes = s.cfg.Limits.Presence
	mc.Client = s.clientOf
	return mc
}

// stages makes the pipeline of each new room from the configuration of then.
func (s *server) stages(mk func(policy.Config) func() []muc.Stage) func() []muc.Stage {
	return func() []muc.Stage { return mk(s.policyConfig())() }
}

// now is the configuration as it was last taken over, for what may change while the
// server runs.
func (s *server) now() *config.Config {
	if c := s.reloaded.Load(); c != nil {
		return c
	}
	return &s.cfg
}

// policyConfig is what the join pipelines of all rooms know.
func (s *server) policyConfig() policy.Config {
	r := s.now().Rooms
	return policy.Config{
		MaxOccupants: r.MaxOccupants, JoinRate: r.JoinRate, RestrictNicks: r.RestrictNicks,
		PasswordTries: s.cfg.Limits.PasswordTries, Everyone: s.everyone(), RequireDisplayName: r.RequireName, FirstModerates: r.Moderators == focus.ModeratorsFirst,
		Tokens: s.jwts.rules,
	}
}

// metadataConfig is what all rooms say of the server.
func (s *server) metadataConfig() services.MetadataConfig {
	meta := services.MetadataConfig{Domain: s.names.metadata, ICE: s.ice, Max: s.cfg.Rooms.MetadataMax}
	if s.everyone().On {
		meta.Room = func(r *muc.Room) map[string]any { return map[string]any{"allownersEnabled": s.everyone().In(r)} }
	}
	if s.cfg.Transcription.URL != "" {
		meta.Flags = map[string]any{"asyncTranscription": true}
	}
	meta.Watch = map[string]func(*muc.Room, json.RawMessage){}
	if s.boards != nil {
		meta.Watch["whiteboard"] = s.watchBoard
	}
	if s.queue != nil {
		meta.Watch[services.VisitorsName] = s.watchLive
	}
	return meta
}

// everyone says where everybody moderates.
func (s *server) everyone() policy.Everyone {
	r := s.now().Rooms
	e := policy.Everyone{On: s.cfg.Rooms.Moderators == focus.ModeratorsEveryone}
	for _, room := range r.Moderated {
		e.Rooms = append(e.Rooms, strings.ToLower(room))
	}
	for _, tenant := range r.ModeratedTenants {
		e.Tenants = append(e.Tenants, xmpp.NormalTenant(tenant))
	}
	return e
}

// shutdownDelay is what people have to be moved away at the end of a graceful
// shutdown: nothing, because the focus ends with the bridge.
const shutdownDelay = time.Millisecond

func (s *server) buildBridge() (err error) {
	b := s.cfg.Bridge
	bc := bridge.DefaultConfig()
	bc.ID, bc.JID, bc.Brewery, bc.Version = bridgeID, s.names.bridgeJID, s.names.brewery, version()
	bc.ChannelURL = "ws" + strings.TrimPrefix(s.publicURL(), "http") + "/colibri-ws"
	bc.IdleTimeout = b.IdleTimeout.Duration
	if host := s.cfg.TranscriptionHost(); host != "" {
		bc.ExportHosts = []string{host}
	}
	bc.Alloc = alloc.DefaultConfig()
	bc.Alloc.LastN, bc.Alloc.DefaultMaxHeight = b.LastN, b.DefaultMaxHeight
	bc.LastNLimits = map[int]int{}
	for size, n := range b.LastNLimits {
		from, _ := strconv.Atoi(size) // validated
		bc.LastNLimits[from] = n
	}
	bc.ReduceLastN, bc.MaxCPU, bc.MaxPackets, bc.MaxEgress = b.ReduceLastN, b.MaxCPU, b.MaxPackets, b.MaxEgress
	bc.InitialDrain = b.Drain
	bc.ShutdownDelay = shutdownDelay
	bc.VideoSlots, bc.AudioSlots = b.SSRCLimitVideo, b.SSRCLimitAudio
	bc.Alloc.InitialMaxHeight, bc.Alloc.PreferredHeight = b.InitialMaxHeight, b.StageHeight
	bc.Alloc.OversendOnStage, bc.Alloc.MaxOversend = b.OversendStage, alloc.Bitrate(b.OversendMax)
	if b.AssumedBandwidthLimit > 0 {
		bc.Alloc.AssumedBandwidthLimit = alloc.Bitrate(b.AssumedBandwidthLimit)
	}
	bc.TrustBWE = b.TrustBWE
	s.bridge, err = bridge.NewService(bc, s.router, s.sockets, s.engine, s.logs.of("bridge"))
	return err
}

func (s *server) publicURL() string {
	return publicURL(s.cfg.Domain, s.listen[0], s.cfg.TLS.Mode == "off")
}

// trustedDomains are those of recorders, gateways and transcribers.
func (s *server) trustedDomains() []string {
	if d := s.cfg.Services.TrustedDomains; len(d) > 0 {
		return d
	}
	return []string{s.names.recorder}
}

func (s *server) buildFocus() (err error) {
	f := s.cfg.Focus
	fc := focus.DefaultConfig()
	fc.Domain, fc.Service, fc.JID, fc.MUC, fc.Brewery = s.names.domain, s.names.focus, s.names.focusJID, s.names.conference, s.names.brewery
	fc.AVModeration, fc.Metadata = s.names.component("avmoderation"), s.names.metadata
	if s.has(services.BreakoutName) {
		fc.Breakout = s.names.component("breakout")
	}
	s.focusVisitors(&fc)
	fc.RequireHost, fc.IsHost, fc.Moderators = s.cfg.RequireHost, s.isHost, s.cfg.Rooms.Moderators
	fc.MayAsk = s.mayAsk
	fc.Admission, fc.AdmissionTimeout = s.bookings, s.bookings.Longest()
	fc.HasToken, fc.VerifyToken, fc.ExternalLogin = s.hasToken, s.verifyToken, s.jwts.external
	if s.everyone().On {
		fc.Moderators = focus.ModeratorsHosts // the rest is decided in the room, before anybody sees the joiner
	}
	fc.TrustedDomains = s.trustedDomains()
	fc.Recorders, fc.SIPRecorders, fc.Gateways = s.names.recorders, s.names.sipRecorders, s.names.gateways
	fc.RecordRetries, fc.PendingTimeout = s.cfg.Recording.Retries, s.cfg.Recording.PendingTimeout.Duration
	fc.MaxAudioSenders, fc.MaxVideoSenders = f.MaxAudioSenders, f.MaxVideoSenders
	fc.StartTimeout, fc.LonelyTimeout = f.StartTimeout.Duration, f.LonelyTimeout.Duration
	fc.SSRCRewriting, fc.MIDExtension = f.SSRCRewriting, f.MIDExtension
	fc.MinParticipants, fc.MaxSources, fc.ICERestart = f.MinParticipants, f.MaxSourcesPerUser, f.ICERestart
	fc.Codecs, fc.OpusRED = f.Codecs, f.OpusRED
	fc.MaxConferences, fc.Linger = s.cfg.Rooms.MaxRooms, s.cfg.Rooms.Linger.Duration
	fc.Channel = s.cfg.Bridge.Channel
	fc.SessionLifetime, fc.AutoLogin = s.cfg.Auth.SessionLifetime.Duration, s.cfg.Auth.AutoLogin
	fc.Etherpad, fc.RandomDocument = s.cfg.Integrations.Etherpad != "", f.RandomDocument
	fc.Transcription = transcriptionOf(s.cfg)
	fc.Version = version()
	s.focus, err = focus.NewService(fc, s.router, s.logs.of("focus"))
	if err == nil {
		s.router.Serve(s.names.focus, s.focus)
	}
	return err
}
