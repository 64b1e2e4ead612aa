package scenario

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"confab/internal/meettest"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// redirected asks for the room as a client that may be sent elsewhere.
func (w *world) redirected(name string, prefer bool) *meettest.Redirect {
	w.t.Helper()
	c := w.Dial(w.ctx, name, func(o *meettest.Options) { o.Room, o.PreferVisitor = w.room, prefer })
	var to *meettest.Redirect
	if err := c.Join(w.ctx, w.room); !errors.As(err, &to) {
		w.t.Fatalf("%s is not redirected: %v", name, err)
	}
	w.must(c.Close())
	return to
}

// visit joins as somebody who was redirected.
func (w *world) visit(name string, to *meettest.Redirect, changes ...func(*meettest.Options)) *meettest.Client {
	w.t.Helper()
	c := w.Dial(w.ctx, name, func(o *meettest.Options) {
		o.Room = w.room
		to.Visit(o)
		for _, change := range changes {
			change(o)
		}
	})
	w.must(c.Join(w.ctx, w.room))
	return c
}

// watches waits until a visitor sees and hears the others.
func (w *world) watches(v *meettest.Client, others ...*meettest.Client) {
	w.t.Helper()
	w.must(v.Media(w.ctx))
	for _, o := range others {
		w.sees(v, o, 10)
		w.hears(v, o)
	}
}

// property waits for a conference property as the focus tells it to c.
func (w *world) property(c *meettest.Client, name, value string) {
	w.t.Helper()
	err := c.Until(w.ctx, name+" to be "+value, func() bool {
		o, ok := c.Occupant("focus")
		if !ok {
			return false
		}
		for _, p := range o.Presence.Child(jitmeet.NSFocus, "conference-properties").Children("", "property") {
			if p.Get("key") == name {
				return p.Get("value") == value
			}
		}
		return false
	})
	w.must(err)
}

// From a seat among the visitors to the main room and back.
func TestVisitor(t *testing.T) {
	w := newWorld(t, "[visitors]\nafter = 2\n")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)

	// The third only looks on: it sees everybody, nobody sees it.
	to := w.redirected("Eve", false)
	v := w.visit("Eve", to)
	if o, _ := v.Occupant(v.Nick()); o.Role != "visitor" || v.Others() != 2 {
		t.Fatalf("%+v among %d", o, v.Others())
	}
	w.property(a, "visitor-count", "1")
	w.watches(v, a, b)
	w.smooth(v, a, b)
	second := w.visit("Eva", to)
	w.watches(second, a, b)
	if a.Others() != 1 || v.Others() != 2 {
		t.Errorf("%d others for a participant, %d for a visitor", a.Others(), v.Others())
	}

	// Chat goes both ways.
	w.must(a.Chat("welcome"))
	m, err := v.ExpectChat(w.ctx, "welcome")
	w.must(err)
	if m.From.Resource != a.Nick() || m.From.Domain != "conference.v0.meet.jitsi" {
		t.Error(m)
	}
	w.must(v.Chat("thanks"))
	for _, c := range []*meettest.Client{a, b, v, second} {
		m, err := c.ExpectChat(w.ctx, "thanks")
		w.must(err)
		if el := m.Child("http://jitsi.org/protocol/display-name", "display-name"); el == nil || el.Text != "Eve" || el.Get("source") != "visitor" {
			t.Error(m)
		}
	}

	// A raised hand comes before the moderator, who lets the visitor in.
	v.RaiseHand(true)
	req, err := a.ExpectVisitors(w.ctx, "promotion-request")
	w.must(err)
	if req.Nick != "Eve" || !req.On {
		t.Errorf("%+v", req)
	}
	w.must(a.Admit(req.From, true))
	p, err := v.ExpectPromotion(w.ctx)
	w.must(err)
	w.must(v.Leave(w.ctx))
	w.must(v.Close())

	// Who only guesses such a name gets another, and does not get in.
	guess := *p
	guess.Username = strings.Repeat("0", 36)
	g := w.Dial(w.ctx, "Guesser", func(o *meettest.Options) { o.Room = w.room; guess.Return(o) })
	var se *xmpp.StanzaError
	if err := g.Join(w.ctx, w.room); !errors.As(err, &se) || !strings.Contains(se.App, "promotion-not-allowed") || strings.HasPrefix(g.JID().Local, "0000") {
		t.Fatal(err, g.JID())
	}
	c := w.join("Eve", p.Return)
	if c.Nick() != p.Username[:8] {
		t.Error(c.Nick(), p.Username)
	}
	w.talk(a, b, c)

	// Back again, at a moderator's wish.
	w.must(a.Demote(c.Nick()))
	d, err := c.ExpectVisitors(w.ctx, "demote-request")
	w.must(err)
	if d.ID != c.Nick() || d.Actor != a.Nick() {
		t.Errorf("%+v", d)
	}
	w.must(c.Leave(w.ctx))
	w.must(c.Close())
	back := w.Dial(w.ctx, "Eve", func(o *meettest.Options) { o.Room = w.room; p.Return(o) })
	if err := back.Join(w.ctx, w.room); !errors.As(err, &se) || !strings.Contains(se.App, "promotion-not-allowed") {
		t.Fatal("the old name is good again:", err)
	}
	v = w.visit("Eve", w.redirected("Eve", true))
	w.watches(v, a, b)
	w.sees(second, a, 10)

	// The visitors' meeting ends with the participants'.
	w.must(a.Leave(w.ctx))
	w.must(b.Leave(w.ctx))
	w.must(v.Until(w.ctx, "the end", v.Gone))
	w.must(second.Until(w.ctx, "the end", second.Gone))
}

// Visitors wait until a moderator goes live, and hear of it where the app listens.
func TestVisitorQueue(t *testing.T) {
	w := newWorld(t, "[visitors]\nafter = 50\nqueue = true\n")
	a := w.join("Ann", nil)
	early := w.Dial(w.ctx, "Eve", func(o *meettest.Options) { o.Room, o.PreferVisitor = w.room, true })
	if err := early.Join(w.ctx, w.room); !errors.Is(err, meettest.ErrNotLive) {
		t.Fatal(err)
	}
	room := a.RoomJID(w.room).String()
	visitor, state := w.stomp("/secured/conference/visitor/topic."+room), w.stomp("/secured/conference/state/topic."+room)
	for m := state(); m["visitorsWaiting"] != 1.0; m = state() {
	}
	w.must(a.SendXML(`<message to="` + a.Component("room_metadata") + `" xmlns="jabber:client"><room_metadata xmlns="http://jitsi.org/jitmeet" room="` + room +
		`">{"key":"visitors","data":{"live":true}}</room_metadata></message>`))
	if m := visitor(); m["status"] != "live" || m["randomDelayMs"].(float64) < 1000 {
		t.Fatal(m)
	}
	v := w.visit("Eve", w.redirected("Eve", true))
	w.watches(v, a)
}

// stomp subscribes to a topic of the queue; what it returns waits for a message.
func (w *world) stomp(topic string) func() map[string]any {
	w.t.Helper()
	conn, _, err := websocket.Dial(w.ctx, "wss"+strings.TrimPrefix(w.URL, "https")+"/visitor/websocket", &websocket.DialOptions{
		Subprotocols: []string{"v12.stomp"},
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, //nolint:gosec // test server
	})
	w.must(err)
	w.t.Cleanup(func() { _ = conn.CloseNow() })
	for _, f := range []string{"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\x00", "SUBSCRIBE\nid:sub-0\ndestination:" + topic + "\n\n\x00"} {
		w.must(conn.Write(w.ctx, websocket.MessageBinary, []byte(f)))
	}
	next := func() string {
		w.t.Helper()
		_, b, err := conn.Read(w.ctx)
		w.must(err)
		return string(b)
	}
	if f := next(); !strings.HasPrefix(f, "CONNECTED\n") {
		w.t.Fatal(f)
	}
	return func() map[string]any {
		w.t.Helper()
		f := next()
		_, body, _ := strings.Cut(f, "\n\n")
		out := map[string]any{}
		if err := json.Unmarshal([]byte(strings.TrimRight(body, "\x00")), &out); err != nil {
			w.t.Fatal(f)
		}
		return out
	}
}
