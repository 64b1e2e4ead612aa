package services_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// visitorWorld is a world with visitors; the names that they get are kept.
type visitorWorld struct {
	promotions *services.Promotions
	tokens     *policy.TokenRules
	client     func(xmpp.Port) muc.Client // nil: as their names say
}

func visitors(vw *visitorWorld, change func(*services.VisitorsConfig)) roomworld.Options {
	focus := xmpp.MustJID("focus@auth.meet.example")
	vw.promotions = services.NewPromotions()
	var rooms *muc.Service
	cfg := services.VisitorsConfig{
		Domain: "visitors.meet.example", Host: "v0.meet.jitsi", Node: "v0", Focus: focus,
		Rooms: func() *muc.Service { return rooms }, Promotions: vw.promotions,
	}
	if change != nil {
		change(&cfg)
	}
	return roomworld.Options{
		ICE:      true,
		Client:   vw.client,
		Services: []func(*muc.Room) muc.RoomService{services.NewVisitors(cfg), services.NewPolls(services.PollsConfig{Domain: "polls.meet.example", Max: 5})},
		Build: func(w *roomworld.World) {
			pol := policy.DefaultConfig()
			pol.Tokens = func() *policy.TokenRules { return vw.tokens }
			client := w.Client
			if vw.client != nil {
				client = vw.client
			}
			rooms = muc.NewService(muc.Config{
				Domain: "conference.v0.meet.jitsi", Main: w.Main, Visitors: true, Admins: []xmpp.JID{focus}, Focus: focus,
				ServiceDomains: []string{"auth.meet.example"}, Client: client,
				Stages: policy.VisitorRooms(pol, "v0.meet.jitsi", 3), Services: []func(*muc.Room) muc.RoomService{services.NewVisitorRoom},
			}, w.Router, slog.New(slog.DiscardHandler))
			w.Serve(rooms)
			w.Router.ServeTenants("conference.v0.meet.jitsi", rooms)
			w.Router.Serve("polls.meet.example", services.NewComponent(services.PollsName, "polls.meet.example", w.Main, w.Router))
			w.Router.Serve("visitors.meet.example", services.NewVisitorsComponent("visitors.meet.example", w.Main, w.Router))
		},
	}
}

func TestVisitorTranscripts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*services.VisitorsConfig){
		"visitors": nil, "visitorchat": nil, "visitorgate": nil, "promotion": nil, "demotion": nil, "visitorend": nil, "visitorpolls": nil,
		"autopromotion": func(c *services.VisitorsConfig) { c.AutoPromote = func() bool { return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomworld.Twice(t, "testdata/"+name+".xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
				world := visitors(&visitorWorld{}, change)
				world.WebSocket = webSocket
				return roomworld.New(t, world)
			})
		})
	}
}

var room = xmpp.MustJID("r@conference.meet.example")

// A promoted visitor's name opens the main room to it, and to nobody who guesses.
func TestPromotedName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vw := &visitorWorld{}
		w := roomworld.New(t, visitors(vw, nil))
		conns := map[string]script.Conn{}
		send := func(client, stanza string) (got []string) {
			c := conns[client]
			if c == nil {
				var err error
				if c, err = w.Dial(client); err != nil {
					t.Fatal(err)
				}
				conns[client] = c
			}
			if err := c.Send(stanza); err != nil {
				t.Fatal(err)
			}
			for {
				x, _ := c.Receive()
				if x == "" {
					return got
				}
				got = append(got, x)
			}
		}
		const in = `<x xmlns="http://jabber.org/protocol/muc"/>`
		send("F", `<presence to="r@conference.meet.example/focus">`+in+`</presence>`)
		send("1", `<presence to="r@conference.meet.example/n1">`+in+`</presence>`)
		send("F", `<iq type="get" id="k" to="visitors.meet.example"><visitors xmlns="jitsi:visitors" room="r@conference.meet.example"><connect-vnode vnode="v0"/></visitors></iq>`)
		send("F", `<presence to="r@conference.v0.meet.jitsi/focus">`+in+`</presence>`)
		do := func(fn func(*muc.Room)) {
			if err := w.Main.Do(context.Background(), room, fn); err != nil {
				t.Fatal(err)
			}
		}
		do(func(r *muc.Room) {
			r.Affiliate(xmpp.MustJID("u1@meet.example"), muc.AffOwner, nil, "")
			r.SetPassword("secret")
		})
		send("V1", `<presence to="r@conference.v0.meet.jitsi/v1"><x xmlns="http://jabber.org/protocol/muc"><password>secret</password></x></presence>`)
		send("V1", `<presence to="r@conference.v0.meet.jitsi/v1"><jitsi_participant_raisedHand>17</jitsi_participant_raisedHand></presence>`)
		send("1", `<message type="groupchat" to="r@conference.meet.example"><json-message xmlns="http://jitsi.org/jitmeet">{"type":"visitors","action":"promotion-response","approved":true,"id":"r@conference.v0.meet.jitsi/v1"}</json-message></message>`)
		got := send("V1", `<presence to="r@conference.v0.meet.jitsi/v1"/>`)
		_, rest, ok := strings.Cut(strings.Join(got, ""), `username="`)
		name, _, _ := strings.Cut(rest, `"`)
		if !ok || len(name) != 36 || vw.promotions.Name(name, "R") != name {
			t.Fatal(got)
		}
		if vw.promotions.Name(name, "other") != "" || vw.promotions.Name(name[:35]+"x", "r") != "" || vw.promotions.Name("", "r") != "" {
			t.Fatal("names that nobody was given")
		}
		join := func(local string) string {
			p := &port{jid: xmpp.JID{Local: local, Domain: "meet.example", Resource: "x"}}
			if _, err := w.Router.Bind(p); err != nil {
				t.Fatal(err)
			}
			s, err := xmpp.ParseStanza(`<presence to="r@conference.meet.example/`+local[:8]+`">`+in+`</presence>`, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
			if err != nil {
				t.Fatal(err)
			}
			s.From = p.jid
			w.Router.RouteNow(s)
			synctest.Wait()
			return strings.Join(p.got, "")
		}
		if got := join("00000000-0000-4000-a000-000000000000"); !strings.Contains(got, "promotion-not-allowed") {
			t.Fatal(got)
		}
		// No password either: it was asked for in the other room.
		if got := join(name); !strings.Contains(got, `code="110"`) {
			t.Fatal(got)
		}
		do(func(r *muc.Room) {
			if v := string(services.MetadataOf(r).Value("visitors")); v != `{"promoted":{"`+name[:8]+`":true}}` {
				t.Error(v)
			}
			r.Kick(r.Occupant(name[:8]), nil, "")
			if v := string(services.MetadataOf(r).Value("visitors")); v != `{"promoted":{}}` {
				t.Error(v)
			}
		})
		if vw.promotions.Name(name, "r") != "" {
			t.Fatal("whoever was put out keeps the name")
		}
		do(func(r *muc.Room) { r.Destroy(xmpp.JID{}, "", nil) })
	})
}

// port is a session without a script.
type port struct {
	jid xmpp.JID
	got []string
}

func (p *port) JID() xmpp.JID { return p.jid }
func (p *port) Deliver(s *xmpp.Stanza) error {
	p.got = append(p.got, string(s.Append(nil, p.jid, true)))
	return nil
}

// Who needs a token for the main room needs it to look on, too.
func TestVisitorTokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules policy.TokenRules
		admit string // the visitors, of none, other and r, who get in
	}{
		"required":     {policy.TokenRules{}, "r"},
		"with guests":  {policy.TokenRules{AllowEmpty: true}, "none r"},
		"a guest host": {policy.TokenRules{GuestDomain: "guest.meet.example"}, "none r"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c.rules.Domain, c.rules.MUC, c.rules.VerifyTenant = "meet.example", "conference.meet.example", true
				vw := &visitorWorld{tokens: &c.rules, client: func(p xmpp.Port) muc.Client {
					out := muc.Client{Room: "r", Guest: true}
					switch p.JID().Local {
					case "u2":
						out.Claims = &xmpp.Claims{Room: "other", Domain: "meet.example"}
					case "u3", "u5":
						out.Claims = &xmpp.Claims{Room: "r", Domain: "meet.example"}
					case "u4":
						out.Claims = &xmpp.Claims{Room: "r", Domain: "meet.example", Moderator: true}
					}
					return out
				}}
				w := roomworld.New(t, visitors(vw, nil))
				send := func(c script.Conn, stanza string) string {
					if err := c.Send(stanza); err != nil {
						t.Fatal(err)
					}
					var all []string
					for x, _ := c.Receive(); x != ""; x, _ = c.Receive() {
						all = append(all, x)
					}
					return strings.Join(all, "")
				}
				const in = `<x xmlns="http://jabber.org/protocol/muc"/>`
				f, err := w.Dial("F")
				if err != nil {
					t.Fatal(err)
				}
				send(f, `<presence to="r@conference.meet.example/focus">`+in+`</presence>`)
				send(f, `<iq type="get" id="k" to="visitors.meet.example"><visitors xmlns="jitsi:visitors" room="r@conference.meet.example"><connect-vnode vnode="v0"/></visitors></iq>`)
				send(f, `<presence to="r@conference.v0.meet.jitsi/focus">`+in+`</presence>`)
				var admitted []string
				for i, name := range []string{"none", "other", "r"} {
					v, err := w.Dial("V" + string(rune('1'+i)))
					if err != nil {
						t.Fatal(err)
					}
					switch got := send(v, `<presence to="r@conference.v0.meet.jitsi/eeee111`+string(rune('1'+i))+`">`+in+`</presence>`); {
					case strings.Contains(got, `code="110"`):
						admitted = append(admitted, name)
					case !strings.Contains(got, "not-allowed"):
						t.Error(name, got)
					}
				}
				// Moderators by token take part, others have been sent to watch.
				for name, want := range map[string]string{"4": `code="110"`, "5": "promotion-not-allowed"} {
					p, err := w.Dial(name)
					if err != nil {
						t.Fatal(err)
					}
					if got := send(p, `<presence to="r@conference.meet.example/aaaa111`+name+`">`+in+`</presence>`); !strings.Contains(got, want) {
						t.Error(name, got)
					}
				}
				if got := strings.Join(admitted, " "); got != c.admit {
					t.Errorf("admitted: %s, want %s", got, c.admit)
				}
			})
		})
	}
}

// A visitor who writes every kind of nonsense to whatever it can reach is noticed by
// nobody, and neither is a participant who tries what only the focus may.
func TestHostileVisitor(t *testing.T) {
	t.Parallel()
	roomworld.Both(t, func(t *testing.T, webSocket bool) {
		opt := visitors(&visitorWorld{}, nil)
		opt.WebSocket = webSocket
		w := roomworld.New(t, opt)
		const in = `<x xmlns="http://jabber.org/protocol/muc"/>`
		dial := func(name, to string) script.Conn {
			c, err := w.Dial(name)
			if err == nil {
				err = c.Send(`<presence to="` + to + `">` + in + `</presence>`)
			}
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		empty := func(c script.Conn) (n int) {
			for x, _ := c.Receive(); x != ""; x, _ = c.Receive() {
				n++
			}
			return n
		}
		focus := dial("F", "r@conference.meet.example/focus")
		moderator, participant := dial("1", "r@conference.meet.example/aaaa1111"), dial("2", "r@conference.meet.example/bbbb2222")
		_ = focus.Send(`<iq type="set" id="g" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="u1@meet.example"/></query></iq>`)
		_ = focus.Send(`<iq type="get" id="k" to="visitors.meet.example"><visitors xmlns="jitsi:visitors" room="r@conference.meet.example"><connect-vnode vnode="v0"/></visitors></iq>`)
		empty(focus)
		_ = focus.Send(`<presence to="r@conference.v0.meet.jitsi/focus">` + in + `</presence>`)
		visitor, other := dial("V1", "r@conference.v0.meet.jitsi/eeee1111"), dial("V2", "r@conference.v0.meet.jitsi/eeee2222")
		quiet := map[string]script.Conn{"focus": focus, "moderator": moderator, "other visitor": other}
		for who, c := range quiet {
			if empty(c) == 0 {
				t.Fatal(who, "is not in")
			}
		}
		if empty(visitor) == 0 || empty(participant) == 0 {
			t.Fatal("not in")
		}
		payloads := malformed()
		for _, room := range []string{"", "@", "r@conference.meet.example", "r@conference.v0.meet.jitsi", "nowhere@conference.meet.example"} {
			for _, child := range []string{
				"", `<connect-vnode vnode="v0"/>`, `<connect-vnode/>`, `<disconnect-vnode vnode="v0"/>`, `<update password=""/>`, `<connect/>`, `<disconnect/>`,
				`<promotion-request jid="u1@v0.meet.jitsi/v1" time="9" forcePromote="true"/>`, `<promotion-response jid="r@conference.v0.meet.jitsi/eeee1111" username="x" allow="true"/>`,
				`<transcription-languages langs="de" count="99"/>`, strings.Repeat(`<connect-vnode vnode="v1"/>`, 50),
			} {
				payloads = append(payloads, `<visitors xmlns="jitsi:visitors" room="`+room+`">`+child+`</visitors>`)
			}
		}
		for _, j := range []string{
			`{"type":"visitors"}`, `{"type":"visitors","action":"promotion-response","approved":true,"id":"r@conference.v0.meet.jitsi/eeee1111"}`,
			`{"type":"visitors","action":"promotion-response","approved":true,"ids":7}`, `{"type":"visitors","action":"demote-request","id":"aaaa1111","actor":"eeee1111"}`,
			`{"type":"visitors","action":"demote-request","id":"aaaa1111","actor":"aaaa1111"}`, `{"type":"visitors","action":{}}`,
		} {
			payloads = append(payloads, `<json-message xmlns="http://jitsi.org/jitmeet">`+j+`</json-message>`,
				`<json-message xmlns="other">{}</json-message><json-message xmlns="http://jitsi.org/jitmeet">`+j+`</json-message>`)
		}
		sent := 0
		try := func(c script.Conn, targets ...string) {
			for _, to := range targets {
				for n, p := range payloads {
					if strings.Contains(p, "<body>") {
						continue // chat is theirs
					}
					for i, open := range []string{`message `, `message type="chat" `, `message type="groupchat" `, `iq type="set" id="x" `, `iq type="get" id="x" `} {
						if webSocket && i != n%5 {
							continue // it takes longer
						}
						name, _, _ := strings.Cut(open, " ")
						if err := c.Send("<" + open + `to="` + to + `">` + p + "</" + name + ">"); err != nil {
							t.Fatal(err)
						}
						sent++
					}
				}
				empty(c)
			}
		}
		try(visitor, "visitors.meet.example", "r@conference.v0.meet.jitsi", "r@conference.v0.meet.jitsi/aaaa1111", "r@conference.v0.meet.jitsi/eeee2222",
			"r@conference.meet.example", "r@conference.meet.example/aaaa1111", "metadata.meet.example", "polls.meet.example", "nobody@conference.v0.meet.jitsi", "conference.v0.meet.jitsi")
		try(participant, "visitors.meet.example", "r@conference.v0.meet.jitsi", "r@conference.v0.meet.jitsi/focus", "nobody@conference.v0.meet.jitsi")
		for who, c := range quiet {
			if x, _ := c.Receive(); x != "" {
				t.Errorf("the %s got %s", who, x)
			}
		}
		if w.Main.Stats().Panics != 0 || sent < 5000 && !webSocket {
			t.Error(w.Main.Stats(), sent)
		}
		// What is right still works.
		_ = visitor.Send(`<presence to="r@conference.v0.meet.jitsi/eeee1111"><jitsi_participant_raisedHand>1</jitsi_participant_raisedHand></presence>`)
		if x, _ := moderator.Receive(); !strings.Contains(x, "promotion-request") {
			t.Error(x)
		}
	})
}
