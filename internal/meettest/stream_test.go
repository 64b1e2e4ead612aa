package meettest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confab/xmpp"
	"confab/xmpp/auth"
)

func wait(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// host runs a real XMPP server with one anonymous host.
func host(t *testing.T, push bool) (url string, r *xmpp.Router) {
	r = xmpp.NewRouter(slog.New(slog.DiscardHandler))
	h := xmpp.NewHost(r, "meet.test")
	h.SetDisco(xmpp.DiscoInfo{Identities: []xmpp.Identity{{Category: "component", Type: "room_metadata", Name: "metadata.meet.test"}}})
	cfg := xmpp.DefaultConfig()
	cfg.Hosts = []xmpp.LoginHost{{Host: h, Auth: auth.Token{Guests: true}}}
	cfg.PushServices = push
	srv := xmpp.NewServer(cfg, r)
	mux := http.NewServeMux()
	mux.Handle("/xmpp-websocket", srv.WebSocketHandler())
	web := httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return "wss" + strings.TrimPrefix(web.URL, "https") + "/xmpp-websocket", r
}

func TestDialPingResumeClose(t *testing.T) {
	t.Parallel()
	url, router := host(t, true)
	c, err := Dial(wait(t), Options{URL: url, Domain: "meet.test", Room: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	if got := c.Component("room_metadata"); got != "metadata.meet.test" {
		t.Errorf("pushed room_metadata %q", got)
	}
	if !hexNick.MatchString(c.Nick()) || !strings.HasPrefix(c.JID().Local, c.Nick()) {
		t.Errorf("nick %q of %s", c.Nick(), c.JID())
	}
	if err := c.Ping(wait(t)); err != nil {
		t.Fatal(err)
	}
	c.Cut()
	router.RouteNow(xmpp.NewStanza(xmpp.Message, "chat", "m1", xmpp.MustJID("meet.test"), c.JID(), "<body>meanwhile</body>"))
	if err := c.Resume(wait(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Expect(wait(t), "what was said meanwhile", func(s *xmpp.Stanza) bool { return bodyOf(s) == "meanwhile" }); err != nil {
		t.Fatal(err)
	}
	for range 12 { // beyond what asks for acknowledgements
		if err := c.Ping(wait(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDialAsksForWhatIsNotPushed(t *testing.T) {
	t.Parallel()
	url, router := host(t, false)
	_ = router
	_, err := Dial(wait(t), Options{URL: url, Domain: "meet.test"})
	// This host has no external services: the error is that of the first request.
	if se, ok := asStanzaError(err); !ok || se.Cond != xmpp.CondServiceUnavailable && se.Cond != xmpp.CondFeatureNotImplemented {
		t.Fatalf("got %v", err)
	}
}

func TestDialRefusesPasswordHostWithoutAccount(t *testing.T) {
	t.Parallel()
	url, _ := host(t, true)
	_, err := Dial(wait(t), Options{URL: url, Domain: "meet.test", Account: "host", Password: "x"})
	if err == nil || !strings.Contains(err.Error(), "does not offer SCRAM-SHA-1") {
		t.Fatalf("got %v", err)
	}
}
