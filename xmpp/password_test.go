package xmpp_test

import (
	"bytes"
	"encoding/base64"
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
