package extdisco

import (
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

// turn.access: those named, by address or domain, are told, the others are told nothing,
// in none of the four ways.
func TestAccess(t *testing.T) {
	t.Parallel()
	s := newTestService(nil)
	s.list.Set(Settings{Servers: testServers, TTL: time.Hour, Access: []xmpp.JID{xmpp.MustJID("anna@meet.example"), xmpp.MustJID("guest.meet.example")}})
	for from, told := range map[string]bool{
		"anna@meet.example/r": true, "bob@meet.example/r": false, "x@guest.meet.example/r": true, "anna@guest.meet.example/r": true,
	} {
		for _, payload := range []string{
			`<services xmlns="urn:xmpp:extdisco:2"/>`, `<services xmlns="urn:xmpp:extdisco:2" type="turn"/>`,
			`<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" host="meet.example"/></credentials>`,
		} {
			if _, se := query(t, s, from, payload); (se == nil) != told || !told && se.Cond != xmpp.CondForbidden {
				t.Errorf("%s %s: %v", from, payload, se)
			}
		}
		jid := xmpp.MustJID(from)
		if (s.list.Services(jid) != "") != told || (s.list.Metadata(jid) != nil) != told {
			t.Errorf("%s: push message or metadata", from)
		}
	}
}

// Each entry has the credentials that it says: of the shared secret, of its own, fixed
// ones; all with their times.
func TestCredentialsOfEntries(t *testing.T) {
	t.Parallel()
	l := NewList(Settings{TTL: 24 * time.Hour, Servers: []Server{
		{Type: "turn", Host: "a", Port: 3478, Transport: "udp"},
		{Type: "turn", Host: "b", Port: 3478, Transport: "udp", Secret: "south", TTL: time.Hour},
		{Type: "turn", Host: "c", Port: 3478, Transport: "udp", Secret: "south", Username: "site", TTL: time.Hour},
		{Type: "turn", Host: "d", Port: 3478, Transport: "udp", Username: "u", Password: "p"},
	}}, testKeys("north"), []byte("key"), nil)
	now := time.Unix(1795293600, 0)
	l.now = func() time.Time { return now }
	e := l.Entries(xmpp.MustJID("u@meet.example/r"))
	if len(e) != 4 || !strings.HasPrefix(e[0].Username, "1795380000:") || !strings.HasPrefix(e[1].Username, "1795297200:") ||
		e[2].Username != "1795297200:site" || e[3].Username != "u" || e[3].Password != "p" || !e[3].Expires.IsZero() {
		t.Fatalf("%+v", e)
	}
	if want, _ := (credential.Secrets{"south"}).Mint(now, time.Hour, "site"); e[2].Password != want.Password || !e[2].Expires.Equal(want.Expires) {
		t.Errorf("%+v, not %+v", e[2], want)
	}
	if who, _ := testKeys("north").Lookup(e[0].Username, "r", now); credential.Key(e[0].Username, "r", e[0].Password) != [16]byte(who.Keys[0]) {
		t.Error("the relay does not know what is handed out")
	}
	if e[0].Username == e[1].Username || strings.Contains(e[0].Username, "u@") {
		t.Error(e[0].Username, e[1].Username)
	}
}
