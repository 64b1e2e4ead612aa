package jitmeet

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"confab/xmpp"
)

// As LJM's jibriSession and recorders write them.
func TestJibri(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]Jibri{
		`<jibri xmlns="http://jitsi.org/protocol/jibri" action="START" recording_mode="File" app_data="{&quot;a&quot;:1}"/>`:      {Action: "start", Mode: "file", AppData: `{"a":1}`},
		`<jibri xmlns="http://jitsi.org/protocol/jibri" action="start" recording_mode="stream" streamid=" key "/>`:                {Action: "start", Mode: "stream", StreamID: "key"},
		`<jibri xmlns="http://jitsi.org/protocol/jibri" status="off" failure_reason="error" should_retry="true" sipaddress="s"/>`: {Status: "off", Failure: "error", Retry: true, SIPAddress: "s"},
	} {
		got := ParseJibri(element(t, src))
		if *got != want {
			t.Errorf("%s: %+v", src, got)
		}
		if again := ParseJibri(element(t, got.String())); *again != want {
			t.Errorf("%s: %+v", got, again)
		}
	}
}

func TestJibriStatus(t *testing.T) {
	t.Parallel()
	presence := func(inner string) *xmpp.Stanza {
		return xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, xmpp.JID{}, inner)
	}
	for inner, want := range map[string][2]bool{
		`<jibri-status xmlns="http://jitsi.org/protocol/jibri"><busy-status status="idle"/><health-status xmlns="http://jitsi.org/protocol/health" status="healthy"/></jibri-status>`:                                         {true, true},
		`<jibri-status xmlns="http://jitsi.org/protocol/jibri"><busy-status xmlns="http://jitsi.org/protocol/jibri" status="BUSY"/><health-status xmlns="http://jitsi.org/protocol/health" status="HEALTHY"/></jibri-status>`: {false, true},
		`<jibri-status xmlns="http://jitsi.org/protocol/jibri"><busy-status status="idle"/></jibri-status>`:                                                                                                                   {false, true},
		`<status>idle</status>`: {false, false},
	} {
		if available, known := JibriAvailable(presence(inner)); available != want[0] || known != want[1] {
			t.Errorf("%s: %v %v", inner, available, known)
		}
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	const src = `<dial xmlns="urn:xmpp:rayo:1" from="f" to="+15551234"><header xmlns="urn:xmpp:rayo:1" name="JvbRoomName" value="r@c"/><header xmlns="urn:xmpp:rayo:1" name="x" value="&quot;"/></dial>`
	d := ParseDial(element(t, src))
	if v, ok := d.Header(HeaderRoom); !ok || v != "r@c" || d.To != "+15551234" {
		t.Errorf("%+v", d)
	}
	if _, ok := d.Header("y"); ok {
		t.Error("a header that is not there")
	}
	if d.String() != src {
		t.Errorf("%s", d)
	}
	if ParseRef(element(t, EncodeRef("xmpp:c@d"))) != "xmpp:c@d" || ParseRef(element(t, `<x/>`)) != "" || ParseRef(nil) != "" {
		t.Error("ref")
	}
}

func TestAVModeration(t *testing.T) {
	t.Parallel()
	m, err := ParseAVModeration(`{"type":"av_moderation","enabled":true,"room":"r@c","actor":"r@c/a","mediaType":"AUDIO"}`)
	if err != nil || m.Room != "r@c" || m.MediaType != "audio" || m.Enabled == nil || !*m.Enabled || m.Actor != "r@c/a" || m.Whitelists != nil {
		t.Errorf("%+v %v", m, err)
	}
	m, err = ParseAVModeration(`{"type":"av_moderation","room":"r@c","mediaType":"video","whitelists":{"VIDEO":["r@c/b"]},"removed":true}`)
	if err != nil || m.Enabled != nil || !reflect.DeepEqual(m.Whitelists, map[string][]string{"video": {"r@c/b"}}) {
		t.Errorf("%+v %v", m, err)
	}
	m, err = ParseAVModeration(`{"type":"av_moderation","room":"r@c","whitelists":[]}`)
	if err != nil || m.Whitelists == nil || len(m.Whitelists) != 0 {
		t.Errorf("%+v %v", m, err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"type":"other","room":"r@c"}`, `{"type":"av_moderation"}`, `{"type":"av_moderation","room":"r","whitelists":{"audio":"x"}}`, `{"type":"av_moderation","room":"r","enabled":"true"}`} {
		if m, err := ParseAVModeration(bad); err == nil {
			t.Errorf("%s: %+v", bad, m)
		}
	}
}

func TestRoomMetadata(t *testing.T) {
	t.Parallel()
	m, err := ParseRoomMetadata(`{"type":"room_metadata","metadata":{"lobbyEnabled":true,"visitorsEnabled":false,"participantsSoftLimit":7,
		"visitors":{"live":true,"promoted":{}},"startMuted":{"audio":true},"moderators":["m"],"participants":[],
		"recording":{"isTranscribingEnabled":true},"asyncTranscription":true,"whiteboard":{"x":1}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if !m.LobbyEnabled || *m.VisitorsEnabled || *m.ParticipantsSoftLimit != 7 || !m.VisitorsLive || *m.StartMuted != (StartMuted{Audio: true}) ||
		len(m.Moderators) != 1 || m.Participants == nil || !m.Transcribing || !m.AsyncTranscription {
		t.Errorf("%+v", m)
	}
	// Absent, null and nonsense are the same.
	for _, src := range []string{`{"type":"room_metadata"}`, `{"type":"room_metadata","metadata":{"startMuted":null,"recording":5,"participants":null,"participantsSoftLimit":-1,"lobbyEnabled":"yes","moderators":[1]}}`} {
		m, err := ParseRoomMetadata(src)
		if err != nil || !reflect.DeepEqual(*m, RoomMetadata{}) {
			t.Errorf("%s: %+v %v", src, m, err)
		}
	}
	for _, bad := range []string{``, `[]`, `{"type":"av_moderation"}`, `{"type":"room_metadata","metadata":[]}`} {
		if _, err := ParseRoomMetadata(bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// What reads messages survives any of them.
func FuzzJSONMessages(f *testing.F) {
	f.Add(`{"type":"av_moderation","enabled":true,"room":"r@c","actor":"r@c/a","mediaType":"audio","whitelists":{"audio":["x"]}}`)
	f.Add(`{"type":"room_metadata","metadata":{"startMuted":{"audio":true},"participants":["x"],"participantsSoftLimit":1e3}}`)
	f.Add(`{"a-v0":{"muted":true,"videoType":"desktop"},"a-a0":{}}`)
	f.Add(`{"room":"r@conference.x","machineUid":"m","properties":{"a":"b","n":1,"t":true,"o":{},"z":null}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseAVModeration(text); err == nil && m.Room == "" {
			t.Error("no room")
		}
		if m, err := ParseSourceInfo(text); err == nil && m == nil {
			t.Error("nothing, and no error")
		}
		var r ConferenceRequest
		if json.Unmarshal([]byte(text), &r) == nil {
			for _, p := range r.Properties {
				if r.Get(p.Name) != p.Value {
					t.Errorf("%+v", r)
				}
			}
		}
		if m, err := ParseRoomMetadata(text); err == nil && m.ParticipantsSoftLimit != nil && *m.ParticipantsSoftLimit < 0 {
			t.Error("negative limit")
		}
	})
}

// Jibri and rayo elements come from clients and recorders.
func FuzzServiceElements(f *testing.F) {
	f.Add(`<jibri xmlns="http://jitsi.org/protocol/jibri" action="start" recording_mode="file"/>`)
	f.Add(`<conference xmlns="http://jitsi.org/protocol/focus" room="r@c" ready="true"><property name="a" value="&amp;"/></conference>`)
	f.Add(`<mute xmlns="http://jitsi.org/jitmeet/audio" jid="r@c/a" actor="r@c/b">true</mute>`)
	f.Add(`<dial xmlns="urn:xmpp:rayo:1" to="x"><header name="JvbRoomName" value="r@c"/></dial>`)
	f.Fuzz(func(t *testing.T, src string) {
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
		if err != nil {
			return
		}
		j := ParseJibri(el)
		if again := ParseJibri(element(t, j.String())); *again != *ParseJibri(element(t, again.String())) {
			t.Errorf("%s", j)
		}
		if m := ParseMute(el); MuteNamespace(el.NS) && m.Valid {
			if again := ParseMute(element(t, m.String())); *again != *m {
				t.Errorf("%s", m)
			}
		}
		for _, c := range []fmt.Stringer{ParseConferenceRequest(el), ParseConferenceResponse(el), ParseLogout(el)} {
			element(t, c.String())
		}
		d := ParseDial(el)
		if again := ParseDial(element(t, d.String())); !reflect.DeepEqual(again, d) {
			t.Errorf("%s", d)
		}
	})
}
