package scenario

import (
	"errors"
	"strings"
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
)

// Rooms of one name in two tenants are two meetings; what a tenant has of its own
// holds in its rooms only.
func TestTenants(t *testing.T) {
	w := newWorld(t, "[[tenants]]\nname = 'acme'\nmax_occupants = 2\n")
	at := func(tenant string) func(*meettest.Options) {
		return func(o *meettest.Options) {
			o.URL = strings.Replace(o.URL, "/xmpp-websocket", "/"+tenant+"/xmpp-websocket", 1)
			o.MUC = "conference." + tenant + "." + w.Domain
		}
	}
	a, b := w.join("Ann", at("acme")), w.join("Bea", at("acme"))
	other := w.join("Cem", at("other"))
	w.talk(a, b)
	if n := other.Others(); n != 0 {
		t.Fatalf("%d people of another tenant", n)
	}
	w.must(a.Until(w.ctx, "to be moderator", a.Moderator))
	w.must(a.Kick(w.ctx, b.Nick())) // commands and moderation find the tenant's room
	w.must(b.Until(w.ctx, "to be kicked", func() bool { return b.Kicked() != "" }))
	w.join("Dan", at("acme"))
	eve := w.Dial(w.ctx, "Eve", func(o *meettest.Options) { o.Room = w.room; at("acme")(o) })
	err := eve.Join(w.ctx, w.room)
	var se *xmpp.StanzaError
	if !errors.As(err, &se) || se.Cond != xmpp.CondServiceUnavailable {
		t.Fatalf("a third in a room for two: %v", err)
	}
}
