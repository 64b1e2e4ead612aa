package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait: a busy machine, the race detector.
const patience = time.Minute

// world is a bridge with a scripted focus in its brewery.
type world struct {
	t     *testing.T
	s     *Service
	focus *xmpp.LocalPort

	router *xmpp.Router
	web    *httptest.Server

	cancel context.CancelFunc
	ended  chan struct{} // Run has returned
}

func newWorld(t *testing.T, options ...func(*Config)) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	router := xmpp.NewRouter(log)
	tc := transport.DefaultConfig()
	tc.Port, tc.Bind, tc.PublicAddresses, tc.Clock = 0, []string{"127.0.0.1"}, []string{"127.0.0.1"}, rtpx.Now
	sockets, err := transport.Listen(tc, log)
	if err != nil {
		t.Fatal(err)
	}
	engine := forward.NewEngine(forward.Config{NewBatch: NewBatches(sockets), Workers: 1})
	cfg := DefaultConfig()
	cfg.SuspendAfter = 0 // at the next look
	cfg.HealthInterval = 0
	for _, option := range options {
		option(&cfg)
	}
	cfg.ID, cfg.JID = "b1", xmpp.MustJID("jvb@auth.meet.example/b1")
	cfg.Brewery = xmpp.MustJID("jvbbrewery@internal.auth.meet.example")
	w := &world{t: t, router: router}
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.s.ChannelHandler().ServeHTTP(rw, r) }))
	cfg.ChannelURL = "ws" + strings.TrimPrefix(w.web.URL, "http") + "/colibri-ws"
	if w.s, err = NewService(cfg, router, sockets, engine, log); err != nil {
		t.Fatal(err)
	}
	if w.focus, err = router.NewLocalPort(cfg.Brewery.WithResource("focus"), func(*xmpp.Stanza) error { return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan struct{})
	go func() {
		defer close(w.ended)
		if err := w.s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-w.ended
		w.web.Close()
		_ = engine.Close()
		_ = sockets.Close()
	})
	return w
}

// conference is the one of createFirst.
func (w *world) conference() *Conference {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.conferences["m1"]
}

// block keeps the conference busy until something is received from the channel.
func (w *world) block(c *Conference) <-chan any {
	w.t.Helper()
	block := make(chan any)
	if err := c.box.Put(evDebug{block}); err != nil {
		w.t.Fatal(err)
	}
	for c.box.Len() > 0 {
		runtime.Gosched()
	}
	return block
}

// ask sends a conference-modify and returns the answer.
func (w *world) ask(inner string) (*colibri2.Modified, *colibri2.Error) {
	w.t.Helper()
	iq := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, w.s.cfg.JID, inner)
	res, err := w.focus.Request(w.t.Context(), iq, patience)
	if err != nil {
		ce := colibri2.ReadError(err)
		if ce == nil {
			w.t.Fatal(err)
		}
		return nil, ce
	}
	m, err := colibri2.ParseModified(res.Child(colibri2.NS, "conference-modified"))
	if err != nil {
		w.t.Fatal(err)
	}
	return m, nil
}

func (w *world) must(inner string) *colibri2.Modified {
	w.t.Helper()
	m, e := w.ask(inner)
	if e != nil {
		w.t.Fatal(e)
	}
	return m
}

const (
	createFirst = `<conference-modify xmlns="jitsi:colibri2" meeting-id="m1" name="r@conference.meet.example" create="true">` + endpointA + `</conference-modify>`
	endpointA   = `<endpoint id="aaaaaaaa" create="true"><capability name="source-names"/>` +
		`<media type="video"><payload-type xmlns="urn:xmpp:jingle:apps:rtp:1" id="100" name="VP8" clockrate="90000"/></media><transport ice-controlling="true"><sctp/></transport><sources/></endpoint>`
	sourcesOfA = `<sources><media-source type="video" id="aaaaaaaa-v0"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="11" name="aaaaaaaa-v0"/>` +
		`<source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="12" name="aaaaaaaa-v0"/><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="21" name="aaaaaaaa-v0"/>` +
		`<source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="22" name="aaaaaaaa-v0"/>` +
		`<ssrc-group xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" semantics="SIM"><source ssrc="11"/><source ssrc="12"/></ssrc-group>` +
		`<ssrc-group xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" semantics="FID"><source ssrc="11"/><source ssrc="21"/></ssrc-group>` +
		`<ssrc-group xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" semantics="FID"><source ssrc="12"/><source ssrc="22"/></ssrc-group></media-source></sources>`
)

func modify(inner string) string {
	return `<conference-modify xmlns="jitsi:colibri2" meeting-id="m1">` + inner + `</conference-modify>`
}

func endpointB() string { return strings.ReplaceAll(endpointA, "aaaaaaaa", "bbbbbbbb") }

func TestColibriLifeOfAConference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)

	m := w.must(createFirst)
	ep := m.Endpoint("aaaaaaaa")
	ice := ep.Transport.ICE
	if ice.Ufrag == "" || len(ice.Pwd) < 22 || len(ice.Candidates) == 0 || ice.Candidates[0].IP != "127.0.0.1" ||
		ice.Fingerprints[0].Setup != "actpass" || len(ice.WebSockets) != 1 || ep.Transport.SCTP.Port != 5000 || len(m.Feedback) != 2 {
		t.Fatalf("%s", m)
	}
	if m := w.must(modify(endpointB())); m.Endpoint("bbbbbbbb") == nil || len(m.Feedback) != 2 {
		t.Fatalf("%s", m)
	}
	if m := w.must(modify(`<endpoint id="aaaaaaaa"><transport><transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag="Xk2p" pwd="y0Q1w2E3r4T5y6U7i8O9p0A1"><fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="active">` +
		strings.TrimSuffix(strings.Repeat("AA:", 32), ":") + `</fingerprint></transport></transport>` + sourcesOfA + `</endpoint>`)); m.Endpoint("aaaaaaaa").Transport != nil {
		t.Fatalf("an update answers without transport: %s", m)
	}
	if m := w.must(modify(`<endpoint id="aaaaaaaa"><force-mute audio="true"/></endpoint><endpoint id="gone"><force-mute/></endpoint>`)); len(m.Endpoints) != 2 {
		t.Fatalf("%s", m)
	}
	if m := w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/><endpoint id="bbbbbbbb" expire="true"/>`)); !m.Endpoints[1].Expire {
		t.Fatalf("%s", m)
	}
	if _, e := w.ask(modify(endpointB())); e == nil || e.Reason != colibri2.ReasonConferenceNotFound {
		t.Fatalf("the conference outlived its last endpoint: %v", e)
	}
}

func TestColibriRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	for _, c := range []struct{ request, cond, reason string }{
		{createFirst, xmpp.CondConflict, colibri2.ReasonConferenceAlreadyExists},
		{modify(endpointA), xmpp.CondConflict, colibri2.ReasonUnspecified},
		{modify(`<endpoint id="nobody"><sources/></endpoint>`), xmpp.CondItemNotFound, colibri2.ReasonUnknownEndpoint},
		{strings.Replace(modify(endpointB()), `"m1"`, `"m2"`, 1), xmpp.CondItemNotFound, colibri2.ReasonConferenceNotFound},
		{modify(strings.Replace(endpointB(), `<capability name="source-names"/>`, "", 1)), xmpp.CondBadRequest, colibri2.ReasonUnspecified},
		{modify(`<endpoint id="bbbbbbbb" create="true"><capability name="source-names"/></endpoint>`), xmpp.CondBadRequest, colibri2.ReasonUnspecified},
		{modify(strings.Replace(endpointB(), `<sctp/>`, `<sctp port="1"/>`, 1)), xmpp.CondBadRequest, colibri2.ReasonUnspecified},
		{modify(endpointB() + `<endpoint id="aaaaaaaa" expire="true"/>`), xmpp.CondFeatureNotImplemented, colibri2.ReasonFeatureNotImplemented},
		{modify(`<relay id="r" create="true"/>`), xmpp.CondFeatureNotImplemented, colibri2.ReasonFeatureNotImplemented},
		{`<conference-modify xmlns="jitsi:colibri2"/>`, xmpp.CondBadRequest, colibri2.ReasonUnspecified},
	} {
		_, e := w.ask(c.request)
		if e == nil || e.Stanza.Cond != c.cond || e.Reason != c.reason {
			t.Errorf("%.120s\n got %v, want %s %s", c.request, e, c.cond, c.reason)
		}
	}
}

// A request about services changes all that it names or nothing (bridge.md §21).
func TestConnects(t *testing.T) {
	t.Parallel()
	come := make(chan string, 8)
	stt := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			var m struct{ Event string }
			if _, b, err := ws.Read(r.Context()); err != nil || json.Unmarshal(b, &m) != nil {
				return
			}
			if m.Event == "info" || m.Event == "session-end" {
				come <- r.URL.Path + " " + m.Event
			}
		}
	}))
	t.Cleanup(stt.Close)
	host := strings.TrimPrefix(stt.URL, "http://")
	w := newWorld(t, func(c *Config) { c.ExportHosts = []string{host} })
	w.must(createFirst)
	connect := func(attrs string) string {
		return `<connect protocol="mediajson" type="transcriber" audio="true" ` + attrs + `</connect>`
	}
	at := func(path string) string { return `url="ws://` + host + path + `">` }
	w.must(modify(`<connects>` + connect(`id="a" create="true" `+at("/a")) + `</connects>`))
	if got := <-come; got != "/a info" {
		t.Fatal(got)
	}
	for _, c := range []struct{ connects, cond string }{
		{connect(`id="a" create="true" ` + at("/a")), xmpp.CondBadRequest},
		{connect(`id="b" ` + at("/b")), xmpp.CondBadRequest},
		{connect(`id="b" create="true" `+at("/b")) + connect(`id="b" create="true" `+at("/b")), xmpp.CondBadRequest},
		{`<connect id="a" expire="true"/><connect id="a" expire="true"/>`, xmpp.CondBadRequest},
		{`<connect id="a" expire="true"/>` + connect(`id="a" `+at("/a")), xmpp.CondBadRequest},
		{connect(`id="a" ` + at("/elsewhere")), xmpp.CondFeatureNotImplemented},
		{connect(`id="b" create="true" `+at("/b")) + connect(`id="c" create="true" video="true" `+at("/c")), xmpp.CondFeatureNotImplemented},
		{strings.Replace(connect(`id="b" create="true" `+at("/b")), "mediajson", "smoke", 1), xmpp.CondFeatureNotImplemented},
		{connect(`id="b" create="true" url="ws://169.254.169.254/">`), xmpp.CondNotAllowed},
		{connect(`id="b" create="true" url="http://` + host + `/">`), xmpp.CondBadRequest},
	} {
		if _, e := w.ask(modify(`<connects>` + c.connects + `</connects>`)); e == nil || e.Stanza.Cond != c.cond {
			t.Errorf("%s\n got %v, want %s", c.connects, e, c.cond)
		}
	}
	// One in the place of another, under its name; what was refused has changed nothing.
	w.must(modify(`<connects>` + connect(`id="a" create="true" `+at("/new")) + `<connect id="a" expire="true"/></connects>`))
	got := map[string]bool{<-come: true, <-come: true}
	if !got["/a session-end"] || !got["/new info"] {
		t.Error(got)
	}
	w.must(modify(`<connects>` + connect(`id="a" `+at("/new")+`<exports><export name="aaaaaaaa-a0"/></exports>`) + `</connects>`))
	w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/>`))
	if got := <-come; got != "/new session-end" {
		t.Error("the conference ended and its connection did not:", got)
	}
}

func TestOnlyTheBreweryIsHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	iq := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "x", xmpp.MustJID("evil@meet.example/1"), w.s.cfg.JID, createFirst)
	var se *xmpp.StanzaError
	if err := w.s.receive(iq); !errors.As(err, &se) || se.Cond != xmpp.CondForbidden {
		t.Fatalf("a stranger: %v", err)
	}
}

// dial opens the WebSocket of an endpoint.
func (w *world) dial(m *colibri2.Modified, id string) *websocket.Conn {
	w.t.Helper()
	ws, _, err := websocket.Dial(w.t.Context(), m.Endpoint(id).Transport.ICE.WebSockets[0], nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// expect reads until a message of the class comes.
func (w *world) expect(ws *websocket.Conn, class string) map[string]any {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			w.t.Fatalf("waiting for %s: %v", class, err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			w.t.Fatal(err)
		}
		if m["colibriClass"] == class {
			return m
		}
	}
}

func (w *world) say(ws *websocket.Conn, msg string) {
	w.t.Helper()
	if err := ws.Write(w.t.Context(), websocket.MessageText, []byte(msg)); err != nil {
		w.t.Fatal(err)
	}
}

func TestChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))

	for _, ws := range []*websocket.Conn{a, b} {
		w.expect(ws, "ServerHello")
		w.expect(ws, "ForwardedSources")
	}
	// Nobody has asked for video yet: the sender need not encode.
	if m := w.expect(a, "SenderSourceConstraints"); m["sourceName"] != "aaaaaaaa-v0" || m["maxHeight"] != 0.0 {
		t.Fatalf("%v", m)
	}
	// Garbage is dropped; the channel goes on.
	w.say(b, `{"colibriClass":`)
	w.say(b, `[1,2,3]`)
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{"aaaaaaaa-v0":{"maxHeight":720}}}`)
	if m := w.expect(a, "SenderSourceConstraints"); m["maxHeight"] != 720.0 {
		t.Fatalf("%v", m)
	}
	if m := w.expect(b, "ForwardedSources"); len(m["forwardedSources"].([]any)) != 1 {
		t.Fatalf("%v", m)
	}
	w.say(b, `{"colibriClass":"LastNChangedEvent","lastN":0}`)
	if m := w.expect(b, "ForwardedSources"); len(m["forwardedSources"].([]any)) != 0 {
		t.Fatalf("%v", m)
	}
	if m := w.expect(a, "SenderSourceConstraints"); m["maxHeight"] != 0.0 {
		t.Fatalf("%v", m)
	}
	w.say(a, `{"colibriClass":"EndpointMessage","to":"","from":"bbbbbbbb","msgPayload":{"name":"wave"}}`)
	if m := w.expect(b, "EndpointMessage"); m["from"] != "aaaaaaaa" || m["msgPayload"].(map[string]any)["name"] != "wave" {
		t.Fatalf("%v", m)
	}
}

// A sender whose channel opens a moment before that of who watches it is not told
// to stop: two opposite constraints at once are more than some clients can take.
func TestSenderIsNotStoppedForAMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.SuspendAfter = time.Minute })
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	w.expect(a, "ServerHello")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{"aaaaaaaa-v0":{"maxHeight":720}}}`)
	if m := w.expect(a, "SenderSourceConstraints"); m["maxHeight"] != 720.0 {
		t.Errorf("%v", m)
	}
}

// A client that floods is not heard; the others keep their channels.
func TestChannelFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.expect(a, "ServerHello")
	w.expect(b, "ServerHello")
	begin := time.Now()
	for range 2000 {
		w.say(a, `{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}`)
	}
	for w.s.Stats().SocketIn < 2000 {
		runtime.Gosched() // another channel could overtake the flood
	}
	w.say(b, `{"colibriClass":"EndpointMessage","to":"aaaaaaaa","msgPayload":{}}`)
	w.expect(a, "EndpointMessage")
	w.say(b, `{"colibriClass":"ClientHello"}`)
	got := 0
	for {
		_, msg, err := b.Read(t.Context())
		if err != nil {
			t.Fatalf("the other's channel ended after %d messages: %v", got, err)
		}
		if strings.Contains(string(msg), "ServerHello") {
			break
		}
		got++
	}
	most := w.s.cfg.BroadcastRate*(5+1+int(time.Since(begin)/time.Second)) + maxHeld
	if dropped := w.s.Stats().MessagesDropped; got == 0 || got > most || dropped < uint64(2000-most) {
		t.Errorf("%d messages came through, want no more than %d; %d were dropped", got, most, dropped)
	}
}

// In a large conference statistics go to those who watch the sender.
func TestStatsInALargeConference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	ws := map[string]*websocket.Conn{}
	for i := range statsThreshold {
		id := fmt.Sprintf("%08x", i)
		m := w.must(modify(strings.ReplaceAll(endpointB(), "bbbbbbbb", id)))
		if i < 2 {
			ws[id] = w.dial(m, id)
			w.expect(ws[id], "ServerHello")
		}
	}
	watching, other := ws["00000000"], ws["00000001"]
	w.say(watching, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":180}}`)
	for len(w.expect(watching, "ForwardedSources")["forwardedSources"].([]any)) == 0 {
	}
	w.say(a, `{"colibriClass":"EndpointStats","bitrate":{"upload":1}}`)
	w.expect(watching, "EndpointStats")
	w.say(a, `{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}`)
	for {
		_, b, err := other.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "EndpointStats") {
			t.Fatal("statistics of somebody who is not watched")
		}
		if strings.Contains(string(b), "EndpointMessage") {
			return
		}
	}
}

// A client of December 2021 speaks of endpoints and gets the answers it knows.
func TestChannelOfAnOldClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	w.say(a, `{"colibriClass":"ReceiverVideoConstraints","constraints":{},"lastN":-1,"onStageEndpoints":[],"selectedEndpoints":[]}`)
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","constraints":{"aaaaaaaa":{"maxHeight":360}},"lastN":-1,"onStageEndpoints":["aaaaaaaa"],"selectedEndpoints":[]}`)
	if m := w.expect(b, "LastNEndpointsChangeEvent"); len(m["lastNEndpoints"].([]any)) != 1 || m["lastNEndpoints"].([]any)[0] != "aaaaaaaa" {
		t.Fatalf("%v", m)
	}
	// 0 first, if a was heard before b.
	for m := w.expect(a, "SenderVideoConstraints"); m["videoConstraints"].(map[string]any)["idealHeight"] != 360.0; {
		m = w.expect(a, "SenderVideoConstraints")
	}
}

// The focus invites somebody anew by expiring the endpoint and making one of the
// same id with the same sources, as fast as it gets answers.
func TestEndpointIsMadeAnewAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	w.must(modify(endpointB()))
	b := w.dial(w.must(modify(strings.ReplaceAll(endpointB(), "bbbbbbbb", "cccccccc"))), "cccccccc")
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":180}}`)
	for range 20 {
		w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
		if m := w.expect(b, "ForwardedSources"); len(m["forwardedSources"].([]any)) != 1 {
			m = w.expect(b, "ForwardedSources")
			if len(m["forwardedSources"].([]any)) != 1 {
				t.Fatalf("the sources of the new endpoint are not taken: %v", m)
			}
		}
		w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/>`))
		w.must(modify(endpointA))
	}
}

// A conference that ended with its last endpoint is gone when the focus knows.
func TestConferenceIsMadeAnewAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 50 {
		w.must(createFirst)
		w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/>`))
	}
}

// One whose only endpoint was refused is gone as well.
func TestRefusedConferenceLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, e := w.ask(strings.Replace(createFirst, `<capability name="source-names"/>`, "", 1)); e == nil || e.Stanza.Cond != xmpp.CondBadRequest {
		t.Fatal(e)
	}
	w.must(createFirst)
}

func TestICERestartTooEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ice := w.must(createFirst).Endpoint("aaaaaaaa").Transport.ICE
	ep := w.must(modify(`<endpoint id="aaaaaaaa"><transport ice-restart="true"/></endpoint>`)).Endpoint("aaaaaaaa")
	if ep.Transport == nil || ep.Transport.ICE == nil || ep.Transport.ICE.Ufrag != ice.Ufrag || ep.Transport.ICE.Generation != 0 {
		t.Fatalf("want the present transport without a generation: %+v", ep.Transport)
	}
}

// A fingerprint that takes either role is answered with ours.
func TestActpassIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withRemote := strings.Replace(createFirst, `<sctp/></transport>`, `<sctp/><transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag="Xk2p" pwd="y0Q1w2E3r4T5y6U7i8O9p0A1">`+
		`<fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="actpass">`+strings.TrimSuffix(strings.Repeat("AA:", 32), ":")+`</fingerprint></transport></transport>`, 1)
	if got := w.must(withRemote).Endpoint("aaaaaaaa").Transport.ICE.Fingerprints[0].Setup; got != "active" {
		t.Fatalf("setup %q", got)
	}
}

// What a client of December 2021 knows of the last-N survives a lost channel.
func TestOldClientIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	m := w.must(modify(endpointB()))
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	b := w.dial(m, "bbbbbbbb")
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","constraints":{},"lastN":-1,"onStageEndpoints":["aaaaaaaa"],"selectedEndpoints":[]}`)
	w.expect(b, "LastNEndpointsChangeEvent")
	again := w.dial(m, "bbbbbbbb")
	if m := w.expect(again, "LastNEndpointsChangeEvent"); len(m["lastNEndpoints"].([]any)) != 1 {
		t.Fatalf("%v", m)
	}
}

// A long message to everybody counts as many.
func TestBroadcastsAreWeighed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	for range 20 {
		w.say(a, `{"colibriClass":"EndpointMessage","to":"","msgPayload":{"long":"`+strings.Repeat("x", 30_000)+`"}}`)
	}
	w.say(a, `{"colibriClass":"EndpointMessage","to":"bbbbbbbb","msgPayload":{}}`)
	passed := 0
	for w.expect(b, "EndpointMessage")["to"] == "" {
		passed++
	}
	if passed == 0 || passed > 10 {
		t.Errorf("%d of 20 passed", passed)
	}
}

// A message that weighs more than the whole ration passes, as one of 20 KiB to a
// thousand does, and what is said right after it waits for its turn.
func TestHeavyBroadcastPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.BroadcastRate = 1 })
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	if weight, ration := broadcastWeight(20<<10, 1000), 5*DefaultConfig().BroadcastRate; weight <= ration {
		t.Errorf("weight %d of a ration of %d: this test is of something else", weight, ration)
	}
	long := strings.Repeat("x", 20<<10)
	if broadcastWeight(len(long), 2) <= 5*1 {
		t.Fatal("not heavy")
	}
	w.say(a, `{"colibriClass":"EndpointMessage","to":"","msgPayload":{"n":0,"long":"`+long+`"}}`)
	for n := 1; n <= 2; n++ {
		w.say(a, fmt.Sprintf(`{"colibriClass":"EndpointMessage","to":"","msgPayload":{"n":%d}}`, n))
	}
	for n := range 3 {
		if m := w.expect(b, "EndpointMessage"); m["msgPayload"].(map[string]any)["n"] != float64(n) || m["from"] != "aaaaaaaa" {
			t.Fatalf("message %d: %.200v", n, m)
		}
	}
	if n := w.s.Stats().MessagesDropped; n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// A request that waits in the mailbox of a conference that ends is answered, and
// a socket that waits there is closed.
func TestWhatComesTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.must(createFirst)
	c := w.conference()
	first := w.block(c)
	second := make(chan any)
	if err := c.box.Put(evDebug{second}); err != nil {
		t.Fatal(err)
	}
	requests := make(chan error, 2)
	request := func(inner string) {
		_, err := w.focus.Request(context.Background(), xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, w.s.cfg.JID, modify(inner)), patience)
		requests <- err
	}
	go request(`<endpoint id="aaaaaaaa" expire="true"/>`)
	waitFor := func(n int) {
		for c.box.Len() != n {
			runtime.Gosched()
		}
	}
	waitFor(2)
	<-first
	waitFor(0) // the conference is about to end
	ws := w.dial(m, "aaaaaaaa")
	waitFor(1)
	go request(endpointB())
	waitFor(2)
	<-second
	answers := []error{<-requests, <-requests}
	if (answers[0] == nil) == (answers[1] == nil) {
		t.Errorf("one is done, the other refused: %v", answers)
	}
	_, _, err := ws.Read(t.Context())
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("socket of a conference that is gone: %v", err)
	}
}

// A conference that lost events is made anew.
func TestOverrunConferenceEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	c := w.conference()
	block := w.block(c)
	for c.put(evDebug{make(chan any, 1)}) == nil {
	}
	<-block
	for w.conference() != nil {
		runtime.Gosched()
	}
	if n := w.s.Stats().Overruns; n != 1 {
		t.Errorf("%d overruns", n)
	}
	w.must(createFirst)
}

// A full mailbox does not keep a conference, and so the server, from ending.
func TestEndsWithAFullMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	c := w.conference()
	block := w.block(c)
	for c.box.Put(evDebug{make(chan any, 1)}) == nil {
	}
	if _, e := w.ask(modify(endpointB())); e == nil || e.Stanza.Cond != xmpp.CondInternalServerError || e.Reason != colibri2.ReasonUnspecified {
		t.Errorf("a request that finds no room: %v", e)
	}
	w.cancel()
	for stopping := false; !stopping; runtime.Gosched() {
		w.s.mu.Lock()
		stopping = w.s.stopping
		w.s.mu.Unlock()
	}
	<-block
	select {
	case <-w.ended:
	case <-time.After(patience):
		t.Fatal("still running")
	}
}

func TestChannelPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.must(createFirst).Endpoint("aaaaaaaa").Transport.ICE.WebSockets[0]
	for url, want := range map[string]int{
		good[:len(good)-1] + "!":                      http.StatusForbidden,
		strings.Replace(good, "aaaaaaaa", "other", 1): http.StatusForbidden,
		strings.Replace(good, "/b1/", "/b2/", 1):      http.StatusNotFound,
		strings.Replace(good, "/b1/", "/", 1):         http.StatusNotFound,
	} {
		_, res, err := websocket.Dial(t.Context(), url, nil)
		if err == nil || res == nil || res.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", url, res, err, want)
		}
	}
}

func TestCPUTimes(t *testing.T) {
	busy, all, stolen, ok := cpuTimes("cpu  100 0 50 800 40 0 5 5 0 0\ncpu0 1 2 3\n")
	if !ok || busy != 160 || all != 1000 || stolen != 5 {
		t.Fatal(busy, all, stolen, ok)
	}
	if _, _, _, ok := cpuTimes("garbage"); ok {
		t.Fatal("garbage was read")
	}
}
