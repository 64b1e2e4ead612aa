package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The host signs in as a plain XMPP client that begins with TLS; the file with
// the password is gone then. When the server ends, the client is told.
func TestHostSignsInAndServerEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(t)
	summary, stop := startServer(t, cfg, reloads{}, io.Discard)
	secret := password.FindString(summary)
	if err := saveInitialCredentials(w.dir, firstHostName, cfg.Domain, secret); err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		_, err := os.Stat(filepath.Join(w.dir, initialCredentials))
		return err == nil
	}

	conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(cfg.XMPP.TLSPort)),
		&tls.Config{InsecureSkipVerify: true, ServerName: cfg.Domain, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	say := func(text, until string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for b := make([]byte, 1); !strings.HasSuffix(got.String(), until); got.Write(b) {
			if _, err := io.ReadFull(conn, b); err != nil {
				t.Fatalf("S: %s: %v", got.String(), err)
			}
		}
	}
	header := `<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" to="meet.example">`
	plain := func(password string) string {
		return `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">` +
			base64.StdEncoding.EncodeToString([]byte("\x00host\x00"+password)) + `</auth>`
	}
	say(header, "</stream:features>")
	say(plain("wrong"), "</failure>")
	if !there() {
		t.Error("a wrong password removed the file")
	}
	say(plain(secret), `<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	if there() {
		t.Error("the file with the password is still there")
	}
	say(header, "</stream:features>")
	say(`<iq id="1" type="set"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`, "</iq>")

	stop()
	if rest, err := io.ReadAll(conn); err != nil || !strings.Contains(string(rest), "<system-shutdown ") {
		t.Errorf("at the end: %s, %v", rest, err)
	}
}

func TestPasswordTriesAreCountedByAddress(t *testing.T) {
	t.Parallel()
	s := &server{exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for addr, want := range map[string]string{
		"198.51.100.7": "198.51.100.7", "2001:db8::1": "2001:db8::/64", "10.1.2.3": "", "127.0.0.1": "", "::1": "",
	} {
		if got := s.counted(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := s.counted(netip.Addr{}); got != "" {
		t.Errorf("no address: %q", got)
	}
}
