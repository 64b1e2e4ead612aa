package focus_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// visitorServices are those of a main room with visitors.
func (w *world) visitorServices(cfg *focus.Config) []func(*muc.Room) muc.RoomService {
	cfg.Metadata = "metadata.meet.example"
	return []func(*muc.Room) muc.RoomService{
		services.NewMetadata(services.MetadataConfig{Domain: cfg.Metadata}),
		services.NewVisitors(services.VisitorsConfig{
			Domain: "visitors.meet.example", Host: cfg.Visitors.Host, Node: cfg.Visitors.Node, Focus: cfg.JID.Bare(),
			Rooms: func() *muc.Service { return w.guests }, Promotions: services.NewPromotions(),
		}),
	}
}

// serveVisitors makes the service of their rooms.
func (w *world) serveVisitors(mc muc.Config) *muc.Service {
	mc.Domain, mc.Main, mc.Visitors, mc.EndWithPeople, mc.SummonFocus = "conference.v0.meet.jitsi", w.main, true, false, false
	mc.Stages = policy.VisitorRooms(policy.DefaultConfig(), "v0.meet.jitsi", 100)
	mc.Services = []func(*muc.Room) muc.RoomService{services.NewVisitorRoom}
	w.guests = muc.NewService(mc, w.router, w.log)
	w.router.Serve(mc.Domain, w.guests)
	w.router.ServeTenants(mc.Domain, w.guests)
	w.router.Serve("visitors.meet.example", services.NewVisitorsComponent("visitors.meet.example", w.main, w.router))
	w.router.Serve("metadata.meet.example", services.NewMetadataComponent(services.MetadataConfig{Domain: "metadata.meet.example"}, w.main, w.router))
	return w.guests
}

// withVisitors lets n take part.
func withVisitors(n int) func(*focus.Config) {
	return func(c *focus.Config) {
		c.Visitors.Node, c.Visitors.Host, c.Visitors.MUC = "v0", "v0.meet.jitsi", "conference.v0.meet.jitsi"
		c.Visitors.Component, c.Visitors.After = "visitors.meet.example", n
	}
}

// asks sends a conference request with properties, as name=value.
func (c *client) asks(props ...string) (*jitmeet.ConferenceResponse, *xmpp.StanzaError) {
	c.w.t.Helper()
	req := jitmeet.ConferenceRequest{Room: c.w.room.String(), MachineUID: "m"}
	for _, p := range props {
		name, value, _ := strings.Cut(p, "=")
		req.Properties = append(req.Properties, jitmeet.Property{Name: name, Value: value})
	}
	s, err := c.port.Request(c.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"), req.String()), time.Minute)
	if se, ok := err.(*xmpp.StanzaError); ok {
		return nil, se
	} else if err != nil {
		c.w.t.Fatal(err)
	}
	synctest.Wait()
	return jitmeet.ParseConferenceResponse(s.Child(jitmeet.NSFocus, "conference")), nil
}

func (w *world) gallery() xmpp.JID {
	return xmpp.JID{Local: w.room.Local, Domain: strings.TrimSuffix(w.room.Domain, "meet.example") + "v0.meet.jitsi"}
}

// visit connects to the visitors' host and joins there.
func (w *world) visit(nick, codecs string) *client {
	w.t.Helper()
	c := w.client(nick+"@v0.meet.jitsi", nick)
	c.me = w.gallery().WithResource(nick)
	c.join(caps2026 + `<jitsi_participant_codecList>` + codecs + `</jitsi_participant_codecList>`)
	return c
}

func property(r *jitmeet.ConferenceResponse, name string) string {
	for _, p := range r.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return "none"
}

// properties are those of the conference that the focus has last shown.
func (c *client) properties() map[string]string {
	var last *xmpp.Stanza
	for _, s := range c.presences("focus") {
		last = s
	}
	if last == nil {
		return nil
	}
	return propertiesIn(last)
}

// propertiesIn are those that a presence of the focus shows.
func propertiesIn(s *xmpp.Stanza) map[string]string {
	out := map[string]string{}
	for _, p := range s.Child(jitmeet.NSFocus, "conference-properties").Children("", "property") {
		out[p.Get("key")] = p.Get("value")
	}
	return out
}

// The third is sent to the visitors, gets the same offer, sends nothing and receives
// everything.
func TestVisitors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withVisitors(2))
		a, b := w.two()
		if p := a.properties(); p["visitors-enabled"] != "true" || p["visitor-count"] != "" {
			t.Fatal(p)
		}
		// An old client can't be sent anywhere.
		old := w.client("old@meet.example", "oldoldol")
		if r, se := old.asks(); se != nil || !r.Ready || r.VNode != "" {
			t.Fatal(r, se)
		}
		third := w.client("third@meet.example", "cccccccc")
		r, se := third.asks("visitors-version=1")
		if se != nil || !r.Ready || r.VNode != "v0" || r.FocusJID != "focus@auth.meet.example" || property(r, "visitors-supported") != "true" {
			t.Fatal(r, se)
		}
		v := w.visit("dddddddd", "av1,vp9,vp8,h264")
		offer := v.expect(jingle.SessionInitiate)
		if len(offer.Sources) != 3 {
			t.Fatal("the visitor is told of", offer.Sources)
		}
		asked := w.bridge.requests()
		if ep := asked[0].Endpoints[0]; ep.ID != "dddddddd" || ep.MUCRole != colibri2.RoleVisitor || !ep.Create {
			t.Fatalf("%+v", ep)
		}
		// With sources it is no visitor; without it is.
		if err := v.accept(offer, 3000); err == nil || err.(*xmpp.StanzaError).Cond != xmpp.CondForbidden {
			t.Fatal(err)
		}
		v.leave()
		v.join(caps2026)
		offer = v.expect(jingle.SessionInitiate)
		tr := v.media(1)[0].Transport
		v.sid = offer.SID
		if err := v.say((&jingle.Jingle{Action: jingle.SessionAccept, SID: offer.SID, Contents: []jingle.Content{
			{Creator: "responder", Name: "audio", Senders: "both", Transport: tr}, {Creator: "responder", Name: "video", Senders: "both", Transport: tr},
		}}).String()); err != nil {
			t.Fatal(err)
		}
		if err := v.say((&jingle.Jingle{Action: jingle.SourceAdd, SID: offer.SID, Contents: v.media(3000)}).String()); err == nil || err.(*xmpp.StanzaError).Cond != xmpp.CondForbidden {
			t.Fatal(err)
		}
		a.nothing()
		b.nothing()
		// What participants do reaches it.
		if err := a.say((&jingle.Jingle{Action: jingle.SourceRemove, SID: a.sid, Contents: a.media(1000)[:1]}).String()); err != nil {
			t.Fatal(err)
		}
		v.expect(jingle.SourceRemove)
		b.expect(jingle.SourceRemove)
		// It commands nobody, nor under the name of a participant.
		for _, target := range []string{"aaaaaaaa", "dddddddd"} {
			m := jitmeet.Mute{NS: jitmeet.NSAudio, JID: w.room.WithResource(target).String(), Mute: true}
			if err := v.say(m.String()); err == nil {
				t.Error("a visitor mutes", target)
			}
		}
		// Its session doesn't ask for rooms.
		if r, se := v.asks("visitors-version=1"); se == nil || se.Cond != xmpp.CondNotAllowed {
			t.Fatal(r, se)
		}
		for _, room := range []xmpp.JID{w.gallery(), xmpp.MustJID("x@conference.v0.meet.jitsi")} {
			was := w.room
			w.room = room
			if r, se := third.asks("visitors-version=1"); se == nil || se.Cond != xmpp.CondBadRequest {
				t.Error(r, se)
			}
			w.room = was
		}
		// The main room's moderator is elected among its people.
		v.presences("focus")
		a.leave()
		if got := b.presences("bbbbbbbb"); len(got) == 0 || !strings.Contains(got[len(got)-1].Inner, `role="moderator"`) {
			t.Error(got)
		}
		if st := w.focus.Stats(); st.Conferences != 1 || st.Participants != 2 || st.Visitors != 1 ||
			st.ConferencesWithVisitors != 1 || st.Largest != 2 || st.Sizes[2] != 1 || st.Pairs != 4 {
			t.Errorf("%+v", st)
		}
		// The last participant takes the meeting with it.
		b.leave()
		got := v.presences("dddddddd")
		if len(got) == 0 || !strings.Contains(got[len(got)-1].Inner, "<destroy>") || w.focus.Stats().Conferences != 0 || w.focus.Stats().Visitors != 0 || w.guests.Stats().Rooms != 0 {
			t.Error(got, w.focus.Stats(), w.guests.Stats())
		}
	})
}

// Their number and their codecs are told, the number not too often.
func TestVisitorProperties(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withVisitors(2))
		a, _ := w.two()
		if r, se := w.client("x@meet.example", "xxxxxxxx").asks("visitors-version=1"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		v1 := w.visit("dddddddd", "av1,vp9,vp8,h264")
		if p := a.properties(); p["visitor-count"] != "1" || p["visitor-codecs"] != "av1,vp9,vp8,h264" {
			t.Fatal(p)
		}
		if p := v1.properties(); p["visitor-count"] != "1" {
			t.Fatal("visitors are told, too:", p)
		}
		w.visit("eeeeeeee", "h264,VP9,nonsense, vp9")
		if p := a.properties(); p["visitor-count"] != "1" || p["visitor-codecs"] != "vp9,h264,vp8" {
			t.Fatal(p)
		}
		v3 := w.visit("ffffffff", "") // of an old kind: counts for nothing
		if p := a.properties(); p != nil {
			t.Fatal(p)
		}
		time.Sleep(15 * time.Second)
		if p := a.properties(); p["visitor-count"] != "3" {
			t.Fatal(p)
		}
		for _, c := range []*client{v1, v3} {
			c.leave()
		}
		time.Sleep(15 * time.Second)
		if p := a.properties(); p["visitor-count"] != "1" || p["visitor-codecs"] != "h264,vp9,vp8" {
			t.Fatal(p)
		}
	})
}

// Who asks to visit may from the start; once there are visitors nobody comes in by
// itself, and when they have gone everybody does.
func TestAsksToVisit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withVisitors(50))
		a := w.meet("aaaaaaaa")
		b := w.client("b@meet.example", "bbbbbbbb")
		if r, se := b.asks("visitors-version=1", "visitor=true"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		v := w.visit("dddddddd", "vp8")
		a.expect(jingle.SessionInitiate)
		v.expect(jingle.SessionInitiate)
		if r, se := b.asks("visitors-version=1"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		b.join("")
		if got := b.presences("bbbbbbbb"); len(got) != 1 || got[0].Type != "error" || !strings.Contains(got[0].Inner, "promotion-not-allowed") {
			t.Fatal(got)
		}
		v.leave()
		time.Sleep(16 * time.Second)
		if w.guests.Stats().Rooms != 0 {
			t.Fatal("the visitors' room stays")
		}
		if r, se := b.asks("visitors-version=1"); se != nil || !r.Ready || r.VNode != "" {
			t.Fatal(r, se)
		}
		b.join(caps2026)
		if got := b.presences("bbbbbbbb"); len(got) == 0 || got[0].Type == "error" {
			t.Fatal(got)
		}
		// Opened again.
		c := w.client("c@meet.example", "cccccccc")
		if r, se := c.asks("visitors-version=1", "visitor=true"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		w.visit("eeeeeeee", "vp8").expect(jingle.SessionInitiate)
	})
}

// Those on their way count, else a crowd would all come in; hosts always do.
func TestCrowd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			withVisitors(3)(c)
			c.IsHost = func(j xmpp.JID) bool { return j.Local == "host" }
			c.Visitors.Preferred = func(j xmpp.JID) bool { return j.Local == "teacher" }
		})
		w.meet("aaaaaaaa")
		in, out := 0, 0
		for i := range 10 {
			c := w.client("u"+strconv.Itoa(i)+"@meet.example", "bbbbbbb"+strconv.Itoa(i))
			switch r, se := c.asks("visitors-version=1"); {
			case se != nil || !r.Ready:
				t.Fatal(r, se)
			case r.VNode == "":
				in++
			default:
				out++
			}
		}
		if in != 2 || out != 8 {
			t.Fatal(in, out)
		}
		w.focus.SetVisitorsAfter(1000) // there are some already
		if r, se := w.client("late@meet.example", "cccccccc").asks("visitors-version=1"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		if r, se := w.client("teacher@meet.example", "tttttttt").asks("visitors-version=1"); se != nil || r.VNode != "" {
			t.Fatal(r, se)
		}
		h := w.client("host@meet.example", "hhhhhhhh")
		if r, se := h.asks("visitors-version=1"); se != nil || r.VNode != "" {
			t.Fatal(r, se)
		}
		h.join(caps2026)
		if got := h.presences("hhhhhhhh"); len(got) == 0 || !strings.Contains(got[len(got)-1].Inner, `affiliation="owner"`) {
			t.Fatal(got)
		}
		if r, se := h.asks("visitors-version=1", "visitor=true"); se != nil || r.VNode != "v0" {
			t.Fatal("a host who wants to may look on, too:", r, se)
		}
	})
}

// With a lobby there are no visitors; nor where the room's metadata say so.
func TestNotVisitable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withVisitors(1))
		w.meet("aaaaaaaa")
		b := w.client("b@meet.example", "bbbbbbbb")
		w.focus.SetVisitorsAfter(2)
		if r, se := b.asks("visitors-version=1"); se != nil || r.VNode != "" {
			t.Fatal(r, se)
		}
		w.focus.SetVisitorsAfter(1)
		set := func(key string, v any) {
			if err := w.main.Do(t.Context(), w.room, func(r *muc.Room) { services.MetadataOf(r).Set(r, key, v) }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, c := range []struct {
			key      string
			off, on  any
			redirect bool
		}{{"lobbyEnabled", true, false, true}, {"visitorsEnabled", false, true, true}, {"participantsSoftLimit", 7, 1, true}} {
			set(c.key, c.off)
			r, se := b.asks("visitors-version=1")
			if se != nil || !r.Ready || r.VNode != "" {
				t.Fatal(c.key, r, se)
			}
			if want := strconv.FormatBool(c.key == "participantsSoftLimit"); property(r, "visitors-supported") != want {
				t.Error(c.key, r)
			}
			set(c.key, c.on)
		}
		if r, se := b.asks("visitors-version=1"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
	})
}

// Visitors wait until a moderator goes live.
func TestQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { withVisitors(1)(c); c.Visitors.Queue = true })
		b := w.client("b@meet.example", "bbbbbbbb")
		if r, se := b.asks("visitors-version=1", "visitor=true"); se != nil || r.Ready || property(r, "live") != "false" || w.focus.Stats().Conferences != 0 {
			t.Fatal(r, se, w.focus.Stats())
		}
		w.meet("aaaaaaaa")
		for _, p := range []string{"visitor=true", "x=y"} {
			if r, se := b.asks("visitors-version=1", p); se != nil || r.Ready || r.VNode != "" || property(r, "live") != "false" {
				t.Fatal(r, se)
			}
		}
		if err := w.main.Do(t.Context(), w.room, func(r *muc.Room) {
			services.MetadataOf(r).Set(r, "visitors", map[string]any{"live": true})
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r, se := b.asks("visitors-version=1", "visitor=true"); se != nil || !r.Ready || r.VNode != "v0" || property(r, "live") != "none" {
			t.Fatal(r, se)
		}
	})
}

// A visitors' room that can't be had keeps nobody waiting.
func TestNoGallery(t *testing.T) {
	for name, h := range map[string]xmpp.Handler{"refuses": refuses{}, "silent": silence{}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, withVisitors(1))
				w.router.Serve("visitors.meet.example", h)
				w.meet("aaaaaaaa")
				b := w.client("b@meet.example", "bbbbbbbb")
				start := time.Now()
				if r, se := b.asks("visitors-version=1"); se != nil || !r.Ready || r.VNode != "" || time.Since(start) > 5*time.Second {
					t.Fatal(r, se, time.Since(start))
				}
				b.join(caps2026)
				if got := b.presences("bbbbbbbb"); len(got) == 0 || got[0].Type == "error" {
					t.Fatal(got)
				}
			})
		})
	}
}

type refuses struct{ silence }

func (refuses) HandleStanza(_ context.Context, _ *xmpp.Stanza, _ bool) error {
	return xmpp.Forbidden("")
}

// A tenant's visitors are on the tenant's address of the visitors' host.
func TestTenantVisitors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withVisitors(1))
		w.room = xmpp.MustJID("standup@conference.acme.meet.example")
		a := w.meet("aaaaaaaa")
		if r, se := w.client("b@meet.example", "bbbbbbbb").asks("visitors-version=1"); se != nil || r.VNode != "v0" {
			t.Fatal(r, se)
		}
		if w.gallery().Domain != "conference.acme.v0.meet.jitsi" {
			t.Fatal(w.gallery())
		}
		v := w.visit("dddddddd", "vp8")
		v.expect(jingle.SessionInitiate)
		a.expect(jingle.SessionInitiate)
		if got := v.presences("aaaaaaaa"); !slices.ContainsFunc(got, func(s *xmpp.Stanza) bool { return s.From == w.gallery().WithResource("aaaaaaaa") }) {
			t.Fatal(got)
		}
	})
}
