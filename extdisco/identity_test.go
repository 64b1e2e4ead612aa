package extdisco

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

// The id of a session is told from that of everybody else, and says nothing of it.
func TestIdentity(t *testing.T) {
	t.Parallel()
	newList := func(key string) *List {
		return NewList(Settings{TTL: time.Hour, Servers: []Server{{Type: "turn", Host: "a", Port: 3478, Transport: "udp"}}}, testKeys("north"), []byte(key), nil)
	}
	l, other := newList("key"), newList("another")
	anna := xmpp.MustJID("anna@meet.example/r")
	id := l.ID(anna)
	if !l.Made(id) || len(id) != 12 || strings.Contains(id, "anna") || id != l.ID(anna) {
		t.Errorf("id %q", id)
	}
	if _, named, _ := credential.Parse(l.Entries(anna)[0].Username); named != id {
		t.Errorf("username with %q, not %q", named, id)
	}
	flipped := "a"
	if id[0] == 'a' {
		flipped = "b"
	}
	for what, id := range map[string]string{
		"another server's": other.ID(anna), "the HTTP interface's": l.ID(xmpp.JID{Domain: "auth.meet.example", Resource: "api x"}),
		"a long-term user": ":anna", "none": "", "a longer one": id + "a", "a changed one": flipped + id[1:], "coturn's": "k3v9",
	} {
		if l.Made(id) {
			t.Errorf("%s, %q, is taken for a session's", what, id)
		}
	}
	seen := map[string]bool{}
	for i := range 1000 {
		seen[l.ID(xmpp.MustJID("anna@meet.example/"+strconv.Itoa(i)))] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d ids of 1000 sessions", len(seen))
	}
}
