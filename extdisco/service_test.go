package extdisco

import (
	"errors"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

func newTestService() *Service {
	l := NewList([]Server{
		{Type: "stun", Host: "meet.example", Port: 3478, Transport: "udp"},
		{Type: "turn", Host: "meet.example", Port: 3478, Transport: "udp"},
		{Type: "turns", Host: "meet.example", Port: 443, Transport: "tcp"},
	}, credential.Secrets{"north"}, 24*time.Hour, []byte("key"))
	l.now = func() time.Time { return time.Unix(1795293600, 0) }
	return NewService(l, []string{"meet.example", "guest.meet.example"})
}

func query(t *testing.T, s *Service, from, payload string) (string, *xmpp.StanzaError) {
	t.Helper()
	q := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "q1", xmpp.MustJID(from), xmpp.MustJID("meet.example"), payload)
	inner, err := s.HandleIQ(t.Context(), q)
	var se *xmpp.StanzaError
	if err != nil && !errors.As(err, &se) {
		t.Fatal(err)
	}
	return inner, se
}

func TestServices(t *testing.T) {
	s := newTestService()
	for _, ns := range []string{NS1, NS2} {
		inner, se := query(t, s, "u@guest.meet.example/r", `<services xmlns="`+ns+`"/>`)
		if se != nil {
			t.Fatal(se)
		}
		el, err := xmpp.ParseElement(inner, xmpp.Limits{}, xmpp.Scope{})
		if err != nil || el.NS != ns || len(el.Kids) != 3 {
			t.Fatalf("%v %s", err, inner)
		}
		stun, turn, turns := el.Kids[0], el.Kids[1], el.Kids[2]
		if stun.Get("restricted") != "" || stun.Get("username") != "" {
			t.Errorf("stun has credentials: %s", stun)
		}
		if turn.Get("username") != turns.Get("username") || !strings.HasPrefix(turn.Get("username"), "1795380000:") ||
			turn.Get("restricted") != "1" || turn.Get("expires") != "2026-11-22T20:40:00Z" || turns.Get("transport") != "tcp" {
			t.Errorf("%s", inner)
		}
		if strings.Contains(turn.Get("username"), "u@") {
			t.Error("the username names the session")
		}
	}
	inner, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2" type="stun"/>`)
	if se != nil || strings.Count(inner, "<service ") != 1 {
		t.Errorf("by type: %v %s", se, inner)
	}
}

func TestCredentials(t *testing.T) {
	s := newTestService()
	inner, se := query(t, s, "u@meet.example/r", `<credentials xmlns="urn:xmpp:extdisco:2"><service type="turns" host="meet.example"/></credentials>`)
	if se != nil || strings.Count(inner, "<service ") != 1 || !strings.Contains(inner, `port="443"`) {
		t.Errorf("%v %s", se, inner)
	}
	for _, payload := range []string{
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" host="other.example" port="3478"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="stun" host="meet.example"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"/>`,
	} {
		if _, se := query(t, s, "u@meet.example/r", payload); se == nil || se.Cond != xmpp.CondItemNotFound {
			t.Errorf("%s: %v", payload, se)
		}
	}
}

func TestWhoMayAsk(t *testing.T) {
	s := newTestService()
	if _, se := query(t, s, "evil@other.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se == nil || se.Cond != xmpp.CondForbidden {
		t.Errorf("a stranger: %v", se)
	}
	for i := range 12 {
		_, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`)
		if (se == nil) != (i < answersPerMinute) {
			t.Fatalf("answer %d: %v", i, se)
		}
	}
	if _, se := query(t, s, "v@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se != nil {
		t.Errorf("another session pays for it: %v", se)
	}
}

func TestNothingToTell(t *testing.T) {
	s := NewService(NewList(nil, nil, time.Hour, nil), []string{"meet.example"})
	if _, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se == nil || se.Cond != xmpp.CondServiceUnavailable {
		t.Errorf("an empty list must be an error: %v", se)
	}
	if s.list.Metadata(xmpp.MustJID("u@meet.example/r")) != nil || s.list.Services(xmpp.MustJID("u@meet.example/r")) != "" {
		t.Error("an empty list is left out of metadata and push message")
	}
}
