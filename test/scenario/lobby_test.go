package scenario

import (
	"errors"
	"strings"
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
)

const (
	nsMUC     = "http://jabber.org/protocol/muc"
	nsMUCUser = nsMUC + "#user"
)

// keptOut is what a join that has to wait is answered.
func (w *world) keptOut(c *meettest.Client) *xmpp.StanzaError {
	w.t.Helper()
	err := c.Join(w.ctx, w.room)
	se, ok := errors.AsType[*xmpp.StanzaError](err)
	if !ok || se.Cond != xmpp.CondRegistrationRequired || se.Type != "auth" {
		w.t.Fatalf("%s: %v", c.Nick(), err)
	}
	if want := `<lobbyroom xmlns="http://jitsi.org/jitmeet">` + w.lobby() + `</lobbyroom>`; !strings.Contains(se.App, want) {
		w.t.Fatalf("no lobby in %s", se.App)
	}
	return se
}

func (w *world) lobby() string { return w.room + "@lobby." + w.Domain }

// knock enters the lobby, as LJM's Lobby.join.
func (w *world) knock(c *meettest.Client) {
	w.t.Helper()
	w.must(c.Send(xmpp.Presence, "", "", w.lobby()+"/"+c.Nick(),
		`<x xmlns="`+nsMUC+`"/><nick xmlns="http://jabber.org/protocol/nick">Somebody</nick>`))
	w.presence(c, w.lobby()+"/"+c.Nick())
}

func (w *world) presence(c *meettest.Client, from string) *xmpp.Stanza {
	w.t.Helper()
	s, err := c.Expect(w.ctx, "presence of "+from, func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Presence && s.From.String() == from
	})
	w.must(err)
	return s
}

// invited waits for the invitation into the room.
func (w *world) invited(c *meettest.Client) {
	w.t.Helper()
	_, err := c.Expect(w.ctx, "an invitation", func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Message && s.From == c.RoomJID(w.room) && s.Child(nsMUCUser, "x").Child("", "invite") != nil
	})
	w.must(err)
}

// closed has a moderator switch the lobby on.
func (w *world) closed(c *meettest.Client) {
	w.t.Helper()
	_, err := c.IQ(w.ctx, xmpp.TypeSet, c.RoomJID(w.room).String(), `<query xmlns="http://jabber.org/protocol/muc#owner"><x xmlns="jabber:x:data" type="submit">`+
		`<field var="FORM_TYPE"><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var="muc#roomconfig_membersonly"><value>true</value></field></x></query>`)
	w.must(err)
}

// A moderator switches the lobby on in a meeting, and lets somebody in.
func TestLobby(t *testing.T) {
	w := newWorld(t, "")
	ada := w.join("Ada", nil)
	w.must(ada.Until(w.ctx, "to be moderator", ada.Moderator))
	bob := w.join("Bob", nil)
	w.talk(ada, bob)
	w.closed(ada)
	eve := w.Dial(w.ctx, "Eve", func(o *meettest.Options) { o.Room, o.Media = w.room, meettest.Camera() })
	if got := eve.Component("lobbyrooms"); got != "lobby."+w.Domain {
		t.Fatalf("lobbies at %q", got)
	}
	w.keptOut(eve)
	w.knock(ada)
	w.knock(eve)
	if jid := w.presence(ada, w.lobby()+"/"+eve.Nick()).Child(nsMUCUser, "x").Child("", "item").Get("jid"); jid != eve.JID().String() {
		t.Fatalf("Eve knocks as %q", jid)
	}
	w.must(ada.Send(xmpp.Message, "", "", ada.RoomJID(w.room).String(), `<x xmlns="`+nsMUCUser+`"><invite to="`+eve.JID().String()+`"/></x>`))
	w.invited(eve)
	w.must(eve.Join(w.ctx, w.room))
	w.must(eve.Send(xmpp.Presence, xmpp.TypeUnavailable, "", w.lobby()+"/"+eve.Nick(), ""))
	w.talk(ada, bob, eve)
}

// rooms.wait_for_host with "I am the host" on the page of somebody who waits: it is
// let in, and the others with it. The focus has given the room up meanwhile.
func TestWaitForHost(t *testing.T) {
	w := newWorld(t, "[rooms]\nwait_for_host = true\n[focus]\nstart_timeout = \"1s\"\n")
	dial := func(name string) *meettest.Client {
		return w.Dial(w.ctx, name, func(o *meettest.Options) { o.Room, o.Silent = w.room, true })
	}
	gus, eve := dial("Gus"), dial("Eve")
	for _, c := range []*meettest.Client{gus, eve} {
		if se := w.keptOut(c); !strings.Contains(se.App, `<waiting-for-host xmlns="http://jitsi.org/jitmeet"/>`) {
			t.Fatalf("not waiting for the host: %s", se.App)
		}
		w.knock(c)
	}
	r, se := w.conference(w.account(w.HostLogin, w.HostPassword), "browser", "")
	if se != nil || r.SessionID == "" {
		t.Fatalf("%+v %v", r, se)
	}
	if back, se := w.conference(gus, "browser", r.SessionID); se != nil || !back.Ready {
		t.Fatalf("%+v %v", back, se)
	}
	w.invited(gus)
	w.must(gus.Join(w.ctx, w.room))
	w.must(gus.Until(w.ctx, "to be moderator", gus.Moderator))
	_, err := eve.Expect(w.ctx, "the lobby to close", func(s *xmpp.Stanza) bool {
		d := s.Child(nsMUCUser, "x").Child("", "destroy")
		return s.Kind == xmpp.Presence && d != nil && d.Get("jid") == eve.RoomJID(w.room).String() && d.ChildText("", "reason") == "Host arrived."
	})
	w.must(err)
	w.must(eve.Join(w.ctx, w.room))
	if eve.Moderator() {
		t.Error("a guest is moderator")
	}
}
