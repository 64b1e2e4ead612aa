package bridge

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// next reads one message.
func (w *world) next(ws *websocket.Conn) (m map[string]any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	_, b, err := ws.Read(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		w.t.Fatal(err)
	}
	return m
}

// The bridge tells a client that takes part in SSRC rewriting of sources: when it
// wants them, all again on a new channel, and nothing to others.
func TestSourceMaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	rewriting := strings.Replace(endpointB(), `<capability name="source-names"/>`, `<capability name="source-names"/><capability name="ssrc-rewriting"/><capability name="rtp-mid-demux"/>`, 1)
	m := w.must(modify(rewriting))
	b := w.dial(m, "bbbbbbbb")
	plain := w.dial(w.must(modify(strings.ReplaceAll(endpointA, "aaaaaaaa", "cccccccc"))), "cccccccc")
	w.expect(plain, "ServerHello") // only then is it told anything

	// Before it says what it wants it hears of what it may want.
	first := w.expect(b, "VideoSourcesMap")["mappedSources"].([]any)
	if len(first) != 1 {
		t.Fatalf("%v", first)
	}
	one := first[0].(map[string]any)
	ssrc, rtx := one["ssrc"].(float64), one["rtx"].(float64)
	if one["source"] != "aaaaaaaa-v0" || one["owner"] != "aaaaaaaa" || one["videoType"] != "CAMERA" || one["mid"] != "v0" || len(one) != 6 ||
		ssrc == 0 || rtx == 0 || ssrc == rtx || ssrc == 11 || rtx == 21 {
		t.Errorf("%v", one)
	}
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1}`)
	w.say(plain, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1}`)
	w.expect(b, "ForwardedSources")

	// Another channel is told the same, in the order of bridge.md §6.3.
	again := w.dial(m, "bbbbbbbb")
	if m := w.next(again); m["colibriClass"] != "ServerHello" {
		t.Fatalf("%v", m)
	}
	if m := w.next(again); m["colibriClass"] != "ForwardedSources" || len(m["forwardedSources"].([]any)) != 1 {
		t.Fatalf("%v", m)
	}
	if m := w.next(again); m["colibriClass"] != "VideoSourcesMap" || m["mappedSources"].([]any)[0].(map[string]any)["ssrc"] != ssrc {
		t.Fatalf("%v", m)
	}

	// A screen is another source, and says so.
	screen := strings.TrimSuffix(sourcesOfA, `</sources>`) + `<media-source type="video" id="aaaaaaaa-v1"><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="31" name="aaaaaaaa-v1" videoType="desktop"/></media-source></sources>`
	w.must(modify(`<endpoint id="aaaaaaaa">` + screen + `</endpoint>`))
	next := w.expect(again, "VideoSourcesMap")["mappedSources"].([]any)
	if one := next[0].(map[string]any); len(next) != 1 || one["source"] != "aaaaaaaa-v1" || one["videoType"] != "DESKTOP" || one["mid"] != "v1" {
		t.Errorf("%v", next)
	}

	// The plain one was told of no map in all that time.
	w.say(a, `{"colibriClass":"EndpointMessage","to":"cccccccc","msgPayload":{"n":1}}`)
	for {
		m := w.next(plain)
		if m["colibriClass"] == "EndpointMessage" {
			break
		}
		if strings.HasSuffix(m["colibriClass"].(string), "SourcesMap") {
			t.Errorf("%v", m)
		}
	}
}
