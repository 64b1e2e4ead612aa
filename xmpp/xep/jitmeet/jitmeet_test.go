package jitmeet

import (
	"encoding/json"
	"reflect"
	"testing"

	"confab/xmpp"
)

func element(t *testing.T, src string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		t.Fatal(err)
	}
	return el
}

// As the July 2026 client sent it.
func TestConferenceRequest(t *testing.T) {
	t.Parallel()
	r := ParseConferenceRequest(element(t, `<conference machine-uid="2fa71c5243c94298b36e46fb12d5ade7" room="dc-ws-a4uljw@conference.meet.test" xmlns="http://jitsi.org/protocol/focus"><property name="startAudioMuted" value="99"/><property name="rtcstatsEnabled" value="false"/><property name="visitors-version" value="1"/><property name="startAudioMuted" value="7"/></conference>`))
	if r.Room != "dc-ws-a4uljw@conference.meet.test" || r.MachineUID != "2fa71c5243c94298b36e46fb12d5ade7" || r.SessionID != "" || r.Get("rtcstatsEnabled") != "false" {
		t.Errorf("%+v", r)
	}
	if got := r.Get("startAudioMuted"); got != "7" {
		t.Errorf("of duplicates the last counts, got %s", got)
	}
	if again := ParseConferenceRequest(element(t, r.String())); !reflect.DeepEqual(again, r) {
		t.Errorf("%+v", again)
	}
}

// The HTTP form has numbers and booleans in properties, and fields of any future.
func TestConferenceRequestJSON(t *testing.T) {
	t.Parallel()
	var r ConferenceRequest
	err := json.Unmarshal([]byte(`{"room":"s@conference.meet.example","machineUid":"d41d","sessionId":"x","shiny":{"new":1},"properties":{"startAudioMuted":10,"rtcstatsEnabled":false,"visitors-version":1,"visitor":"true","o":{},"n":null}}`), &r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Get("startAudioMuted") != "10" || r.Get("rtcstatsEnabled") != "false" || r.Get("visitor") != "true" || len(r.Properties) != 4 || r.SessionID != "x" {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{``, `[]`, `{"room":5}`, `{"properties":[]}`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestConferenceResponse(t *testing.T) {
	t.Parallel()
	r := &ConferenceResponse{
		Room: "s@conference.meet.example", Ready: true, FocusJID: "focus@auth.meet.example",
		Properties: []Property{{"authentication", "false"}},
	}
	const xml = `<conference xmlns="http://jitsi.org/protocol/focus" room="s@conference.meet.example" focusjid="focus@auth.meet.example" ready="true"><property name="authentication" value="false"/></conference>`
	if got := r.String(); got != xml {
		t.Errorf("got  %s\nwant %s", got, xml)
	}
	if again := ParseConferenceResponse(element(t, xml)); !reflect.DeepEqual(again, r) {
		t.Errorf("%+v", again)
	}
	const js = `{"room":"s@conference.meet.example","ready":true,"focusJid":"focus@auth.meet.example","properties":{"authentication":"false"}}`
	if got, err := json.Marshal(r); err != nil || string(got) != js {
		t.Errorf("got  %s %v\nwant %s", got, err, js)
	}
}

func TestSessionInvalid(t *testing.T) {
	t.Parallel()
	const want = `<error type="modify"><not-acceptable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/><session-invalid xmlns="http://jitsi.org/protocol/focus"/></error>`
	if got := SessionInvalid().Inner(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMute(t *testing.T) {
	t.Parallel()
	m := ParseMute(element(t, `<mute xmlns='http://jitsi.org/jitmeet/audio' jid='s@conference.meet.example/abcd1234'>true</mute>`))
	if *m != (Mute{NSAudio, "s@conference.meet.example/abcd1234", "", true, true}) {
		t.Errorf("%+v", m)
	}
	if m := ParseMute(element(t, `<mute xmlns='http://jitsi.org/jitmeet/video'/>`)); m.Valid {
		t.Error("a mute without text is valid")
	}
	m = &Mute{NS: NSVideo, Actor: "s@conference.meet.example/mod", Mute: true}
	const want = `<mute xmlns="http://jitsi.org/jitmeet/video" actor="s@conference.meet.example/mod">true</mute>`
	if got := m.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSourceInfo(t *testing.T) {
	t.Parallel()
	got, err := ParseSourceInfo(`{"abcd1234-a0":{"muted":true},"abcd1234-v0":{"muted":false,"videoType":null},"abcd1234-v1":{"muted":false,"videoType":"desktop"},"x":{"mediaType":"AUDIO"},"odd":{},"end-":{},"a-v5":{"videoType":5}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]SourceState{
		"abcd1234-a0": {Muted: true, Audio: true}, "abcd1234-v0": {}, "abcd1234-v1": {VideoType: "desktop"},
		"x": {Muted: true, Audio: true}, "a-v5": {Muted: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, err := ParseSourceInfo(`{"a-a0":`); err == nil {
		t.Error("broken JSON was accepted")
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	var e xmpp.Enc
	EncodeConferenceProperties(&e, []Property{{"bridge-count", "1"}})
	const want = `<conference-properties xmlns="http://jitsi.org/protocol/focus"><property xmlns="http://jitsi.org/protocol/focus" key="bridge-count" value="1"/></conference-properties>`
	if got := e.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
