package jingle

import (
	"bufio"
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"confab/xmpp"
)

// captured are the jingle elements of stanzas that real clients sent (C:) and of
// offers that they accepted (S:), by file.
func captured(t testing.TB) map[string][]*xmpp.Element {
	t.Helper()
	files, err := filepath.Glob("testdata/*.xmpp")
	if err != nil || len(files) == 0 {
		t.Fatal("no captured stanzas", err)
	}
	out := map[string][]*xmpp.Element{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			s, err := xmpp.ParseStanza(sc.Text()[3:], xmpp.Limits{}, xmpp.Scope{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out[name] = append(out[name], s.Child(NS, "jingle"))
		}
		_ = f.Close()
	}
	return out
}

// What is written means the same as what was read: nothing that a client sends
// is lost but what has no meaning.
func TestCapturesSurvive(t *testing.T) {
	t.Parallel()
	n := 0
	for name, els := range captured(t) {
		for _, el := range els {
			j, err := Parse(el)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			back, err := xmpp.ParseElement(j.String(), xmpp.Limits{}, xmpp.Scope{})
			if err != nil {
				t.Fatalf("%s: our own XML: %v\n%s", name, err, j)
			}
			if got, want := canonical(back), canonical(el); got != want {
				t.Errorf("%s: %s\ngot  %s\nwant %s", name, j.Action, got, want)
			}
			again, err := Parse(back)
			if err != nil || !reflect.DeepEqual(j, again) {
				t.Errorf("%s: %s is not stable: %v", name, j.Action, err)
			}
			n++
		}
	}
	if n < 15 {
		t.Errorf("only %d captured elements", n)
	}
}

// canonical writes el with attributes and children in order and without what
// carries no meaning.
func canonical(el *xmpp.Element) string {
	var attrs, kids []string
	for _, a := range el.Attr {
		switch {
		case el.Name == "payload-type" && a.Name == "channels" && a.Value == "1",
			el.Name == "description" && a.Name == "ssrc", // 2021
			el.Name == "fingerprint" && a.Name == "required":
			continue
		}
		attrs = append(attrs, a.Name+"="+a.Value)
	}
	slices.Sort(attrs)
	for _, k := range el.Kids {
		kids = append(kids, canonical(k))
	}
	slices.SortFunc(kids, cmp.Compare[string])
	text := strings.TrimSpace(el.Text)
	ns := el.NS
	if el.Name == "source" {
		ns = NSSSMA // LJM leaves it out inside groups
	}
	return "<" + ns + " " + el.Name + " " + strings.Join(attrs, " ") + ">" + text + strings.Join(kids, "") + "</>"
}

func TestSessionAccept2026(t *testing.T) {
	t.Parallel()
	j := find(t, "testdata/2026.xmpp", SessionAccept)
	if got := j.InitialLastN(); got != nil {
		t.Errorf("initial-last-n %d out of nothing", *got)
	}
	tr := j.FirstTransport()
	if tr == nil || tr.Ufrag != "YcVZ" || len(tr.Candidates) != 0 || tr.Fingerprints[0].Setup != "active" {
		t.Errorf("transport %+v", tr)
	}
	video := j.Contents[1]
	if video.Media() != Video || len(video.Description.Sources) != 6 || len(video.Description.Groups) != 4 {
		t.Fatalf("video %+v", video.Description)
	}
	want := Source{1431900534, "b770757f-v0", "camera", "", "b770757f-video-0-1 e54b8e21-07c5-4ff6-b137-c6b1a5d01e00-1"}
	if got := video.Description.Sources[0]; got != want {
		t.Errorf("source %+v, want %+v", got, want)
	}
	if g := video.Description.Groups[1]; g.Semantics != SIM || !slices.Equal(g.SSRCs, []uint32{1431900534, 1975045009, 224052540}) {
		t.Errorf("group %+v", g)
	}
	if d := j.Contents[2]; d.Name != Data || d.Description != nil || d.Transport.SCTP == nil || d.Transport.SCTP.Number != 5000 {
		t.Errorf("data %+v", d)
	}
}

func TestTransportInfo2021(t *testing.T) {
	t.Parallel()
	j := find(t, "testdata/2021.xmpp", TransportInfo)
	c := j.Contents[0]
	if c.Name != "0" || len(c.Transport.Candidates) != 4 {
		t.Fatalf("content %+v", c)
	}
	want := Candidate{
		ID: "v0msjsa4ha", Foundation: "256527934", Component: 1, Protocol: "udp", Priority: 2122194687,
		IP: "127.0.0.1", Port: 42733, Type: "host", Network: 1,
	}
	if j.SID == "5fv7bax1b2" && c.Transport.Candidates[0] != want {
		t.Errorf("candidate %+v, want %+v", c.Transport.Candidates[0], want)
	}
}

func TestRestartRequests(t *testing.T) {
	t.Parallel()
	j := find(t, "testdata/2026.xmpp", SessionTerminate)
	if b := j.BridgeSession; b == nil || !b.Restart || b.ID != "e5f9b110-5a79-4c3c-bb64-e9715b66c178" || j.Reason.Cond != "connectivity-error" {
		t.Errorf("%+v %+v", j.BridgeSession, j.Reason)
	}
	if b := find(t, "testdata/2026.xmpp", SessionInfo).BridgeSession; b == nil || !b.ICERestart || b.Restart {
		t.Errorf("%+v", b)
	}
}

func find(t *testing.T, file, action string) *Jingle {
	t.Helper()
	for _, el := range captured(t)[file] {
		if j, err := Parse(el); err == nil && j.Action == action && el.Get("initiator") != "focus@auth.meet.test/focus" {
			return j
		}
	}
	t.Fatalf("%s has no %s", file, action)
	return nil
}

// Golden strings of the JSON form: positions count, only the tail may be dropped.
func TestCompactSources(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		s    CompactSources
		want string
	}{
		{"nothing", CompactSources{}, `{"sources":{}}`},
		{"leaver", CompactSources{"abcd1234": {}}, `{"sources":{"abcd1234":[]}}`},
		{"audio only", CompactSources{"abcd1234": {Audio: []Source{{SSRC: 7, Name: "abcd1234-a0", MSID: "m a"}}}},
			`{"sources":{"abcd1234":[[],[],[{"s":7,"n":"abcd1234-a0","m":"m a"}]]}}`},
		{"screen", CompactSources{"abcd1234": {
			Video: []Source{{SSRC: 1001, Name: "abcd1234-v1", MSID: `5"f & <e`, VideoType: Desktop}, {SSRC: 2001, Name: "abcd1234-v1"}}, VideoGroups: []SSRCGroup{{FID, []uint32{1001, 2001}}}}},
			`{"sources":{"abcd1234":[[{"s":1001,"n":"abcd1234-v1","m":"5\"f & <e","v":"d"},{"s":2001,"n":"abcd1234-v1"}],[["f",1001,2001]]]}}`},
	} {
		if got := tc.s.String(); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
		back, err := ParseCompact(tc.want)
		if err != nil || back.String() != tc.want {
			t.Errorf("%s: read back %s, %v", tc.name, back, err)
		}
	}
	for _, bad := range []string{"", "[]", `{"sources":[]}`, `{"sources":{"a":[[{"s":"x"}]]}}`, `{"sources":{"a":[[],[["q",1]]]}}`, `{"sources":{"a":[[],[["f","1"]]]}}`} {
		if s, err := ParseCompact(bad); err == nil {
			t.Errorf("%s gave %v", bad, s)
		}
	}
	if s, err := ParseCompact(`{"type":"room_metadata"}`); s != nil || err != nil {
		t.Errorf("another message: %v, %v", s, err)
	}
}

// LJM selects these by a literal xmlns attribute on the element itself.
func TestLiteralNamespaces(t *testing.T) {
	t.Parallel()
	j := &Jingle{
		Action: SessionInitiate, SID: "s", Group: &Group{"BUNDLE", []string{"video"}}, BridgeSession: &BridgeSession{ID: "i"},
		StartMuted: &StartMuted{Audio: true}, Sources: CompactSources{},
		Contents: []Content{{
			Creator: "initiator", Name: "video", Senders: "both",
			Description: &Description{
				Media: "video", ExtmapAllowMixed: true, RTCPMux: true,
				PayloadTypes: []PayloadType{{ID: 100, Name: "VP8", ClockRate: 90000, Feedback: []Feedback{{"nack", "pli"}}}},
				HdrExts:      []HdrExt{{3, "urn:x"}},
				Sources:      []Source{{SSRC: 1, Name: "jvb-v0", Owner: "jvb", MSID: "mixedmslabel mixedlabelvideo0"}},
				Groups:       []SSRCGroup{{FID, []uint32{1, 2}}},
			},
			Transport: &Transport{Ufrag: "u", Pwd: "p", RTCPMux: true, Fingerprints: []Fingerprint{{"sha-256", "actpass", "AA:BB", false}},
				WebSockets: []string{"wss://x/?pwd=1&y=2"}, SCTP: &SCTPMap{5000, "webrtc-datachannel", 1024}},
		}},
	}
	got := j.String()
	for _, el := range []string{
		`<transport xmlns="` + NSICEUDP, `<fingerprint xmlns="` + NSDTLS, `<sctpmap xmlns="` + NSSCTP, `<rtcp-fb xmlns="` + NSRTCPFB,
		`<rtp-hdrext xmlns="` + NSHdrExt, `<extmap-allow-mixed xmlns="` + NSHdrExt, `<source xmlns="` + NSSSMA + `" ssrc="2"/>`,
		`<ssrc-group xmlns="` + NSSSMA, `<ssrc-info xmlns="` + NSJitMeet, `<group xmlns="` + NSGrouping, `<bridge-session xmlns="` + NSFocus,
		`<json-message xmlns="` + NSJitMeet, `<web-socket xmlns="` + NSColibri + `" url="wss://x/?pwd=1&amp;y=2"/>`, `<startmuted xmlns="` + NSStartMut,
	} {
		if !strings.Contains(got, el) {
			t.Errorf("no %s in\n%s", el, got)
		}
	}
}

func TestHostileValues(t *testing.T) {
	t.Parallel()
	el, err := xmpp.ParseElement(`<jingle xmlns="urn:xmpp:jingle:1" action="source-add" sid="s"><content name="video"><description media="video">`+
		`<payload-type id="300" name="x"/><rtp-hdrext id="0" uri="u"/><source ssrc="4294967296" name="n"/><source ssrc="-1"/><source rid="h"/><source ssrc="0"/>`+
		`<ssrc-group semantics="FID"><source ssrc="zzz"/></ssrc-group></description><transport ice-generation="99999999999999999999"><candidate port="70000"/><candidate port="1" ip="" priority="5"/></transport></content></jingle>`,
		xmpp.Limits{}, xmpp.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := Parse(el)
	if err != nil {
		t.Fatal(err)
	}
	d := j.Contents[0].Description
	if len(d.PayloadTypes) != 0 || len(d.HdrExts) != 0 || len(d.Sources) != 3 {
		t.Fatalf("%+v", d)
	}
	for _, s := range d.Sources {
		if s.SSRC != 0 {
			t.Errorf("impossible SSRC became %d", s.SSRC)
		}
	}
	if n := len(j.Contents[0].Transport.Candidates); n != 0 {
		t.Errorf("%d impossible candidates", n)
	}
}

func FuzzJingle(f *testing.F) {
	for _, els := range captured(f) {
		for _, el := range els {
			f.Add(el.String())
		}
	}
	f.Fuzz(func(t *testing.T, src string) {
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			return
		}
		j, err := Parse(el)
		if err != nil {
			return
		}
		back, err := xmpp.ParseElement(j.String(), xmpp.Limits{Bytes: 1 << 24, Elements: 1 << 20}, xmpp.Scope{})
		if err != nil {
			t.Fatalf("our own XML: %v\n%s", err, j)
		}
		again, err := Parse(back)
		if err != nil || again.String() != j.String() {
			t.Fatalf("not stable: %v\n%s\n%s", err, j, again)
		}
	})
}

func FuzzCompactSources(f *testing.F) {
	f.Add(`{"sources":{"abcd1234":[[{"s":1001,"n":"abcd1234-v1","m":"m","v":"d"}],[["f",1001,2001],["s",1]],[{"s":3}],[]]}}`)
	f.Add(`{"sources":{"a":[[],[],[null]]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseCompact(text)
		if err != nil || s == nil {
			return
		}
		again, err := ParseCompact(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("not stable: %v\n%s\n%s", err, s, again)
		}
	})
}
