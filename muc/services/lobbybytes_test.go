package services_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

// The errors of a knock, to the byte: apps of all ages read them.
func TestKnockErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, all := lobbyWorld{}.open(t)
		first := func(name, payload string) string {
			c, err := w.Dial(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Send(`<presence to="r@conference.meet.example/n` + name + `" id="j"><x xmlns="http://jabber.org/protocol/muc"/>` + payload + `</presence>`); err != nil {
				t.Fatal(err)
			}
			got, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		first("F", "")
		room := xmpp.MustJID("r@conference.meet.example")
		user := xmpp.MustJID("u1@meet.example/r1")
		disco := xmpp.DiscoInfo{Identities: []xmpp.Identity{{Category: "component", Type: services.LobbyName, Name: "lobby.meet.example"}}}
		const feature = "lobbyrooms#displayname_required"
		focus, _ := w.Dial("1")
		if strings.Contains(all.Tailor(user, disco).Inner(""), feature) {
			t.Error("a name is required without a lobby")
		}
		_ = focus.Close()
		open := func(fn func(l *services.Lobby, r *muc.Room)) {
			if err := w.Main.Do(context.Background(), room, func(r *muc.Room) { fn(services.LobbyOf(r), r) }); err != nil {
				t.Fatal(err)
			}
		}
		open(func(l *services.Lobby, r *muc.Room) {
			if err := l.Open(r); err != nil || !l.On() || !r.MembersOnly() {
				t.Error(err)
			}
		})
		const head = `<presence xmlns="jabber:client" type="error" id="j" from="r@conference.meet.example/n`
		if got, want := first("1", ""), head+`1" to="u1@meet.example/r1"><error type="modify" code="406"><not-acceptable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>`+
			`<displayname-required xmlns="http://jitsi.org/jitmeet" lobby="true"/></error><x xmlns="http://jabber.org/protocol/muc"/></presence>`; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if got, want := first("2", `<nick xmlns="http://jabber.org/protocol/nick">Eve</nick>`), head+`2" to="u2@meet.example/r2"><error type="auth" code="407"><registration-required xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>`+
			`<lobbyroom xmlns="http://jitsi.org/jitmeet">r@lobby.meet.example</lobbyroom></error><lobbyroom>r@lobby.meet.example</lobbyroom><x xmlns="http://jabber.org/protocol/muc"/></presence>`; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if got := all.Tailor(user, disco).Inner(""); !strings.Contains(got, feature) || len(disco.Features) != 0 {
			t.Errorf("%s %v", got, disco.Features)
		}
		// Opened by nobody's client, it is closed by its room's end.
		open(func(_ *services.Lobby, r *muc.Room) { r.Destroy(xmpp.JID{}, "", nil) })
		if got := all.Tailor(user, disco).Inner(""); strings.Contains(got, feature) {
			t.Error("remembered: " + got)
		}
	})
}
