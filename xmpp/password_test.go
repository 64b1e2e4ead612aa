package xmpp_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/xmpp"
)

// lockedBuffer takes the log of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// An address has three wrong passwords a minute here. Exchanges that are under
// way count, so that many at once are no way around it; the right password
// gives its own back.
func TestWrongPasswordsOfAnAddress(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Auth = passwords()
		c.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		c.LoginRate = 1000
		c.TriesPerAddress, c.TriesPerAccount, c.PasswordDelay = 3, 1000, 10*time.Millisecond
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	const failed = `<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-authorized/></failure>`
	plain := func(password string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00host\x00" + password))
	}
	begin := func() *client {
		c := s.dial("")
		c.send(openC)
		c.expect(openS)
		c.expect(`<stream:features .*PLAIN.*`)
		c.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN"/>`)
		return c
	}
	respond := func(c *client, password, want string) {
		t.Helper()
		c.send(`<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl">` + plain(password) + `</response>`)
		c.expect(want)
	}
	refused := func() {
		t.Helper()
		last := begin().expectClosed(websocket.StatusPolicyViolation)
		if len(last) == 0 || !strings.Contains(last[0], "Too many failed logins") {
			t.Fatalf("got %q", last)
		}
	}
	open := make([]*client, 3)
	for i := range open {
		open[i] = begin()
		open[i].expect(`<challenge xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	}
	refused()
	respond(open[0], "secret", `<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	open[0] = begin()
	open[0].expect(`<challenge xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	for _, c := range open {
		respond(c, "wrong", failed)
	}
	refused()

	for _, line := range []string{
		`msg="login failed" jid=host@meet.test addr=127.0.0.1`, `msg="no more passwords tried for this address" addr=127.0.0.1`,
	} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in\n%s", line, log.String())
		}
	}
	if strings.Contains(log.String(), "wrong") || strings.Contains(log.String(), plain("wrong")) {
		t.Errorf("a password is in the log:\n%s", log.String())
	}
}

// Who logs in by HTTP has the tries of its address, not further ones.
func TestLoginWithoutStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Auth = passwords()
		c.Exempt = nil
		c.TriesPerAddress, c.TriesPerAccount, c.PasswordDelay = 3, 1000, time.Millisecond
	})
	from := netip.MustParseAddr("192.0.2.7")
	try := func(domain, user, password string) error {
		_, err := s.srv.Login(t.Context(), domain, from, user, password)
		return err
	}
	for _, user := range []string{"host", "HOST", "host@meet.test"} {
		if acc, err := s.srv.Login(t.Context(), "meet.test", from, user, "secret"); err != nil || acc.Name != "host" {
			t.Errorf("%s: %+v %v", user, acc, err)
		}
	}
	for _, c := range [][2]string{{"", "secret"}, {"host\x00x", "secret"}, {"host", "secret\x00"}} {
		if _, refused := errors.AsType[*xmpp.SASLFailure](try("meet.test", c[0], c[1])); !refused {
			t.Errorf("%q is let in", c)
		}
	}
	if _, refused := errors.AsType[*xmpp.SASLFailure](try("elsewhere.test", "host", "secret")); !refused {
		t.Error("a domain that is not ours")
	}
	for _, user := range []string{"host", "nobody", "host"} {
		if f, refused := errors.AsType[*xmpp.SASLFailure](try("meet.test", user, "wrong")); !refused || f.Cond != xmpp.SASLNotAuthorized {
			t.Errorf("%s with a wrong password: %v", user, f)
		}
	}
	if err := try("meet.test", "host", "secret"); err != xmpp.ErrTries {
		t.Errorf("the right password after too many wrong ones: %v", err)
	}
	if _, err := s.srv.Login(t.Context(), "meet.test", netip.MustParseAddr("192.0.2.8"), "host", "secret"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}
