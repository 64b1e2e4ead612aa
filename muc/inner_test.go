package muc

import (
	"log/slog"
	"strconv"
	"testing"

	"confab/internal/mailbox"
	"confab/xmpp"
)

// sink is a port that takes everything and keeps nothing.
type sink struct{ jid xmpp.JID }

func (s sink) JID() xmpp.JID              { return s.jid }
func (s sink) Deliver(*xmpp.Stanza) error { return nil }

// bigRoom is a room of n occupants and the focus, run by the test's goroutine.
func bigRoom(tb testing.TB, n int) (*Service, *Room) {
	log := slog.New(slog.DiscardHandler)
	focus := xmpp.MustJID("focus@auth.meet.example")
	cfg := DefaultConfig()
	cfg.Domain, cfg.Admins, cfg.Focus, cfg.SummonFocus = "conference.meet.example", []xmpp.JID{focus}, focus, false
	sv := NewService(cfg, xmpp.NewRouter(log), log)
	m := &meeting{box: mailbox.New[event](64)}
	r := newRoom(sv, xmpp.MustJID("r@conference.meet.example"), m, nil, true)
	m.room = r
	seat(tb, sv, r, focus.WithResource("focus"), "focus")
	for i := range n {
		s := strconv.Itoa(i)
		seat(tb, sv, r, xmpp.MustJID("u"+s+"@meet.example/r"), "n"+s)
	}
	return sv, r
}

func seat(tb testing.TB, sv *Service, r *Room, real xmpp.JID, nick string) {
	if _, err := sv.router.Bind(sink{real}); err != nil {
		tb.Fatal(err)
	}
	r.handle(&event{kind: evStanza, room: r, s: stanza(tb, real, presence(nick, `<x xmlns="http://jabber.org/protocol/muc"/>`))})
	if r.real[real] == nil {
		tb.Fatalf("%s did not get in", real)
	}
}

func presence(nick, inner string) string {
	return `<presence to="r@conference.meet.example/` + nick + `">` + inner + payload1k + `</presence>`
}

// payload1k is what the July 2026 client says of itself, about 1 kB in all.
const payload1k = `<stats-id>Danika-TzP</stats-id><c hash="sha-1" node="https://jitsi.org/jitsi-meet" ver="dtzK/3xhISaXUMVg59IpXxdvKyQ=" xmlns="http://jabber.org/protocol/caps"/><features><feature var="https://jitsi.org/meet/e2ee"/></features><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns="http://jabber.org/protocol/nick">P0</nick><jitsi_participant_e2ee.idKey.curve25519>/rEarwZZrI/ZcVJccllIQ96vweVRJH0VurpqDUpLkw0</jitsi_participant_e2ee.idKey.curve25519><jitsi_participant_e2ee.idKey.ed25519>nROoUWDmQgXG616RvM5e0YLjIZd8WjzXalFykfCzVn4</jitsi_participant_e2ee.idKey.ed25519><SourceInfo>{&quot;3944dacb-a0&quot;:{&quot;muted&quot;:true},&quot;3944dacb-v0&quot;:{&quot;muted&quot;:false}}</SourceInfo>`

func stanza(tb testing.TB, from xmpp.JID, src string) *xmpp.Stanza {
	s, err := xmpp.ParseStanza(src, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		tb.Fatal(err)
	}
	s.From = from
	return s
}

// leastAllocs is what fn allocates. The least of some tries counts: the race
// detector and other goroutines only ever add to it.
func leastAllocs(fn func()) float64 {
	n := testing.AllocsPerRun(50, fn)
	for range 9 {
		n = min(n, testing.AllocsPerRun(50, fn))
	}
	return n
}

// A broadcast costs the same number of allocations for ten as for many.
func TestBroadcastEncodesOnce(t *testing.T) {
	count := func(n int) float64 {
		_, r := bigRoom(t, n)
		s := stanza(t, xmpp.MustJID("u0@meet.example/r"), presence("n0", ""))
		return leastAllocs(func() { r.handle(&event{kind: evStanza, room: r, s: s}) })
	}
	if few, many := count(5), count(100); many > few+1 {
		t.Fatalf("%.0f allocations for 6 receivers, %.0f for 101", few, many)
	}
}

// So it does where some see less of it, visitors among them.
func TestViewsAreMadeOnce(t *testing.T) {
	count := func(n int) float64 {
		sv, r := bigRoom(t, n)
		r.policy.HideNames = true
		cfg := DefaultConfig()
		cfg.Domain, cfg.Main, cfg.Visitors, cfg.SummonFocus = "conference.v0.meet.example", sv, true, false
		side, err := r.Open(NewService(cfg, sv.router, sv.log), "r")
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			real := xmpp.MustJID("v" + strconv.Itoa(i) + "@v0.meet.example/r")
			if _, err := sv.router.Bind(sink{real}); err != nil {
				t.Fatal(err)
			}
			join := stanza(t, real, `<presence to="r@conference.v0.meet.example/v`+strconv.Itoa(i)+`"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
			side.handle(&event{kind: evStanza, room: side, s: join})
		}
		if side.People() != n {
			t.Fatal(side.People())
		}
		s := stanza(t, xmpp.MustJID("u0@meet.example/r"), presence("n0", ""))
		return leastAllocs(func() { r.handle(&event{kind: evStanza, room: r, s: s}) })
	}
	if few, many := count(5), count(100); many > few+2 {
		t.Fatalf("%.0f allocations for 11 receivers, %.0f for 201", few, many)
	}
}

// dead is a port that closed without leaving its rooms.
type dead struct{ sink }

func (dead) Deliver(*xmpp.Stanza) error { return xmpp.ErrGone }

// What one room tells another finds out who is gone from that one.
func TestDeadPortsAreFoundInSideRooms(t *testing.T) {
	t.Parallel()
	sv, r := bigRoom(t, 2)
	cfg := DefaultConfig()
	cfg.Domain, cfg.Main, cfg.Inside, cfg.SummonFocus = "breakout.meet.example", sv, true, false
	side, err := r.Open(NewService(cfg, sv.router, sv.log), "s")
	if err != nil {
		t.Fatal(err)
	}
	gone := dead{sink{xmpp.MustJID("bot@meet.example/r")}}
	o := &Occupant{Nick: "bot", bare: gone.jid.Bare(), jid: side.jid.WithResource("bot"), Role: RoleParticipant}
	o.Seats = []*Seat{{Real: gone.jid, port: gone, occ: o}}
	side.occ[o.Nick], side.real[gone.jid], side.order = o, o.Seats[0], []*Occupant{o}
	r.handle(&event{kind: evTimer, room: r, fn: r.Changed})
	if len(side.order) != 0 || len(side.gone) != 0 {
		t.Fatal("still there")
	}
}

func BenchmarkRoomBroadcast(b *testing.B) {
	_, r := bigRoom(b, 500)
	for _, c := range []struct{ name, src string }{
		{"presence", presence("n0", "")},
		{"message", `<message to="r@conference.meet.example" type="groupchat"><body>hello</body></message>`},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := stanza(b, xmpp.MustJID("u0@meet.example/r"), c.src)
			b.ReportAllocs()
			for b.Loop() {
				r.handle(&event{kind: evStanza, room: r, s: s})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/501, "ns/receiver")
		})
	}
}

// BenchmarkRoomJoin is a join to a room of 500 and the leave after it.
func BenchmarkRoomJoin(b *testing.B) {
	sv, r := bigRoom(b, 500)
	real := xmpp.MustJID("late@meet.example/r")
	if _, err := sv.router.Bind(sink{real}); err != nil {
		b.Fatal(err)
	}
	in := stanza(b, real, presence("late", `<x xmlns="http://jabber.org/protocol/muc"/>`))
	out := stanza(b, real, `<presence to="r@conference.meet.example/late" type="unavailable"/>`)
	b.ReportAllocs()
	for b.Loop() {
		r.handle(&event{kind: evStanza, room: r, s: in})
		r.handle(&event{kind: evStanza, room: r, s: out})
	}
}

// FuzzForm submits forms: whatever they say, a room's configuration stays within
// its bounds, and what was read can be written and read again.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		`<x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE"><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var="muc#roomconfig_roomsecret"><value>a</value></field></x>`,
		`<x xmlns="jabber:x:data" type="submit"><field var="muc#roomconfig_passwordprotectedroom"><value>0</value></field><field var="muc#roomconfig_membersonly"/></x>`,
		`<x xmlns="jabber:x:data"><field/><field var="a"/><field var="a"><value/><value/></field></x>`,
		`<x xmlns="jabber:x:data" type="cancel"/>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			return
		}
		form, err := parseForm(el)
		if err != nil {
			return
		}
		const max = 64
		before := roomConf{meetingID: "m", password: "p", lang: "en"}
		after, err := before.submitted(form, false, max)
		if err == nil && (len(after.password) > max || len(after.name) > max || len(after.desc) > max || after.meetingID != "m") {
			t.Fatalf("%+v", after)
		}
		again, err := xmpp.ParseElement(form.String(), xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		twice, err := parseForm(again)
		if err != nil || len(twice.fields) != len(form.fields) || twice.Type() != form.Type() {
			t.Fatalf("%v: %s", err, form)
		}
	})
}

// FuzzRoom lets an owner and an outsider send anything to a room: it answers or
// drops, and lives.
func FuzzRoom(f *testing.F) {
	for _, s := range []string{
		`<message to="r@conference.meet.example"><x xmlns="http://jabber.org/protocol/muc#user"><invite to="a@b"/><decline/></x></message>`,
		`<message to="r@conference.meet.example" type="groupchat"><subject>a</subject></message>`,
		`<message to="r@conference.meet.example" type="groupchat"><reply to="x"/><json-message xmlns="http://jitsi.org/jitmeet">[]</json-message></message>`,
		`<message to="r@conference.meet.example"><x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE"><value>http://jabber.org/protocol/muc#request</value></field></x></message>`,
		`<presence to="r@conference.meet.example/n1"><x xmlns="http://jabber.org/protocol/muc"><history since="1" seconds="9" maxchars="0"/></x><x/></presence>`,
		`<presence to="r@conference.meet.example/n1" type="error"/>`,
		`<presence to="r@conference.meet.example/n1" type="unavailable"><status>switch_room</status></presence>`,
		`<iq to="r@conference.meet.example" type="set" id="1"><query xmlns="http://jabber.org/protocol/muc#admin"><item nick="n1" role="none"/><item jid="u1@meet.example" affiliation="outcast"/></query></iq>`,
		`<iq to="r@conference.meet.example" type="get" id="1"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner"/></query></iq>`,
		`<iq to="r@conference.meet.example" type="set" id="1"><query xmlns="http://jabber.org/protocol/muc#owner"><destroy jid="x"><password/></destroy></query></iq>`,
		`<iq to="r@conference.meet.example/n1" type="get" id="1"><vCard xmlns="vcard-temp"/></iq>`,
		`<iq to="r@conference.meet.example/n1" type="result" id="1"/>`,
		`<iq to="r@conference.meet.example" type="get" id="1"/>`,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, src string, inside bool) {
		s, err := xmpp.ParseStanza(src, xmpp.Limits{Bytes: 4096}, xmpp.Scope{Default: xmpp.NSClient})
		if err != nil || s.To.Domain != "conference.meet.example" {
			return
		}
		sv, r := bigRoom(t, 3)
		r.SetAffiliation(xmpp.MustJID("u0@meet.example"), AffOwner)
		r.occ["n0"].Aff, r.occ["n0"].Role = AffOwner, RoleModerator
		s.From = xmpp.MustJID("u0@meet.example/r")
		if !inside {
			s.From = xmpp.MustJID("out@meet.example/r")
			_, _ = sv.router.Bind(sink{s.From})
		}
		for range 2 {
			r.handle(&event{kind: evStanza, room: r, s: s})
		}
		if n := sv.stats.panics.Load(); n != 0 {
			t.Fatal("the room panicked")
		}
		r.end()
	})
}

// Members can't fill a room so that nobody can be made moderator or banned.
func TestAffiliationsLeaveRoomForRulers(t *testing.T) {
	_, r := bigRoom(t, 2)
	r.sv.cfg.MaxAffiliations = 20
	for i := range 30 {
		r.SetAffiliation(xmpp.MustJID("m"+strconv.Itoa(i)+"@x"), AffMember)
	}
	if len(r.aff) != 20 {
		t.Fatal(len(r.aff))
	}
	actor := r.order[1]
	actor.Aff, actor.Role = AffOwner, RoleModerator
	member, owner, outcast := AffMember, AffOwner, AffOutcast
	for _, c := range []struct {
		jid string
		aff *Affiliation
		ok  bool
	}{{"n1@x", &member, false}, {"n2@x", &owner, true}, {"n3@x", &outcast, true}, {"n4@x", &owner, false}, {"m0@x", &owner, true}} {
		if err := r.setAffiliation(actor, adminItem{jid: xmpp.MustJID(c.jid), aff: c.aff}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.jid, err)
		}
	}
}

// Of so many messages the writers are remembered, and no more.
func TestAuthorsAreBounded(t *testing.T) {
	t.Parallel()
	var a authors
	bare := xmpp.MustJID("u@x")
	for i := range 25 {
		a.note(strconv.Itoa(i), bare, 10)
		a.note(strconv.Itoa(i), xmpp.MustJID("other@x"), 10)
	}
	if len(a.of) != 10 || len(a.ring) != 10 || a.of["24"] != bare || a.of["15"] != bare || a.of["14"] == bare {
		t.Fatal(a)
	}
}
