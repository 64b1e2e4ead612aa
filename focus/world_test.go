package focus_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/muc"
	"confab/muc/policy"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// world is the focus with real rooms on a real router, a scripted bridge in the
// brewery, and clients that are ports. It lives in a synctest bubble.
type world struct {
	t      *testing.T
	router *xmpp.Router
	focus  *focus.Service
	bridge *bridge
	main   *muc.Service
	room   xmpp.JID
	log    *slog.Logger
	guests *muc.Service // rooms of visitors
}

func newWorld(t *testing.T, change func(*focus.Config)) *world {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FOCUS_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w := &world{t: t, log: log, router: xmpp.NewRouter(log), room: xmpp.MustJID("standup@conference.meet.example")}
	admin := xmpp.MustJID("focus@auth.meet.example")
	jvb := xmpp.MustJID("jvb@auth.meet.example")

	cfg := focus.DefaultConfig()
	cfg.Domain, cfg.Service, cfg.MUC = "meet.example", "focus.meet.example", "conference.meet.example"
	cfg.JID = admin.WithResource("focus")
	cfg.Brewery = xmpp.MustJID("jvbbrewery@internal.auth.meet.example")
	cfg.BridgeSilence = 1000 * time.Hour // scripted bridges say nothing by themselves
	if change != nil {
		change(&cfg)
	}

	mc := muc.DefaultConfig()
	mc.Domain = "conference.meet.example"
	mc.Linger = cfg.Linger
	mc.Admins, mc.Focus = []xmpp.JID{admin}, admin
	mc.FocusService = xmpp.MustJID("focus.meet.example")
	mc.ServiceDomains = []string{"auth.meet.example"}
	mc.Stages = policy.Main(policy.DefaultConfig())
	mc.Client = func(p xmpp.Port) muc.Client {
		if p.JID().Local == "plain" {
			return muc.Client{}
		}
		return muc.Client{Room: "standup", Host: p.JID().Local == "host"}
	}
	if cfg.Visitors.Node != "" {
		mc.Services = w.visitorServices(&cfg)
	}
	main := muc.NewService(mc, w.router, log)
	w.main = main
	brew := muc.NewService(muc.Config{
		Domain: "internal.auth.meet.example", Admins: []xmpp.JID{admin, jvb}, Focus: admin, Access: []string{"auth.meet.example"}, Stages: policy.Breweries(map[string]string{"jvbbrewery": jvb.Local}),
	}, w.router, log)
	w.router.Serve(mc.Domain, main)
	w.router.ServeTenants(mc.Domain, main)
	w.router.Serve("internal.auth.meet.example", brew)

	var err error
	if w.focus, err = focus.NewService(cfg, w.router, log); err != nil {
		t.Fatal(err)
	}
	w.router.Serve(cfg.Service, w.focus)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = main.Run(ctx) })
	if cfg.Visitors.Node != "" {
		sv := w.serveVisitors(mc)
		wg.Go(func() { _ = sv.Run(ctx) })
	}
	wg.Go(func() { _ = brew.Run(ctx) })
	wg.Go(func() { _ = w.focus.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	synctest.Wait()
	w.bridge = w.newBridge("b1")
	return w
}

// bridge is a bridge in the brewery. It answers what it is asked, unless a test
// says otherwise.
type bridge struct {
	w    *world
	nick xmpp.JID
	port *xmpp.LocalPort

	mu     sync.Mutex
	asked  []*colibri2.Modify
	refuse func(*colibri2.Modify) error // errSilence: no answer
	delay  time.Duration                // of answers
	serial int
	made   uint32 // conferences; each has its own SSRCs
	last   string // meeting id
}

var errSilence = fmt.Errorf("silence")

func (w *world) newBridge(name string) *bridge {
	b := &bridge{w: w, nick: xmpp.MustJID("jvbbrewery@internal.auth.meet.example/" + name)}
	var err error
	b.port, err = w.router.NewLocalPort(xmpp.MustJID("jvb@auth.meet.example/"+name), b.receive)
	if err != nil {
		w.t.Fatal(err)
	}
	b.present(`<x xmlns="http://jabber.org/protocol/muc"/>`, "healthy", "true")
	return b
}

func (b *bridge) present(more string, kv ...string) {
	s := colibri2.Stats{"stress_level": "0", "drain": "false", "version": "1", "region": "eu-west"}
	for i := 0; i < len(kv); i += 2 {
		s[kv[i]] = kv[i+1]
	}
	b.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, b.nick, s.String()+more))
	synctest.Wait()
}

func (b *bridge) leave() {
	b.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, b.nick, ""))
	b.port.Close()
	synctest.Wait()
}

func (b *bridge) receive(s *xmpp.Stanza) error {
	el := s.Child(colibri2.NS, "conference-modify")
	if el == nil {
		return nil
	}
	m, err := colibri2.ParseModify(el)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, m)
	b.last = m.MeetingID
	if b.refuse != nil {
		if err := b.refuse(m); err == errSilence {
			return nil
		} else if err != nil {
			return err
		}
	}
	out := &colibri2.Modified{}
	if m.Create {
		b.made++
	}
	for _, ep := range m.Endpoints {
		re := colibri2.Endpoint{ID: ep.ID, Expire: ep.Expire}
		if ep.Create || ep.Transport != nil && ep.Transport.ICERestart {
			b.serial++
			re.Transport = &colibri2.Transport{ICE: &jingle.Transport{
				Ufrag: fmt.Sprint("u", b.serial), Pwd: "p", RTCPMux: true,
				Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "actpass", Value: "0A:1B"}},
				WebSockets:   []string{"wss://meet.example/colibri-ws/b1/c/" + ep.ID + "?pwd=x"},
				Candidates: []jingle.Candidate{{
					ID: "1", Foundation: "1", Component: 1, Protocol: "udp", Priority: 2130706431, IP: "203.0.113.7", Port: 10000, Type: "host",
				}},
			}}
			if ep.Create {
				re.Transport.SCTP = &colibri2.SCTP{Role: "server", Port: 5000}
				out.Feedback = []colibri2.MediaSource{
					{Type: "audio", ID: "jvb-a0", Sources: []jingle.Source{{SSRC: 3191927962 + b.made, Name: "jvb-a0"}}},
					{Type: "video", ID: "jvb-v0", Sources: []jingle.Source{{SSRC: 1863439906 + b.made, Name: "jvb-v0"}}},
				}
			} else {
				re.Transport.ICE.Generation = b.serial
			}
		}
		out.Endpoints = append(out.Endpoints, re)
	}
	answer := func() { b.port.Send(s.Result(out.String())) }
	if b.delay > 0 {
		time.AfterFunc(b.delay, answer)
		return nil
	}
	answer()
	return nil
}

// slow makes the bridge answer after d.
func (b *bridge) slow(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

// requests takes what the bridge has been asked since the last call.
func (b *bridge) requests() []*colibri2.Modify {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.asked
	b.asked = nil
	return out
}

func (b *bridge) refusing(f func(*colibri2.Modify) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = f
}

// Features as stock clients answer them.
var (
	features2026 = []string{
		"http://jabber.org/protocol/caps", "http://jitsi.org/json-encoded-sources", "http://jitsi.org/receive-multiple-video-streams",
		"http://jitsi.org/remb", "http://jitsi.org/source-name", "http://jitsi.org/start-muted-room-metadata", "http://jitsi.org/tcc",
		"http://jitsi.org/visitors-1", "urn:ietf:rfc:4588", "urn:xmpp:jingle:1", "urn:xmpp:jingle:apps:dtls:0", "urn:xmpp:jingle:apps:rtp:1",
		"urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video", "urn:xmpp:jingle:transports:dtls-sctp:1",
		"urn:xmpp:jingle:transports:ice-udp:1", "urn:xmpp:rayo:client:1",
	}
	caps2026     = `<c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://jitsi.org/jitsi-meet" ver="dtzK/3xhISaXUMVg59IpXxdvKyQ="/><SourceInfo>{}</SourceInfo>`
	featuresXML  = slices.DeleteFunc(slices.Clone(features2026), func(f string) bool { return f == jitmeet.FeatureJSONSources })
	capsUnknown  = `<c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://jitsi.org/jitsi-meet" ver="other"/><SourceInfo>{}</SourceInfo>`
	featuresChat = []string{"http://jabber.org/protocol/muc", "urn:xmpp:jingle:1", "urn:xmpp:jingle:apps:rtp:1", "urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video"}
)

// client is a client in the room, or about to be.
type client struct {
	w    *world
	nick string
	port *xmpp.LocalPort
	me   xmpp.JID // room/nick

	mu       sync.Mutex
	got      []*xmpp.Stanza
	features []string
	asked    int // disco#info requests
	refuse   error
	sid      string
}

// client connects; nothing more.
func (w *world) client(user, nick string) *client {
	w.t.Helper()
	c := &client{w: w, nick: nick, me: w.room.WithResource(nick), features: features2026}
	var err error
	if c.port, err = w.router.NewLocalPort(xmpp.MustJID(user+"/r"), c.receive); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (c *client) receive(s *xmpp.Stanza) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.IsRequest() && s.Has(xmpp.NSInfo, "query") {
		c.asked++
		if c.features == nil {
			return nil // never answers
		}
		c.port.Send(s.Result(xmpp.DiscoInfo{Features: c.features}.Inner("")))
		return nil
	}
	c.got = append(c.got, s)
	if el := s.Child(jingle.NS, "jingle"); el != nil && s.IsRequest() {
		if c.refuse != nil {
			return c.refuse
		}
		c.port.Send(s.Result(""))
	}
	return nil
}

// request asks for the conference and returns the answer.
func (c *client) request(attrs string) (*jitmeet.ConferenceResponse, *xmpp.StanzaError) {
	c.w.t.Helper()
	inner := `<conference xmlns="http://jitsi.org/protocol/focus" room="` + c.w.room.String() + `" ` + attrs + `/>`
	s, err := c.port.Request(c.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"), inner), time.Minute)
	if err != nil {
		se, ok := err.(*xmpp.StanzaError)
		if !ok {
			c.w.t.Fatal(err)
		}
		return nil, se
	}
	synctest.Wait()
	return jitmeet.ParseConferenceResponse(s.Child(jitmeet.NSFocus, "conference")), nil
}

// join enters the room.
func (c *client) join(extra string) {
	c.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, c.me, `<x xmlns="http://jabber.org/protocol/muc"/>`+extra))
	synctest.Wait()
}

func (c *client) leave() {
	c.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, c.me, ""))
	synctest.Wait()
}

// meet connects, asks and joins.
func (w *world) meet(nick string) *client {
	w.t.Helper()
	c := w.client(nick+"@meet.example", nick)
	if r, se := c.request(`machine-uid="m"`); se != nil || !r.Ready {
		w.t.Fatalf("%s: conference request: %+v %v", nick, r, se)
	}
	c.join(caps2026)
	return c
}

// jingle takes the next Jingle action that the client got; nil when there is
// none. Presences stay for presences.
func (c *client) jingle() *jingle.Jingle {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.got {
		if el := s.Child(jingle.NS, "jingle"); el != nil {
			if s.From != c.me.Bare().WithResource("focus") {
				c.w.t.Errorf("%s: jingle from %s", c.nick, s.From)
			}
			c.got = slices.Delete(c.got, i, i+1)
			j, err := jingle.Parse(el)
			if err != nil {
				c.w.t.Error(err)
			}
			return j
		}
	}
	return nil
}

// expect takes the next action, which must be that.
func (c *client) expect(action string) *jingle.Jingle {
	c.w.t.Helper()
	j := c.jingle()
	if j == nil || j.Action != action {
		c.w.t.Fatalf("%s: got %v, want %s", c.nick, j, action)
	}
	return j
}

func (c *client) nothing() {
	c.w.t.Helper()
	if j := c.jingle(); j != nil {
		c.w.t.Errorf("%s: unexpected %s", c.nick, j)
	}
}

// presences takes the presences that the client got from an occupant.
func (c *client) presences(nick string) []*xmpp.Stanza {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*xmpp.Stanza
	c.got = slices.DeleteFunc(c.got, func(s *xmpp.Stanza) bool {
		if s.Kind == xmpp.Presence && s.From.Resource == nick {
			out = append(out, s)
			return true
		}
		return false
	})
	return out
}

// say sends a request to the occupant "focus".
func (c *client) say(inner string) error {
	_, err := c.port.Request(c.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, c.me.Bare().WithResource("focus"), inner), time.Minute)
	synctest.Wait()
	return err
}

// camera are the sources of a camera in three layers and a microphone.
func (c *client) media(base uint32) []jingle.Content {
	src := func(ssrc uint32, name, kind, vt string) jingle.Source {
		return jingle.Source{SSRC: base + ssrc, Name: c.nick + name, VideoType: vt, MSID: c.nick + kind}
	}
	v := jingle.Description{Media: "video", RTCPMux: true}
	for _, n := range []uint32{1, 11, 2, 3, 12, 13} {
		v.Sources = append(v.Sources, src(n, "-v0", "-video-0-1 x-1", "camera"))
	}
	v.Groups = []jingle.SSRCGroup{
		{Semantics: "FID", SSRCs: []uint32{base + 1, base + 11}},
		{Semantics: "SIM", SSRCs: []uint32{base + 1, base + 2, base + 3}},
		{Semantics: "FID", SSRCs: []uint32{base + 2, base + 12}},
		{Semantics: "FID", SSRCs: []uint32{base + 3, base + 13}},
	}
	a := jingle.Description{Media: "audio", RTCPMux: true, Sources: []jingle.Source{src(50, "-a0", "-audio-0-1 y-1", "")}}
	tr := &jingle.Transport{Ufrag: "cu" + c.nick, Pwd: "cp", Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: "AA:BB"}}}
	n := 5
	return []jingle.Content{
		{Creator: "responder", Name: "audio", Senders: "both", Description: &a, Transport: tr},
		{Creator: "responder", Name: "video", Senders: "both", Description: &v, Transport: tr, InitialLastN: &n},
		{Creator: "responder", Name: "data", Transport: tr},
	}
}

// accept answers an offer.
func (c *client) accept(offer *jingle.Jingle, base uint32) error {
	c.sid = offer.SID
	return c.say((&jingle.Jingle{Action: jingle.SessionAccept, SID: offer.SID, Contents: c.media(base)}).String())
}

// two are two clients in a running meeting.
func (w *world) two() (a, b *client) {
	w.t.Helper()
	a, b = w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
	for i, c := range []*client{a, b} {
		if err := c.accept(c.expect(jingle.SessionInitiate), uint32(i+1)*1000); err != nil {
			w.t.Fatal(err)
		}
	}
	a.expect(jingle.SourceAdd)
	b.expect(jingle.SourceAdd)
	w.bridge.requests()
	return a, b
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// silence is a service that never answers.
type silence struct{}

func (silence) HandleStanza(context.Context, *xmpp.Stanza, bool) error { return nil }

func (c closed) HandleStanza(_ context.Context, s *xmpp.Stanza, _ bool) error {
	if s.Kind == xmpp.Presence && s.Type == "" {
		return c.err
	}
	return nil
}
