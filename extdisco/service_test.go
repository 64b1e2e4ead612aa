package extdisco

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

var testServers = []Server{
	{Type: "stun", Host: "meet.example", Port: 3478, Transport: "udp"},
	{Type: "turn", Host: "meet.example", Port: 3478, Transport: "udp"},
	{Type: "turns", Host: "meet.example", Port: 443, Transport: "tcp"},
}

// testKeys has one secret.
func testKeys(secret string) *credential.Keyring {
	k := &credential.Keyring{}
	k.Set([]credential.Secret{{Value: secret}}, nil)
	return k
}

func newTestService(router *xmpp.Router) *Service {
	l := NewList(Settings{Servers: testServers, TTL: 24 * time.Hour}, testKeys("north"), []byte("key"), nil)
	l.now = func() time.Time { return time.Unix(1795293600, 0) }
	return NewService(l, []string{"meet.example", "guest.meet.example"}, router)
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
	s := newTestService(nil)
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
	if se != nil || strings.Count(inner, "<service ") != 1 || !strings.HasPrefix(inner, `<services xmlns="urn:xmpp:extdisco:2" type="stun">`) {
		t.Errorf("by type: %v %s", se, inner)
	}
	if _, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2" type="ftp"/>`); se == nil || se.Cond != xmpp.CondItemNotFound {
		t.Errorf("a type that there is none of: %v", se)
	}
}

func TestCredentials(t *testing.T) {
	s := newTestService(nil)
	inner, se := query(t, s, "u@meet.example/r", `<credentials xmlns="urn:xmpp:extdisco:2"><service type="turns" host="meet.example"/></credentials>`)
	if se != nil || strings.Count(inner, "<service ") != 1 || !strings.Contains(inner, `port="443"`) {
		t.Errorf("%v %s", se, inner)
	}
	inner, se = query(t, s, "u@meet.example/r", `<credentials xmlns="urn:xmpp:extdisco:1"><service type="turn" host="meet.example" port="3478"/><service type="turns" host="meet.example"/></credentials>`)
	if se != nil || strings.Count(inner, "<service ") != 2 || !strings.HasPrefix(inner, `<credentials xmlns="urn:xmpp:extdisco:1">`) {
		t.Errorf("%v %s", se, inner)
	}
	for _, payload := range []string{
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" host="other.example" port="3478"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" host="meet.example" port="443"/></credentials>`, // of another service
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" port="3478"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"><service host="meet.example"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"><service type="stun" host="meet.example"/></credentials>`,
		`<credentials xmlns="urn:xmpp:extdisco:2"/>`,
	} {
		if _, se := query(t, s, "u@meet.example/r", payload); se == nil || se.Cond != xmpp.CondItemNotFound {
			t.Errorf("%s: %v", payload, se)
		}
	}
}

func TestWhoMayAsk(t *testing.T) {
	s := newTestService(nil)
	if _, se := query(t, s, "evil@other.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se == nil || se.Cond != xmpp.CondForbidden {
		t.Errorf("a stranger: %v", se)
	}
	if _, se := query(t, s, "meet.example", `<services xmlns="urn:xmpp:extdisco:2"/>`); se == nil || se.Cond != xmpp.CondForbidden || se.Type != "auth" {
		t.Errorf("no session: %v", se)
	}
	for i := range 12 {
		_, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`)
		if se != nil && (se.Type != "wait" || se.Cond != xmpp.CondResourceConstraint) {
			t.Errorf("limit: %v", se)
		}
		if (se == nil) != (i < answersPerMinute) {
			t.Fatalf("answer %d: %v", i, se)
		}
	}
	if _, se := query(t, s, "v@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se != nil {
		t.Errorf("another session pays for it: %v", se)
	}
}

func TestNothingToTell(t *testing.T) {
	s := NewService(NewList(Settings{TTL: time.Hour}, &credential.Keyring{}, nil, nil), []string{"meet.example"}, nil)
	if _, se := query(t, s, "u@meet.example/r", `<services xmlns="urn:xmpp:extdisco:2"/>`); se == nil || se.Cond != xmpp.CondServiceUnavailable {
		t.Errorf("an empty list must be an error: %v", se)
	}
	if s.list.Metadata(xmpp.MustJID("u@meet.example/r")) != nil || s.list.Services(xmpp.MustJID("u@meet.example/r")) != "" {
		t.Error("an empty list is left out of metadata and push message")
	}
}

// fakeIssuer answers when it is told to.
type fakeIssuer struct {
	full   bool
	asked  []xmpp.JID
	answer func(Issued, error)
}

func (f *fakeIssuer) Issue(user xmpp.JID, answer func(Issued, error)) error {
	if f.full {
		return xmpp.ResourceConstraint("")
	}
	f.asked, f.answer = append(f.asked, user), answer
	return nil
}

// inbox is a session that keeps what it gets.
type inbox struct{ got []*xmpp.Stanza }

func (*inbox) JID() xmpp.JID                  { return xmpp.MustJID("u@meet.example/r") }
func (i *inbox) Deliver(s *xmpp.Stanza) error { i.got = append(i.got, s); return nil }

// TestIssuer: a token is answered once, when it is there, and nobody is told of it
// who doesn't ask for it by name.
func TestIssuer(t *testing.T) {
	router := xmpp.NewRouter(slog.New(slog.DiscardHandler))
	s, f := newTestService(router), &fakeIssuer{}
	s.Issue("short-lived-token", "file-sharing", f)
	host := xmpp.NewHost(router, "meet.example")
	host.HandleIQ(NS2, s.HandleIQ)
	port := &inbox{}
	release, err := router.Bind(port)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var got []*xmpp.Stanza
	ask := func(payload string) {
		port.got = nil
		router.RouteNow(xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "q1", port.JID(), xmpp.MustJID("meet.example"), payload))
		got = port.got
	}
	const token = `<credentials xmlns="urn:xmpp:extdisco:2"><service type="short-lived-token" host="file-sharing"/></credentials>`
	ask(token)
	if len(got) != 0 || len(f.asked) != 1 || f.asked[0] != port.JID() {
		t.Fatal("answered too early:", got, f.asked)
	}
	f.answer(Issued{Username: "token", Password: "a.b.c", Transport: "https", Port: 443, Expires: time.Unix(1795293630, 0)}, nil)
	want := `<credentials xmlns="urn:xmpp:extdisco:2"><service type="short-lived-token" host="file-sharing" port="443" transport="https" username="token" password="a.b.c" restricted="1" expires="2026-11-21T20:40:30Z"/></credentials>`
	got = port.got
	if len(got) != 1 || got[0].Type != xmpp.TypeResult || got[0].ID != "q1" || got[0].Inner != want {
		t.Fatal(got)
	}
	ask(token)
	f.answer(Issued{}, xmpp.NotAllowed(""))
	got = port.got
	if len(got) != 1 || got[0].ErrorOf().Cond != xmpp.CondNotAllowed {
		t.Fatal(got)
	}
	f.full = true
	ask(token)
	if len(got) != 1 || got[0].ErrorOf().Cond != xmpp.CondResourceConstraint {
		t.Fatal(got)
	}
	ask(`<credentials xmlns="urn:xmpp:extdisco:2"><service type="short-lived-token" host="other"/></credentials>`)
	if len(got) != 1 || got[0].ErrorOf().Cond != xmpp.CondItemNotFound {
		t.Fatal(got)
	}
	ask(`<services xmlns="urn:xmpp:extdisco:2"/>`)
	if len(got) != 1 || strings.Contains(got[0].Inner, "token") || len(f.asked) != 2 {
		t.Fatal(got, f.asked)
	}
}
