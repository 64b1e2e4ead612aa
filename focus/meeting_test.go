package focus_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// From the conference request to each other's sources.
func TestTwoMeet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.client("u1@meet.example", "aaaaaaaa")
		r, se := a.request(`machine-uid="m"`)
		if se != nil {
			t.Fatal(se)
		}
		if !r.Ready || r.FocusJID != "focus@auth.meet.example" || r.Room != w.room.String() || r.SessionID != "" {
			t.Errorf("response %+v", r)
		}
		a.join(caps2026)
		// LJM recognises the focus by its real address.
		p := a.presences("focus")
		if len(p) != 1 || p[0].Child("http://jabber.org/protocol/muc#user", "x").Child("", "item").Get("jid") != "focus@auth.meet.example/focus" {
			t.Fatalf("presence of the focus: %v", p)
		}
		if props := propertiesIn(p[0]); props["support-terminate-restart"] != "true" {
			t.Errorf("properties %v", props)
		}
		if p[0].Has("http://jabber.org/protocol/muc", "x") || !p[0].Has("http://jitsi.org/jitmeet", "versions") {
			t.Errorf("presence %s", p[0])
		}
		a.nothing() // one alone is not invited
		if own := a.presences("aaaaaaaa"); !strings.Contains(own[len(own)-1].String(), `affiliation="owner"`) {
			t.Errorf("the first is not moderator: %s", own[len(own)-1])
		}

		b := w.meet("bbbbbbbb")
		if own := b.presences("bbbbbbbb"); strings.Contains(own[len(own)-1].String(), `affiliation="owner"`) {
			t.Error("the second is moderator")
		}
		offerA, offerB := a.expect(jingle.SessionInitiate), b.expect(jingle.SessionInitiate)
		if offerA.SID == offerB.SID || offerA.Initiator != "focus@auth.meet.example/focus" {
			t.Errorf("offers %s\n%s", offerA, offerB)
		}
		asked := w.bridge.requests()
		if len(asked) != 2 || !asked[0].Create || asked[1].Create || asked[0].Name != w.room.String() || asked[1].MeetingID != asked[0].MeetingID {
			t.Fatalf("bridge was asked %v", asked)
		}
		ep := asked[0].Endpoints[0]
		if ep.ID != "aaaaaaaa" || !ep.Create || !ep.Transport.ICEControlling || ep.Transport.SCTP == nil || !ep.Has(colibri2.CapSourceNames) || ep.Has(colibri2.CapSSRCRewriting) || len(ep.Media) != 2 {
			t.Errorf("endpoint %+v", ep)
		}

		if err := a.accept(offerA, 1000); err != nil {
			t.Fatal(err)
		}
		a.nothing()
		b.nothing() // has not accepted: it is told later
		up := w.bridge.requests()
		if len(up) != 1 || up[0].Endpoints[0].Transport.ICE.Ufrag != "cuaaaaaaaa" || len(*up[0].Endpoints[0].Sources) != 2 || *up[0].Endpoints[0].InitialLastN != 5 {
			t.Fatalf("bridge was asked %v", up)
		}
		if err := b.accept(offerB, 2000); err != nil {
			t.Fatal(err)
		}
		add := b.expect(jingle.SourceAdd)
		want := `{"sources":{"aaaaaaaa":[[{"s":1001,"n":"aaaaaaaa-v0","m":"aaaaaaaa-video-0-1 x-1"},{"s":1011,"n":"aaaaaaaa-v0","m":"aaaaaaaa-video-0-1 x-1"}],[["f",1001,1011]],[{"s":1050,"n":"aaaaaaaa-a0","m":"aaaaaaaa-audio-0-1 y-1"}]]}}`
		if got := add.Sources.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if add := a.expect(jingle.SourceAdd); len(add.Sources["bbbbbbbb"].Video) != 2 {
			t.Errorf("%s", add)
		}
		b.nothing()
		if st := w.focus.Stats(); st.Participants != 2 || st.Conferences != 1 || st.Bridges != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

// The full offer, to the attribute.
func TestGoldenOffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		w.meet("bbbbbbbb")
		j := a.expect(jingle.SessionInitiate)
		if j.Group == nil || !slices.Equal(j.Group.Contents, []string{"audio", "video", "data"}) || j.Group.Semantics != "BUNDLE" {
			t.Errorf("group %+v", j.Group)
		}
		if j.BridgeSession == nil || len(j.BridgeSession.ID) != 36 || j.BridgeSession.Region != "eu-west" {
			t.Errorf("bridge session %+v", j.BridgeSession)
		}
		const placeholders = `{"sources":{"jvb":[[{"s":1863439907,"n":"jvb-v0","m":"mixedmslabel mixedlabelvideo0"}],[],[{"s":3191927963,"n":"jvb-a0","m":"mixedmslabel mixedlabelaudio0"}]]}}`
		if got := j.Sources.String(); got != placeholders {
			t.Errorf("got  %s\nwant %s", got, placeholders)
		}
		var pts []uint8
		for _, p := range j.Contents[1].Description.PayloadTypes {
			pts = append(pts, p.ID)
		}
		if !slices.Equal(pts, []uint8{41, 100, 107, 101, 42, 96, 99, 97}) {
			t.Errorf("video payload types %v", pts)
		}
		tr := `<transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag="u1" pwd="p"><rtcp-mux/>` +
			`<fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="actpass">0A:1B</fingerprint>` +
			`<candidate id="1" foundation="1" component="1" protocol="udp" priority="2130706431" ip="203.0.113.7" port="10000" type="host" generation="0" network="0"/>`
		got := j.String()
		for _, part := range []string{
			`<content creator="initiator" name="audio" senders="both"><description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio" maxptime="60">` +
				`<payload-type id="111" name="opus" clockrate="48000" channels="2"><parameter name="minptime" value="10"/><parameter name="useinbandfec" value="1"/>` +
				`<rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="transport-cc"/></payload-type>` +
				`<payload-type id="126" name="telephone-event" clockrate="8000"/>` +
				`<rtp-hdrext xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0" id="1" uri="urn:ietf:params:rtp-hdrext:ssrc-audio-level"/>` +
				`<rtp-hdrext xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0" id="5" uri="http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"/>` +
				`<extmap-allow-mixed xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"/><rtcp-mux/></description>` + tr + `</transport></content>`,
			`<payload-type id="107" name="H264" clockrate="90000"><parameter name="profile-level-id" value="42e01f;level-asymmetry-allowed=1;packetization-mode=1;"/>` +
				`<rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="ccm" subtype="fir"/><rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="nack"/>` +
				`<rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="nack" subtype="pli"/><rtcp-fb xmlns="urn:xmpp:jingle:apps:rtp:rtcp-fb:0" type="transport-cc"/></payload-type>`,
			`<payload-type id="99" name="rtx" clockrate="90000"><parameter name="apt" value="107"/></payload-type>`,
			`<rtp-hdrext xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0" id="11" uri="https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"/>` +
				`<rtp-hdrext xmlns="urn:xmpp:jingle:apps:rtp:rtp-hdrext:0" id="3" uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"/>`,
			`<content creator="initiator" name="data" senders="both"><description xmlns="urn:xmpp:jingle:apps:rtp:1" media="application"><rtcp-mux/></description>` + tr +
				`<sctpmap xmlns="urn:xmpp:jingle:transports:dtls-sctp:1" number="5000" protocol="webrtc-datachannel" streams="1024"/></transport></content>`,
		} {
			if !strings.Contains(got, part) {
				t.Errorf("no %s in\n%s", part, got)
			}
		}
		if strings.Contains(got, "web-socket") || strings.Contains(got, "sdes:mid") || strings.Contains(got, "startmuted") {
			t.Errorf("too much in %s", got)
		}
	})
}

// An offer has what the client can do.
func TestOfferByFeatures(t *testing.T) {
	without := func(drop ...string) []string {
		return slices.DeleteFunc(slices.Clone(features2026), func(f string) bool { return slices.Contains(drop, f) })
	}
	for _, tc := range []struct {
		name     string
		features []string
		cfg      func(*focus.Config)
		want     []string
		wantNot  []string
	}{
		{"no data channel", without(jitmeet.FeatureSCTP), nil, []string{`<web-socket xmlns="http://jitsi.org/protocol/colibri" url="wss://`}, []string{"sctpmap", `name="data"`}},
		{"WebSocket only", features2026, func(c *focus.Config) { c.Channel = focus.ChannelWebSocket }, []string{"web-socket"}, []string{"sctpmap"}},
		{"both channels", features2026, func(c *focus.Config) { c.Channel = focus.ChannelBoth }, []string{"web-socket", "sctpmap"}, nil},
		{"no video", without(jitmeet.FeatureVideo), nil, []string{`name="audio"`}, []string{`name="video"`, "VP8", "jvb-v0"}},
		{"no RTX", without(jitmeet.FeatureRTX), nil, []string{"VP8"}, []string{`name="rtx"`}},
		{"REMB", without(jitmeet.FeatureTCC), nil, []string{`type="goog-remb"`}, []string{"transport-cc", "transport-wide"}},
		{"no REMB beside TCC", features2026, nil, []string{"transport-cc"}, []string{"goog-remb"}},
		{"VP8 alone has RTX", without(jitmeet.FeatureRTX), func(c *focus.Config) { c.Codecs = nil }, []string{"VP8", `name="rtx"`}, []string{"AV1", "VP9", "H264", "dependency-descriptor"}},
		{"RED", append(without(), jitmeet.FeatureOpusRED), func(c *focus.Config) { c.OpusRED = true }, []string{`id="112" name="red" clockrate="48000" channels="2"><parameter value="111/111"/>`}, []string{"useinbandfec"}},
		{"XML sources", featuresXML, nil, []string{`<source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="3191927963" name="jvb-a0"><ssrc-info xmlns="http://jitsi.org/jitmeet" owner="jvb"/><parameter name="msid" value="mixedmslabel mixedlabelaudio0"/></source>`}, []string{"json-message"}},
		{"mids need rewriting", append(without(), jitmeet.FeatureMidDemux), func(c *focus.Config) { c.MIDExtension = true }, nil, []string{"sdes:mid"}},
		{"mids need who knows them", append(without(), jitmeet.FeatureSSRCRewriting), func(c *focus.Config) { c.MIDExtension = true }, nil, []string{"sdes:mid"}},
		{"mids", append(without(), jitmeet.FeatureSSRCRewriting, jitmeet.FeatureMidDemux), func(c *focus.Config) { c.MIDExtension = true }, []string{`id="10" uri="urn:ietf:params:rtp-hdrext:sdes:mid"`}, nil},
		{"mids are off", append(without(), jitmeet.FeatureSSRCRewriting, jitmeet.FeatureMidDemux), nil, nil, []string{"sdes:mid"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, tc.cfg)
				w.meet("bbbbbbbb")
				a := w.client("u1@meet.example", "aaaaaaaa")
				a.features = tc.features
				if _, se := a.request(`machine-uid="m"`); se != nil {
					t.Fatal(se)
				}
				a.join(capsUnknown)
				got := a.expect(jingle.SessionInitiate).String()
				for _, s := range tc.want {
					if !strings.Contains(got, s) {
						t.Errorf("no %s in %s", s, got)
					}
				}
				for _, s := range tc.wantNot {
					if strings.Contains(got, s) {
						t.Errorf("%s in %s", s, got)
					}
				}
			})
		})
	}
}

// Whoever takes part in SSRC rewriting learns of sources from the bridge: it gets the
// placeholders and nothing else, from its offer to its end, while the others are told
// of its sources as of any.
func TestRewriting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		w.bridge.requests()
		c := w.client("u3@meet.example", "cccccccc")
		c.features = append(slices.Clone(features2026), jitmeet.FeatureSSRCRewriting)
		if _, se := c.request(`machine-uid="m"`); se != nil {
			t.Fatal(se)
		}
		c.join(capsUnknown)
		offer := c.expect(jingle.SessionInitiate)
		if len(offer.Sources) != 1 || len(offer.Sources["jvb"].Video) != 1 || len(offer.Sources["jvb"].Audio) != 1 {
			t.Errorf("offered %s", offer.Sources.String())
		}
		if asked := w.bridge.requests(); len(asked) != 1 || !asked[0].Endpoints[0].Has(colibri2.CapSSRCRewriting) || asked[0].Endpoints[0].Has(colibri2.CapMidDemux) {
			t.Errorf("bridge was asked %v", asked)
		}
		if err := c.accept(offer, 3000); err != nil {
			t.Fatal(err)
		}
		for _, o := range []*client{a, b} {
			if add := o.expect(jingle.SourceAdd); len(add.Sources["cccccccc"].Video) != 2 {
				t.Errorf("%s", add)
			}
		}
		screen := `<content name="video"><description xmlns="urn:xmpp:jingle:apps:rtp:1" media="video"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="1900" name="aaaaaaaa-v1"><parameter name="msid" value="s s"/></source></description></content>`
		for _, action := range []string{jingle.SourceAdd, jingle.SourceRemove} {
			if err := a.say(`<jingle xmlns="urn:xmpp:jingle:1" action="` + action + `" sid="` + a.sid + `">` + screen + `</jingle>`); err != nil {
				t.Fatal(err)
			}
			b.expect(action)
		}
		c.nothing()

		// It says that it can no more: what it has stays, what it gets next is for such.
		w.focus.SetRewriting(false, false)
		d := w.client("u4@meet.example", "dddddddd")
		d.features = c.features
		if _, se := d.request(`machine-uid="m"`); se != nil {
			t.Fatal(se)
		}
		d.join(capsUnknown)
		if offer := d.expect(jingle.SessionInitiate); len(offer.Sources) != 4 {
			t.Errorf("offered %s", offer.Sources.String())
		}
		b.leave()
		c.nothing()
	})
}

// A third gets the sources of the two in its offer, each once.
func TestThird(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		c := w.client("u3@meet.example", "cccccccc")
		c.features = featuresXML
		if _, se := c.request(`machine-uid="m"`); se != nil {
			t.Fatal(se)
		}
		c.join(capsUnknown)
		offer := c.expect(jingle.SessionInitiate)
		var ssrcs []uint32
		for _, ct := range offer.Contents {
			for _, s := range ct.Description.Sources {
				ssrcs = append(ssrcs, s.SSRC)
			}
		}
		if want := []uint32{3191927963, 1050, 2050, 1863439907, 1001, 1011, 2001, 2011}; !slices.Equal(ssrcs, want) {
			t.Errorf("sources %v, want %v", ssrcs, want)
		}
		if err := c.accept(offer, 3000); err != nil {
			t.Fatal(err)
		}
		c.nothing()
		a.expect(jingle.SourceAdd)
		b.expect(jingle.SourceAdd)
		// A screen share arrives as XML with what receivers may know.
		if err := a.say(screen(a, 5000).String()); err != nil {
			t.Fatal(err)
		}
		add := c.expect(jingle.SourceAdd)
		const want = `<content name="video"><description xmlns="urn:xmpp:jingle:apps:rtp:1" media="video">` +
			`<source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="5001" name="aaaaaaaa-v1" videoType="desktop"><ssrc-info xmlns="http://jitsi.org/jitmeet" owner="aaaaaaaa"/><parameter name="msid" value="aaaaaaaa-video-1-1 z-1"/></source>` +
			`</description></content>`
		if got := add.String(); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
		b.expect(jingle.SourceAdd)
		// It ends: removal, first as always.
		rm := screen(a, 5000)
		rm.Action = jingle.SourceRemove
		if err := a.say(rm.String()); err != nil {
			t.Fatal(err)
		}
		c.expect(jingle.SourceRemove)
		if rm := b.expect(jingle.SourceRemove); rm.Sources["aaaaaaaa"].Video[0].SSRC != 5001 {
			t.Errorf("%s", rm)
		}
		// Leaving is seen in the room: no source-remove.
		a.leave()
		b.nothing()
		c.nothing()
		reqs := w.bridge.requests()
		if last := reqs[len(reqs)-1]; last.Endpoints[0].ID != "aaaaaaaa" || !last.Endpoints[0].Expire {
			t.Errorf("last request %s", last)
		}
	})
}

func screen(c *client, base uint32) *jingle.Jingle {
	return &jingle.Jingle{Action: jingle.SourceAdd, SID: c.sid, Contents: []jingle.Content{{
		Name: "video", Description: &jingle.Description{
			Media: "video",
			Sources: []jingle.Source{
				{SSRC: base + 1, Name: c.nick + "-v1", VideoType: "desktop", MSID: c.nick + "-video-1-1 z-1"},
				{SSRC: base + 2, Name: c.nick + "-v1", VideoType: "desktop", MSID: c.nick + "-video-1-1 z-1"},
			},
			Groups: []jingle.SSRCGroup{{Semantics: "SIM", SSRCs: []uint32{base + 1, base + 2}}},
		},
	}}}
}

// A refused source-add changes nothing, for nobody.
func TestHostileSources(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		for name, change := range map[string]func(*jingle.Jingle){
			"foreign SSRC": func(j *jingle.Jingle) { j.Contents[0].Description.Sources[0].SSRC = 2001 },
			"own SSRC":     func(j *jingle.Jingle) { j.Contents[0].Description.Sources[0].SSRC = 1001 },
			"placeholder":  func(j *jingle.Jingle) { j.Contents[0].Description.Sources[0].SSRC = 3191927963 },
			"foreign name": func(j *jingle.Jingle) { j.Contents[0].Description.Sources[0].Name = "bbbbbbbb-v1" },
			"too many": func(j *jingle.Jingle) {
				for i := range uint32(30) {
					j.Contents[0].Description.Sources = append(j.Contents[0].Description.Sources, jingle.Source{SSRC: 7000 + i, Name: "aaaaaaaa-v7"})
				}
			},
			"JSON of another": func(j *jingle.Jingle) {
				j.Contents, j.Sources = nil, jingle.CompactSources{"bbbbbbbb": {Audio: []jingle.Source{{SSRC: 9, Name: "aaaaaaaa-a1"}}}}
			},
		} {
			j := screen(a, 5000)
			change(j)
			se, _ := a.say(j.String()).(*xmpp.StanzaError)
			if se == nil || se.Cond != xmpp.CondBadRequest || se.Text == "" || se.Type != "modify" {
				t.Errorf("%s: %v", name, se)
			}
		}
		b.nothing()
		if reqs := w.bridge.requests(); len(reqs) != 0 {
			t.Errorf("the bridge was told %v", reqs)
		}
		// Compact JSON of its own is fine, and nothing at all too.
		j := &jingle.Jingle{Action: jingle.SourceAdd, SID: a.sid, Sources: jingle.CompactSources{"aaaaaaaa": {Audio: []jingle.Source{{SSRC: 9, Name: "aaaaaaaa-a1", MSID: "q"}}}}}
		if err := a.say(j.String()); err != nil {
			t.Error(err)
		}
		b.expect(jingle.SourceAdd)
		if err := a.say(`<jingle xmlns="urn:xmpp:jingle:1" action="source-add" sid="` + a.sid + `"/>`); err != nil {
			t.Error(err)
		}
		b.nothing()
	})
}

// What happens within the delay is told as one difference.
func TestSourceDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			c.SourceDelays = []focus.SourceDelay{{Size: 2, Delay: time.Second}, {Size: 50, Delay: time.Minute}}
		})
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		for i, c := range []*client{a, b} {
			if err := c.accept(c.expect(jingle.SessionInitiate), uint32(i+1)*1000); err != nil {
				t.Fatal(err)
			}
		}
		b.nothing()
		time.Sleep(time.Second)
		b.expect(jingle.SourceAdd)
		add, rm := screen(a, 5000), screen(a, 5000)
		rm.Action = jingle.SourceRemove
		if err := a.say(add.String()); err != nil {
			t.Fatal(err)
		}
		if err := a.say(rm.String()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		b.nothing() // it came and went
	})
}

// The capture of a December 2021 client: no names, then a transport-info.
func TestClientOf2021(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		offer := a.expect(jingle.SessionInitiate)
		contents := a.media(1000)
		for _, ct := range contents[:2] {
			for i := range ct.Description.Sources {
				ct.Description.Sources[i].Name, ct.Description.Sources[i].VideoType = "", ""
			}
		}
		a.sid = offer.SID
		if err := a.say((&jingle.Jingle{Action: jingle.SessionAccept, SID: offer.SID, Contents: contents}).String()); err != nil {
			t.Fatal(err)
		}
		w.bridge.requests()
		if err := a.say(`<jingle xmlns="urn:xmpp:jingle:1" action="transport-info" sid="` + a.sid + `"><content creator="responder" name="0"><transport pwd="cp" ufrag="cuaaaaaaaa" xmlns="urn:xmpp:jingle:transports:ice-udp:1">` +
			`<candidate component="1" foundation="256527934" generation="0" id="v0" ip="127.0.0.1" network="1" port="42733" priority="2122194687" protocol="udp" type="host"/>` +
			`<fingerprint hash="sha-256" required="true" xmlns="urn:xmpp:jingle:apps:dtls:0">77:BF</fingerprint></transport></content></jingle>`); err != nil {
			t.Fatal(err)
		}
		up := w.bridge.requests()
		if len(up) != 1 || up[0].Endpoints[0].Transport.ICE.Ufrag != "cuaaaaaaaa" || len(up[0].Endpoints[0].Transport.ICE.Candidates) != 1 || len(up[0].Endpoints[0].Transport.ICE.Fingerprints) != 0 || up[0].Endpoints[0].Sources != nil {
			t.Errorf("bridge was asked %v", up)
		}
		if err := b.accept(b.expect(jingle.SessionInitiate), 2000); err != nil {
			t.Fatal(err)
		}
		add := b.expect(jingle.SourceAdd)
		if v := add.Sources["aaaaaaaa"].Video; v[0].Name != "aaaaaaaa-v0" || add.Sources["aaaaaaaa"].Audio[0].Name != "aaaaaaaa-a0" {
			t.Errorf("%s", add)
		}
	})
}

// Caps that have been verified once are not asked for again; those that lie are.
func TestFeaturesAreCached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		if a.asked != 1 || b.asked != 0 {
			t.Errorf("asked %d and %d times", a.asked, b.asked)
		}
		liar := w.client("liar@meet.example", "dddddddd")
		liar.features = featuresChat
		liar.join(strings.ReplaceAll(caps2026, "dtzK", "zzzz"))
		for _, nick := range []string{"eeeeeeee"} {
			c := w.client(nick+"@meet.example", nick)
			c.join(strings.ReplaceAll(caps2026, "dtzK", "zzzz"))
			if c.asked != 1 {
				t.Errorf("asked %d times", c.asked)
			}
			c.expect(jingle.SessionInitiate)
		}
	})
}

// A plain client starts the meeting by joining; it is a member without media.
func TestPlainClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.client("plain@meet.example", "Romeo")
		p.features = featuresChat
		p.join("")
		if own := p.presences("Romeo"); len(own) == 0 || own[0].Type == "error" {
			t.Fatalf("own presence %v", own)
		}
		a := w.meet("aaaaaaaa")
		offer := a.expect(jingle.SessionInitiate) // two are in the room
		if err := a.accept(offer, 1000); err != nil {
			t.Fatal(err)
		}
		p.nothing()
		mute := `<mute xmlns="http://jitsi.org/jitmeet/audio" jid="` + a.me.String() + `">true</mute>`
		if err := p.say(mute); err != nil { // it came first and is moderator
			t.Error(err)
		}
		p.leave()
		time.Sleep(30 * time.Second)
		a.expect(jingle.SessionTerminate)
	})
}

// A client that doesn't answer is taken for what its presence shows.
func TestSilentClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.meet("bbbbbbbb")
		a, p := w.client("u1@meet.example", "aaaaaaaa"), w.client("u2@meet.example", "Romeo")
		a.features, p.features = nil, nil
		a.join(capsUnknown)
		p.join("")
		time.Sleep(20 * time.Second)
		got := a.expect(jingle.SessionInitiate).String()
		if !strings.Contains(got, "sctpmap") || strings.Contains(got, `"rtx"`) {
			t.Errorf("offer %s", got)
		}
		p.nothing()
		synctest.Wait()
	})
}
