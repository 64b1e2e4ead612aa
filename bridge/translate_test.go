package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confab/bridge/rtpx"

	"github.com/coder/websocket"
)

// Live translation: a focus has the bridge send somebody's words to a service and take
// others in return, which reach over SRTP who has asked for them on its channel
// (bridge.md §16.4, §21).
func TestLiveTranslation(t *testing.T) {
	t.Parallel()
	come := make(chan *websocket.Conn, 1)
	service := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(rw, r, nil); err == nil {
			come <- ws
			<-t.Context().Done()
		}
	}))
	t.Cleanup(service.Close)
	host := strings.TrimPrefix(service.URL, "http://")
	w := newWorld(t, func(c *Config) { c.ExportHosts = []string{host} })

	opus := `<media type="audio"><payload-type xmlns="urn:xmpp:jingle:apps:rtp:1" id="111" name="opus" clockrate="48000" channels="2"/></media><transport`
	withAudio := func(request string) string { return strings.Replace(request, "<transport", opus, 1) }
	speaker := w.dial(w.must(withAudio(createFirst)), "aaaaaaaa")
	m := w.must(modify(withAudio(endpointB())))
	listener := w.dial(m, "bbbbbbbb")
	w.expect(listener, "ServerHello")
	ear := w.connect(m, "bbbbbbbb")
	audio := func(name string, ssrc int, attrs string) string {
		return fmt.Sprintf(`<media-source type="audio" id=%q%s><source xmlns="urn:xmpp:jingle:apps:rtp:ssma:0" ssrc="%d" name=%[1]q/></media-source>`, name, attrs, ssrc)
	}
	own := audio("aaaaaaaa-a0", 77, "")
	w.must(modify(`<endpoint id="aaaaaaaa"><sources>` + own + audio("aaaaaaaa-a0.hi", 88, ` synthetic="true"`) + `</sources></endpoint>`))
	connect := func(attrs, requests string) string {
		return modify(`<connects><connect id="t" protocol="mediajson" type="translator" audio="true" url="ws://` + host + `/"` + attrs + `><exports><export name="aaaaaaaa-a0"/></exports><requests>` +
			requests + `</requests></connect></connects>`)
	}
	w.must(connect(` create="true"`, `<request name="aaaaaaaa-a0.hi"/>`))
	translator := <-come
	defer translator.CloseNow()
	sources := func(want string) {
		t.Helper()
		for {
			_, b, err := translator.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Event string }
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if got.Event == "sources" {
				if string(b) != want {
					t.Errorf("asked %s", b)
				}
				return
			}
		}
	}
	sources(`{"event":"sources","exports":["aaaaaaaa-a0"],"requests":["aaaaaaaa-a0.hi"]}`)

	w.say(listener, `{"colibriClass":"ReceiverAudioSubscription","all":true,"include":["aaaaaaaa-a0.hi"],"exclude":["aaaaaaaa-a0"]}`)
	tell := func(text string) {
		t.Helper()
		if err := translator.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	tell(`{"event":"start","start":{"tag":"aaaaaaaa-a0.hi","timestamp":960}}`)
	for _, ws := range []*websocket.Conn{listener, speaker} {
		if got := w.expect(ws, "SyntheticSourceSendingChangeEvent"); got["sourceName"] != "aaaaaaaa-a0.hi" || got["sending"] != true || got["timestamp"] != 960.0 {
			t.Errorf("%v", got)
		}
	}
	// The subscription may be on its way still, so it talks until it is heard.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for chunk, heard := 1, false; !heard; chunk++ {
		tell(fmt.Sprintf(`{"event":"media","media":{"tag":"aaaaaaaa-a0.hi","chunk":"%d","timestamp":"%d","payload":"/AEC"}}`, chunk, 960*chunk))
		select {
		case b := <-ear.heard:
			var h rtpx.Header
			if !h.Parse(b) || h.SSRC != 88 || h.PT != 111 || h.TS != 960*uint32(h.Seq) || string(h.Payload(b)) != "\xfc\x01\x02" {
				t.Fatalf("%+v % x", h, h.Payload(b))
			}
			heard = true
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("what the service says is not heard")
		}
	}
	if n := w.s.Stats().Export; n.Media == 0 || n.Changes != 1 || n.Unused != 0 {
		t.Errorf("%+v", n)
	}
	// The focus wants no more of it.
	w.must(connect("", ""))
	sources(`{"event":"sources","exports":["aaaaaaaa-a0"],"requests":[]}`)
	w.must(modify(`<endpoint id="aaaaaaaa"><sources>` + own + `</sources></endpoint>`))
	tell(`{"event":"media","media":{"tag":"aaaaaaaa-a0.hi","chunk":"9","timestamp":"1","payload":"/AEC"}}`)
	for w.s.Stats().Export.Unused == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("what is not wanted is not noticed")
		}
	}
}
