package xmpp

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func newHostTest(t *testing.T) (*Router, *Host, *LocalPort, chan *Stanza) {
	t.Helper()
	r := NewRouter(slog.New(slog.DiscardHandler))
	h := NewHost(r, "meet.test")
	got := make(chan *Stanza, 8)
	p, err := r.NewLocalPort(MustJID("ann@meet.test/a"), func(s *Stanza) error { got <- s; return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return r, h, p, got
}

func ask(t *testing.T, p *LocalPort, typ, to, inner string) string {
	t.Helper()
	s, err := p.Request(t.Context(), NewStanza(IQ, typ, "", p.JID(), MustJID(to), inner), time.Second)
	if err != nil {
		return err.Error()
	}
	return s.Inner
}

func TestHostAnswers(t *testing.T) {
	t.Parallel()
	_, h, p, _ := newHostTest(t)
	h.SetDisco(DiscoInfo{
		Identities: []Identity{{"component", "room_metadata", "metadata.meet.test"}},
		Features:   []string{"http://jitsi.org/x"},
	})
	h.SetItems([]DiscoItem{{JID: MustJID("conference.meet.test"), Name: "Rooms"}})
	h.HandleIQ("urn:xmpp:extdisco:2", func(context.Context, *Stanza) (string, error) {
		return `<services xmlns="urn:xmpp:extdisco:2"/>`, nil
	})
	for _, c := range []struct{ typ, to, inner, want string }{
		{"get", "meet.test", `<ping xmlns="urn:xmpp:ping"/>`, ``},
		{"get", "meet.test", `<services xmlns="urn:xmpp:extdisco:2"/>`, `<services xmlns="urn:xmpp:extdisco:2"/>`},
		{"get", "meet.test", `<query xmlns="http://jabber.org/protocol/disco#info"/>`,
			`<query xmlns="http://jabber.org/protocol/disco#info"><identity category="component" type="room_metadata" name="metadata.meet.test"/>` +
				`<feature var="http://jitsi.org/x"/><feature var="http://jabber.org/protocol/disco#info"/><feature var="http://jabber.org/protocol/disco#items"/>` +
				`<feature var="urn:xmpp:extdisco:2"/><feature var="urn:xmpp:ping"/></query>`},
		{"get", "meet.test", `<query xmlns="http://jabber.org/protocol/disco#info" node="x"/>`, "cancel/item-not-found"},
		{"get", "meet.test", `<query xmlns="http://jabber.org/protocol/disco#items"/>`,
			`<query xmlns="http://jabber.org/protocol/disco#items"><item jid="conference.meet.test" name="Rooms"/></query>`},
		{"get", "meet.test", `<vCard xmlns="vcard-temp"/>`, "cancel/service-unavailable"},
		{"get", "ann@meet.test", `<query xmlns="jabber:iq:roster"/>`, `<query xmlns="jabber:iq:roster"/>`},
		{"get", "bob@meet.test", `<query xmlns="jabber:iq:roster"/>`, "cancel/service-unavailable"},
		{"get", "bob@meet.test/gone", `<ping xmlns="urn:xmpp:ping"/>`, "cancel/service-unavailable"},
		{"get", "nowhere.test", `<ping xmlns="urn:xmpp:ping"/>`, "cancel/remote-server-not-found"},
	} {
		if got := ask(t, p, c.typ, c.to, c.inner); got != c.want {
			t.Errorf("%s %s to %s:\n got %s\nwant %s", c.typ, c.inner, c.to, got, c.want)
		}
	}
}

// resourcePort makes a LocalPort a Resource.
type resourcePort struct {
	*LocalPort
	prio int
	ok   bool
}

func (r resourcePort) Priority() (int, bool) { return r.prio, r.ok }

func TestHostMessagesToBareAddress(t *testing.T) {
	t.Parallel()
	_, h, p, _ := newHostTest(t)
	got := map[string]int{}
	for _, c := range []resourcePort{{prio: 0, ok: true}, {prio: -1, ok: true}, {ok: false}} {
		name := "bob@meet.test/" + string(rune('a'+len(h.Resources("bob"))))
		r := NewRouter(slog.New(slog.DiscardHandler)) // only to make a port
		lp, err := r.NewLocalPort(MustJID(name), func(*Stanza) error { got[name]++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		c.LocalPort = lp
		if err := h.bind(c); err != nil {
			t.Fatal(err)
		}
		defer h.unbind(c)
	}
	p.Send(NewStanza(Message, "chat", "m1", JID{}, MustJID("bob@meet.test"), "<body>hi</body>"))
	p.Send(NewStanza(Message, "chat", "m2", JID{}, MustJID("bob@meet.test/gone"), "<body>hi</body>"))
	if got["bob@meet.test/a"] != 2 || len(got) != 1 {
		t.Errorf("messages went to %v, want 2 to the first session only", got)
	}
}

func TestHostMessageToNobody(t *testing.T) {
	t.Parallel()
	_, _, p, got := newHostTest(t)
	p.Send(NewStanza(Message, "groupchat", "m", JID{}, MustJID("ann@meet.test"), "<body>hi</body>"))
	select {
	case s := <-got:
		t.Errorf("got %s", s)
	default: // the router drops bounces of messages to those who left
	}
	p.Send(NewStanza(IQ, "get", "i", JID{}, MustJID("meet.test"), `<x xmlns="y"/>`))
	if strings.Contains(DiscoInfo{}.Inner(`a"b`), `a"b`) {
		t.Error("node not escaped")
	}
}
