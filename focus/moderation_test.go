package focus_test

import (
	"fmt"
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

// component sends the focus a message from some address, as the room's services do.
func (w *world) component(from, inner string) {
	w.router.RouteNow(xmpp.NewStanza(xmpp.Message, "", "", xmpp.MustJID(from), xmpp.MustJID("focus@auth.meet.example/focus"), inner))
	synctest.Wait()
}

func jsonMessage(attrs, text string) string {
	return `<json-message xmlns="http://jitsi.org/jitmeet"` + attrs + `>` + xmpp.Escape(text) + `</json-message>`
}

const (
	avDomain   = "avmoderation.meet.example"
	metaDomain = "metadata.meet.example"
)

// moderate switches AV moderation as its service does.
func (w *world) moderate(media string, on bool, actor string) {
	w.component(avDomain, jsonMessage("", fmt.Sprintf(`{"type":"av_moderation","enabled":%v,"room":"%s","actor":"%s/%s","mediaType":"%s"}`, on, w.room, w.room, actor, media)))
}

// whitelist tells the list of who may unmute.
func (w *world) whitelist(media string, nicks ...string) {
	var list []string
	for _, n := range nicks {
		list = append(list, `"`+w.room.String()+"/"+n+`"`)
	}
	w.component(avDomain, jsonMessage("", fmt.Sprintf(`{"type":"av_moderation","room":"%s","mediaType":"%s","whitelists":{"%s":[%s]}}`, w.room, media, media, strings.Join(list, ","))))
}

// muted takes the mute requests that a client got: "audio by ACTOR".
func (c *client) muted() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	rest := c.got[:0]
	for _, s := range c.got {
		el := s.Payload()
		if s.Kind != xmpp.IQ || el == nil || el.Name != "mute" {
			rest = append(rest, s)
			continue
		}
		if m := jitmeet.ParseMute(el); s.From != c.w.room.WithResource("focus") || !m.Mute {
			c.w.t.Errorf("%s: mute %s", c.nick, s)
		} else {
			_, actor, _ := strings.Cut(m.Actor, "/")
			out = append(out, strings.TrimSpace(el.NS[strings.LastIndexByte(el.NS, '/')+1:]+" "+actor))
		}
	}
	c.got = rest
	return strings.Join(out, ", ")
}

// forced is what the bridge has been told to drop since the last call, by endpoint.
func (b *bridge) forced() map[string]colibri2.ForceMute {
	out := map[string]colibri2.ForceMute{}
	for _, m := range b.requests() {
		for _, ep := range m.Endpoints {
			if ep.ForceMute != nil {
				out[ep.ID] = *ep.ForceMute
			}
		}
	}
	return out
}

func moderated(c *focus.Config) { c.AVModeration, c.Metadata = avDomain, metaDomain }

// mute asks the focus.
func (c *client) mute(media, whom, text string) error {
	return c.say(`<mute xmlns="http://jitsi.org/jitmeet/` + media + `" jid="` + c.w.room.String() + "/" + whom + `">` + text + `</mute>`)
}

func cond(err error) string {
	if se, ok := err.(*xmpp.StanzaError); ok {
		return se.Cond
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// Whoever may not unmute is muted at once, by its client and by the bridge.
func TestAVModeration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, moderated)
		a, b := w.two() // a is moderator
		w.moderate("audio", true, "aaaaaaaa")
		w.whitelist("audio", "aaaaaaaa")
		if got := a.muted() + "|" + b.muted(); got != "|audio" {
			t.Errorf("muted %q", got)
		}
		if got := w.bridge.forced(); len(got) != 1 || got["bbbbbbbb"] != (colibri2.ForceMute{Audio: true}) {
			t.Errorf("bridge %v", got)
		}
		// Again, nothing.
		w.moderate("audio", true, "aaaaaaaa")
		if got := w.bridge.forced(); len(got) != 0 || b.muted() != "" {
			t.Errorf("switched on twice: %v", got)
		}
		if got := cond(b.mute("audio", "bbbbbbbb", "false")); got != xmpp.CondNotAllowed {
			t.Errorf("unmute under moderation: %q", got)
		}
		if got := cond(a.mute("audio", "aaaaaaaa", "false")); got != "" {
			t.Errorf("unmute of a moderator: %q", got)
		}
		if got := cond(b.mute("video", "bbbbbbbb", "false")); got != "" {
			t.Errorf("unmute of another medium: %q", got)
		}
		// Approved, and taken back.
		w.whitelist("audio", "aaaaaaaa", "bbbbbbbb")
		if got := w.bridge.forced(); len(got) != 1 || got["bbbbbbbb"] != (colibri2.ForceMute{}) {
			t.Errorf("approved: %v", got)
		}
		if got := cond(b.mute("audio", "bbbbbbbb", "false")); got != "" {
			t.Errorf("unmute of the approved: %q", got)
		}
		w.component(avDomain, jsonMessage("", `{"type":"av_moderation","room":"`+w.room.String()+`","mediaType":"audio","whitelists":{},"removed":true}`))
		if got := w.bridge.forced(); got["bbbbbbbb"] != (colibri2.ForceMute{Audio: true}) {
			t.Errorf("taken back: %v", got)
		}
		// Screens and cameras are one to the bridge: both have to be moderated.
		w.moderate("video", true, "aaaaaaaa")
		if got := w.bridge.forced(); len(got) != 0 || b.muted() != "video" {
			t.Errorf("video alone: %v", got)
		}
		w.moderate("DESKTOP", true, "aaaaaaaa")
		if got := w.bridge.forced(); got["bbbbbbbb"] != (colibri2.ForceMute{Audio: true, Video: true}) || b.muted() != "desktop" {
			t.Errorf("video and screen: %v", got)
		}
		// Who comes now is silent from the start, its client of 2021 is told in the offer.
		c := w.meet("cccccccc")
		offer := c.expect(jingle.SessionInitiate)
		if offer.StartMuted == nil || !offer.StartMuted.Audio || !offer.StartMuted.Video {
			t.Errorf("offer %s", offer)
		}
		reqs := w.bridge.requests()
		if f := reqs[0].Endpoints[0].ForceMute; f == nil || !f.Audio || !f.Video {
			t.Errorf("endpoint %+v", reqs[0].Endpoints[0])
		}
		if err := c.accept(offer, 3000); err != nil {
			t.Fatal(err)
		}
		// A grant lifts it.
		grant := `<query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="cccccccc@meet.example"/></query>`
		if _, err := a.port.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, w.room, grant), time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := w.bridge.forced(); got["cccccccc"] != (colibri2.ForceMute{}) || len(got) != 1 {
			t.Errorf("granted: %v", got)
		}
		w.moderate("video", false, "aaaaaaaa")
		w.moderate("audio", false, "aaaaaaaa")
		if got := w.bridge.forced(); got["bbbbbbbb"] != (colibri2.ForceMute{}) {
			t.Errorf("switched off: %v", got)
		}
		if got := a.muted() + b.muted() + c.muted(); got != "" {
			t.Errorf("muted %q", got)
		}
	})
}

// Recorders are not muted, nor can be.
func TestAVModerationOfServices(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			moderated(c)
			c.TrustedDomains = []string{"recorder.meet.example"}
		})
		a, _ := w.two()
		rec := w.client("recorder@recorder.meet.example", "rrrrrrrr")
		rec.join(`<features><feature var="` + jitmeet.FeatureJibri + `"/></features>` + caps2026)
		if err := rec.accept(rec.expect(jingle.SessionInitiate), 5000); err != nil {
			t.Fatal(err)
		}
		w.bridge.requests()
		w.moderate("audio", true, "aaaaaaaa")
		if got := w.bridge.forced(); got["rrrrrrrr"].Audio || !got["bbbbbbbb"].Audio || rec.muted() != "" {
			t.Errorf("%v", got)
		}
		if got := cond(a.mute("audio", "rrrrrrrr", "true")); got != xmpp.CondNotAllowed {
			t.Errorf("%q", got)
		}
	})
}

// Only the component is believed, and only what it can mean.
func TestForgedComponents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, moderated)
		a, b := w.two()
		on := jsonMessage("", `{"type":"av_moderation","enabled":true,"room":"`+w.room.String()+`","actor":"x","mediaType":"audio"}`)
		for _, from := range []string{
			"avmoderation.meet.example/x", "u@avmoderation.meet.example", "xavmoderation.meet.example", "meet.example", metaDomain,
			"standup@conference.meet.example", "standup@conference.meet.example/aaaaaaaa", "auth.meet.example",
		} {
			w.component(from, on)
		}
		// As a client can send it: to the occupant, and to the account.
		for _, to := range []xmpp.JID{w.room.WithResource("focus"), xmpp.MustJID("focus@auth.meet.example/focus")} {
			a.port.Send(xmpp.NewStanza(xmpp.Message, "", "", xmpp.JID{}, to, on))
			a.port.Send(xmpp.NewStanza(xmpp.Message, "chat", "", xmpp.JID{}, to, on))
		}
		for _, text := range []string{
			``, `{`, `null`, `[]`, `{"type":"room_metadata"}`, `{"type":"av_moderation","enabled":true,"mediaType":"audio"}`,
			`{"type":"av_moderation","enabled":true,"mediaType":"audio","room":"other@conference.meet.example"}`,
			`{"type":"av_moderation","enabled":true,"mediaType":"audio","room":"not a\u0000jid@@"}`,
			`{"type":"av_moderation","enabled":true,"mediaType":"smell","room":"` + w.room.String() + `"}`,
			`{"type":"av_moderation","enabled":"yes","mediaType":"audio","room":"` + w.room.String() + `"}`,
			`{"type":"av_moderation","mediaType":"audio","whitelists":{"smell":["x"]},"room":"` + w.room.String() + `"}`,
		} {
			w.component(avDomain, jsonMessage("", text))
			w.component(metaDomain, jsonMessage(` room="`+w.room.String()+`"`, text))
		}
		w.component(avDomain, "<body>hello</body>")
		w.router.RouteNow(xmpp.NewStanza(xmpp.Message, xmpp.TypeError, "", xmpp.MustJID(avDomain), xmpp.MustJID("focus@auth.meet.example/focus"), on))
		synctest.Wait()
		if got := w.bridge.forced(); len(got) != 0 || b.muted() != "" {
			t.Errorf("bridge %v", got)
		}
		w.moderate("audio", true, "aaaaaaaa")
		if b.muted() != "audio" {
			t.Error("the component is not believed")
		}
	})
}

// A room's policy to start muted reaches clients that read it from the offer.
func TestStartMutedByMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, moderated)
		w.two()
		tell := func(metadata string) {
			w.component(metaDomain, jsonMessage(` room="`+w.room.String()+`"`, `{"type":"room_metadata","metadata":`+metadata+`}`))
		}
		tell(`{"startMuted":{"audio":true,"video":false},"moderators":[]}`)
		tell(`{"whiteboard":{}}`) // says nothing of it, so it stays
		c := w.meet("cccccccc")
		if offer := c.expect(jingle.SessionInitiate); offer.StartMuted == nil || !offer.StartMuted.Audio || offer.StartMuted.Video {
			t.Errorf("%s", offer)
		}
		if f := w.bridge.requests()[0].Endpoints[0].ForceMute; f != nil {
			t.Error("the bridge drops what a policy only suggests")
		}
		tell(`{"startMuted":{"audio":false,"video":false}}`)
		if offer := w.meet("dddddddd").expect(jingle.SessionInitiate); offer.StartMuted != nil {
			t.Errorf("%s", offer)
		}
	})
}

// When enough people send, others are told so and refused.
func TestSenderLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.MaxAudioSenders = 2 })
		a, b := w.two()
		limit := func() string {
			p := a.presences("focus")
			if len(p) == 0 {
				return "no presence"
			}
			if v, ok := propertiesIn(p[len(p)-1])["audio-limit-reached"]; ok {
				return v
			}
			return "not mentioned"
		}
		say := func(c *client, muted bool) {
			c.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, c.me, fmt.Sprintf(`<SourceInfo>{"%s-a0":{"muted":%v},"%s-v0":{"muted":false}}</SourceInfo>`, c.nick, muted, c.nick)))
			synctest.Wait()
		}
		a.presences("focus")
		say(a, false)
		if got := limit(); got != "no presence" {
			t.Errorf("one sends: %s", got)
		}
		b.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, b.me, `<audiomuted>false</audiomuted>`)) // as a gateway
		if got := limit(); got != "true" {
			t.Errorf("two send: %s", got)
		}
		say(b, false)
		c := w.meet("cccccccc")
		offer := c.expect(jingle.SessionInitiate)
		if offer.StartMuted == nil || !offer.StartMuted.Audio || offer.StartMuted.Video {
			t.Errorf("%s", offer)
		}
		c.sid = offer.SID
		accept := c.media(3000)
		mic := *accept[0].Description
		accept[0].Description = &jingle.Description{Media: "audio"}
		if err := c.say((&jingle.Jingle{Action: jingle.SessionAccept, SID: c.sid, Contents: accept}).String()); err != nil {
			t.Fatal(err)
		}
		add := (&jingle.Jingle{Action: jingle.SourceAdd, SID: c.sid, Contents: []jingle.Content{{Creator: "responder", Name: "audio", Description: &mic}}}).String()
		if got := cond(c.say(add)); got != xmpp.CondResourceConstraint {
			t.Errorf("third sender: %q", got)
		}
		say(b, true)
		if got := limit(); got != "false" {
			t.Errorf("one has muted: %s", got)
		}
		if got := cond(c.say(add)); got != "" {
			t.Errorf("after that: %q", got)
		}
	})
}
