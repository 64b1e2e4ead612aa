package colibri2

import (
	"errors"
	"reflect"
	"testing"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

func element(t testing.TB, src string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	return el
}

const createConference = `<conference-modify xmlns="jitsi:colibri2" meeting-id="7d3d" name="planning@conference.meet.example" create="true">` +
	`<endpoint id="4a1c9f02" create="true" stats-id="Orla-4Kf"><capability name="source-names"/>` +
	`<media type="audio"><payload-type xmlns="urn:xmpp:jingle:apps:rtp:1" id="111" name="opus" clockrate="48000" channels="2"><parameter name="minptime" value="10"/>` +
	`<rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="transport-cc"/></payload-type>` +
	`<rtp-hdrext xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0" id="1" uri="urn:ietf:params:rtp-hdrext:ssrc-audio-level"/>` +
	`<extmap-allow-mixed xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"/></media>` +
	`<transport ice-controlling="true"><sctp/></transport><sources/></endpoint></conference-modify>`

const updateEndpoint = `<conference-modify xmlns="jitsi:colibri2" meeting-id="7d3d"><endpoint id="4a1c9f02">` +
	`<transport><transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag="Xk2p" pwd="y0Q1"><rtcp-mux/>` +
	`<fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="active">A1:B2</fingerprint></transport></transport>` +
	`<sources><media-source type="video" id="4a1c9f02-v0"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="4001" name="4a1c9f02-v0" videoType="camera"/>` +
	`<source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="4101" name="4a1c9f02-v0"/>` +
	`<ssrc-group xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" semantics="FID"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="4001"/><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="4101"/></ssrc-group>` +
	`</media-source></sources><initial-last-n value="20"/></endpoint></conference-modify>`

const forceMute = `<conference-modify xmlns="jitsi:colibri2" meeting-id="7d3d"><endpoint id="4a1c9f02"><force-mute audio="true"/></endpoint>` +
	`<endpoint id="77aa0b13"><force-mute/></endpoint></conference-modify>`

const expireConference = `<conference-modify xmlns="jitsi:colibri2" meeting-id="7d3d" expire="true"/>`

const connects = `<conference-modify xmlns="jitsi:colibri2" meeting-id="7d3d"><connects>` +
	`<connect id="transcriber" create="true" url="wss://stt.example/r/7d3d" protocol="mediajson" type="transcriber" audio="true">` +
	`<http-header name="Authorization" value="Bearer x"/><ping interval="10000" timeout="3000"/></connect>` +
	`<connect id="translator" url="wss://stt.example/t" protocol="mediajson" type="translator" audio="true">` +
	`<exports><export name="4a1c9f02-a0"/></exports><requests><request name="4a1c9f02-a0.hi"/></requests></connect>` +
	`<connect id="recorder" expire="true"/></connects></conference-modify>`

const created = `<conference-modified xmlns="jitsi:colibri2"><endpoint id="4a1c9f02"><transport>` +
	`<transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag="8v1t2" pwd="3h0q"><rtcp-mux/>` +
	`<fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="actpass">2C:5F</fingerprint>` +
	`<web-socket xmlns="http://jitsi.org/protocol/colibri" url="wss://meet.example/colibri-ws/b/5f/4a1c9f02?pwd=aB3d"/>` +
	`<candidate id="2" foundation="2" component="1" protocol="udp" priority="1694498815" ip="198.51.100.7" port="10000" type="srflx" rel-addr="10.0.0.5" rel-port="10000" generation="0" network="0"/></transport>` +
	`<sctp role="server" port="5000"/></transport></endpoint><sources>` +
	`<media-source type="audio" id="jvb-a0"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="2764517221" name="jvb-a0"/></media-source>` +
	`<media-source type="video" id="jvb-v0"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="891120456" name="jvb-v0"/></media-source></sources></conference-modified>`

// Each request as jicofo writes it is written again to the byte.
func TestModify(t *testing.T) {
	t.Parallel()
	for _, src := range []string{createConference, updateEndpoint, forceMute, expireConference, connects} {
		m, err := ParseModify(element(t, src))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.String(); got != src {
			t.Errorf("got  %s\nwant %s", got, src)
		}
	}
	m, _ := ParseModify(element(t, createConference))
	ep := m.Endpoints[0]
	if !m.Create || !ep.Create || !ep.Has(CapSourceNames) || ep.Has(CapSSRCRewriting) || !ep.Transport.ICEControlling || ep.Transport.SCTP == nil || ep.Sources == nil || len(*ep.Sources) != 0 {
		t.Errorf("%+v", ep)
	}
	m, _ = ParseModify(element(t, forceMute))
	if ep := m.Endpoints[1]; ep.Sources != nil || ep.Transport != nil || *ep.ForceMute != (ForceMute{}) {
		t.Errorf("%+v", ep)
	}
}

func TestModified(t *testing.T) {
	t.Parallel()
	m, err := ParseModified(element(t, created))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.String(); got != created {
		t.Errorf("got  %s\nwant %s", got, created)
	}
	ep := m.Endpoint("4a1c9f02")
	if ep.Transport.SCTP.Port != 5000 || ep.Transport.ICE.Candidates[0].RelPort != 10000 || m.Endpoint("x") != nil {
		t.Errorf("%+v", ep)
	}
	if want := []jingle.Source{{SSRC: 891120456, Name: "jvb-v0"}}; !reflect.DeepEqual(m.Feedback[1].Sources, want) {
		t.Errorf("%+v", m.Feedback)
	}
}

func TestMissingIDs(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]error{
		`<conference-modify xmlns="jitsi:colibri2"/>`:                                                                                ErrNoMeetingID,
		`<conference-modify xmlns="jitsi:colibri2" meeting-id="m"><endpoint/></conference-modify>`:                                   ErrNoID,
		`<conference-modify xmlns="jitsi:colibri2" meeting-id="m"><relay/></conference-modify>`:                                      ErrNoID,
		`<conference-modify xmlns="jitsi:colibri2" meeting-id="m"><connects><connect url="ws://a/"/></connects></conference-modify>`: ErrNoID,
	} {
		if _, err := ParseModify(element(t, src)); !errors.Is(err, want) {
			t.Errorf("%s: %v", src, err)
		}
	}
}

// What a bridge is told to connect to goes into an HTTP request.
func TestConnects(t *testing.T) {
	t.Parallel()
	read := func(connect string) (*Modify, error) {
		return ParseModify(element(t, `<conference-modify xmlns="jitsi:colibri2" meeting-id="m"><connects>`+connect+`</connects></conference-modify>`))
	}
	m, err := read(`<connect id="t" create="true" url="WSS://stt.example/r" protocol="MEDIAJSON" type="Transcriber"><http-header name="x-key" value="a&#13;&#10;Host: b"/><ping/></connect>`)
	if err != nil {
		t.Fatal(err)
	}
	c := m.Connects[0]
	if c.Protocol != MediaJSON || c.Type != ConnectTranscriber || c.Headers.Get("X-Key") != "aHost: b" || *c.Ping != (Ping{}) {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{
		`<connect id="t" url="https://stt.example/" type="transcriber"/>`,
		`<connect id="t" url="wss:///r" type="transcriber"/>`,
		`<connect id="t" url="wss://stt.example/" type="spy"/>`,
		`<connect id="t" url="wss://stt.example/" type="transcriber"><http-header name="a: b" value="c"/></connect>`,
		`<connect id="t" url="wss://stt.example/" type="transcriber"><http-header value="c"/></connect>`,
	} {
		if m, err := read(bad); !errors.Is(err, ErrConnect) {
			t.Errorf("%s: %v, %v", bad, m, err)
		}
	}
	if m, err := read(``); err != nil || m.Connects == nil {
		t.Errorf("an empty list is a list: %+v, %v", m, err)
	}
}

// A refusal crosses the router and is read again.
func TestRefusal(t *testing.T) {
	t.Parallel()
	se := Refuse(xmpp.ItemNotFound("Endpoint not found for ID: 4a1c9f02"), ReasonUnknownEndpoint, "4a1c9f02")
	iq := xmpp.NewStanza(xmpp.IQ, xmpp.TypeError, "c9", xmpp.JID{}, xmpp.JID{}, se.Inner())
	e := ReadError(iq.ErrorOf())
	if e == nil || !e.FromBridge() || e.Reason != ReasonUnknownEndpoint || e.Endpoint != "4a1c9f02" || e.Stanza.Cond != xmpp.CondItemNotFound {
		t.Errorf("%+v", e)
	}
	if e := ReadError(xmpp.ItemNotFound("")); e == nil || e.FromBridge() {
		t.Errorf("the MUC's error: %+v", e)
	}
	if e := ReadError(xmpp.ErrTimeout); e != nil {
		t.Errorf("a timeout: %+v", e)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	const src = `<stats xmlns="http://jitsi.org/protocol/colibri"><stat name="healthy" value="true"/><stat name="stress_level" value="0.12"/></stats>`
	s := ParseStats(element(t, src))
	if s.String() != src || !s.Bool(StatHealthy) || s.Bool(StatDrain) || s.Float(StatStress, 1) != 0.12 || s.Float(StatAverageStress, 0.01) != 0.01 {
		t.Errorf("%v", s)
	}
}

func FuzzModify(f *testing.F) {
	for _, src := range []string{createConference, updateEndpoint, forceMute, expireConference, connects, created} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			return
		}
		big := xmpp.Limits{Bytes: 1 << 24, Elements: 1 << 20}
		if m, err := ParseModify(el); err == nil {
			back, err := xmpp.ParseElement(m.String(), big, xmpp.Scope{})
			if err != nil {
				t.Fatalf("our own XML: %v\n%s", err, m)
			}
			if again, err := ParseModify(back); err != nil || again.String() != m.String() {
				t.Fatalf("not stable: %v\n%s", err, m)
			}
		}
		if m, err := ParseModified(el); err == nil {
			if _, err := xmpp.ParseElement(m.String(), big, xmpp.Scope{}); err != nil {
				t.Fatalf("our own XML: %v\n%s", err, m)
			}
		}
	})
}
