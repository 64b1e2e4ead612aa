package extdisco

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

// pushWorld is a host with the service and a session on it.
type pushWorld struct {
	router  *xmpp.Router
	service *Service
	port    *inbox
	release func()
}

func newPushWorld(t *testing.T) *pushWorld {
	t.Helper()
	w := &pushWorld{router: xmpp.NewRouter(slog.New(slog.DiscardHandler)), port: &inbox{}}
	w.service = newTestService(w.router)
	host := xmpp.NewHost(w.router, "meet.example")
	host.HandleIQ(NS1, w.service.HandleIQ)
	host.HandleIQ(NS2, w.service.HandleIQ)
	w.bind(t)
	return w
}

func (w *pushWorld) bind(t *testing.T) {
	t.Helper()
	w.port = &inbox{}
	var err error
	if w.release, err = w.router.Bind(w.port); err != nil {
		t.Fatal(err)
	}
}

// ask sends a query and returns the payload of the answer.
func (w *pushWorld) ask(t *testing.T, payload string) string {
	t.Helper()
	w.port.got = nil
	w.router.RouteNow(xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "q1", w.port.JID(), xmpp.MustJID("meet.example"), payload))
	if len(w.port.got) != 1 {
		t.Fatal(w.port.got)
	}
	answer := w.port.got[0]
	w.port.got = nil
	return answer.Inner
}

// pushed is what came since, and clears it.
func (w *pushWorld) pushed() (out []string) {
	for _, s := range w.port.got {
		if s.Kind == xmpp.IQ && s.Type == xmpp.TypeSet && s.From == xmpp.MustJID("meet.example") && s.ID != "" {
			out = append(out, s.Inner)
		}
	}
	w.port.got = nil
	return out
}

func TestPush(t *testing.T) {
	t.Parallel()
	w := newPushWorld(t)
	set := Settings{Servers: testServers, TTL: 24 * time.Hour}
	change := func(f func(*Settings)) []string {
		set.Servers = append([]Server(nil), set.Servers...)
		f(&set)
		w.service.list.Set(set)
		w.service.Changed()
		return w.pushed()
	}
	w.ask(t, `<services xmlns="urn:xmpp:extdisco:2" type="turn"/>`)

	if got := change(func(*Settings) {}); len(got) != 0 {
		t.Fatal("nothing has changed:", got)
	}
	got := change(func(s *Settings) {
		s.Servers = append(s.Servers, Server{Type: "turn", Host: "relay.example", Port: 3478, Transport: "tcp"})
	})
	if len(got) != 1 || strings.Count(got[0], "<service ") != 1 ||
		!strings.HasPrefix(got[0], `<services xmlns="urn:xmpp:extdisco:2" type="turn"><service action="add" type="turn" host="relay.example" port="3478" transport="tcp" username="1795380000:`) {
		t.Fatal("one is added:", got)
	}
	got = change(func(s *Settings) { s.Servers = s.Servers[:len(s.Servers)-1] })
	if len(got) != 1 || got[0] != `<services xmlns="urn:xmpp:extdisco:2" type="turn"><service action="delete" type="turn" host="relay.example" port="3478" transport="tcp"/></services>` {
		t.Fatal("one is gone:", got)
	}
	if got := change(func(s *Settings) { s.Servers = s.Servers[:2] }); len(got) != 0 {
		t.Fatal("one of another type is gone:", got)
	}
	// A rotation of the secret.
	w.service.list.keys.Set([]credential.Secret{{Value: "south"}, {Value: "north"}}, nil)
	got = change(func(*Settings) {})
	want, _ := credential.Secrets{"south"}.Mint(time.Unix(1795293600, 0), 24*time.Hour, w.service.list.ID(w.port.JID()))
	if len(got) != 1 || strings.Count(got[0], "<service ") != 1 || !strings.Contains(got[0], `<service action="modify" type="turn"`) || !strings.Contains(got[0], want.Password) {
		t.Fatal("other credentials:", got)
	}
	if got := change(func(*Settings) {}); len(got) != 0 {
		t.Fatal("told twice:", got)
	}
	// Who may no longer be told learns that there is nothing.
	got = change(func(s *Settings) { s.Access = []xmpp.JID{xmpp.MustJID("other.example")} })
	if len(got) != 1 || !strings.Contains(got[0], `action="delete"`) || strings.Contains(got[0], "password") {
		t.Fatal("access:", got)
	}
	// The session ends; another gets its address and has not asked.
	set.Access = nil
	w.release()
	w.bind(t)
	if got := change(func(*Settings) {}); len(got) != 0 || len(w.service.followers) != 0 {
		t.Fatal("a push to somebody else:", got)
	}
}

// What stock clients ask makes no follower of them, and neither does version 1.
func TestNoPushToStockClients(t *testing.T) {
	t.Parallel()
	w := newPushWorld(t)
	for _, payload := range []string{
		`<services xmlns="urn:xmpp:extdisco:2"/>`, `<services xmlns="urn:xmpp:extdisco:1"/>`, `<services xmlns="urn:xmpp:extdisco:1" type="turn"/>`,
		`<services xmlns="urn:xmpp:extdisco:2" type="ftp"/>`, `<credentials xmlns="urn:xmpp:extdisco:2"><service type="turn" host="meet.example"/></credentials>`,
	} {
		w.ask(t, payload)
	}
	w.service.list.Set(Settings{TTL: time.Hour})
	w.service.Changed()
	if len(w.port.got) != 0 || len(w.service.followers) != 0 {
		t.Errorf("%v", w.port.got)
	}
}
