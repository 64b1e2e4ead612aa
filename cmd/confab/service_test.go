package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestServiceCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		args   string
		status int
		out    []string // parts of the output, or of the error output
	}{
		{"service add jibri", 0, []string{
			`xmpp-server-hosts = ["meet.example"]`, `domain = "internal.auth.meet.example"`, `room-name = "jibribrewery"`,
			"port = 5222", `username = "jibri"`, `domain = "recorder.meet.example"`, `base-url = "https://meet.example"`,
		}},
		{"service add jibri", 1, []string{"jibri@auth.meet.example exists already: confab service passwd jibri makes new passwords"}},
		{"service passwd jibri", 0, []string{`username = "recorder"`}},
		{"service add jigasi", 0, []string{
			"ALLOWED_JID=jigasibrewery@internal.auth.meet.example\n", ".USER_ID=jigasi@auth.meet.example\n",
			"#org.jitsi.jigasi.xmpp.acc.USER_ID=transcriber@recorder.meet.example\n", "MUC_SERVICE_ADDRESS=conference.meet.example\n",
		}},
		{"user list", 0, []string{"jibri@auth.meet.example            no", "transcriber@recorder.meet.example  no"}},
		{"service remove jibri", 0, []string{"account jibri@auth.meet.example removed", "account recorder@recorder.meet.example removed"}},
		{"service remove jibri", 1, []string{"there is no account jibri@auth.meet.example"}},
		{"service add jvb", 2, []string{"jibri or jigasi expected"}},
		{"service", 2, []string{"add, passwd or remove, and jibri or jigasi expected"}},
	} {
		status, out, errOut := w.run(t.Context(), "", strings.Fields(c.args)...)
		for _, part := range c.out {
			if status != c.status || !strings.Contains(out+errOut, part) {
				t.Errorf("confab %s: exit %d, no %q in\n%s%s", c.args, status, part, out, errOut)
			}
		}
	}
}

// xmppConn is a client of a test over TLS.
type xmppConn struct {
	t *testing.T
	net.Conn
	jid string
}

func (c xmppConn) say(text, until string) string {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	var got bytes.Buffer
	for b := make([]byte, 1); !strings.HasSuffix(got.String(), until); got.Write(b) {
		if _, err := io.ReadFull(c, b); err != nil {
			c.t.Fatalf("S: %s: %v", got.String(), err)
		}
	}
	return got.String()
}

// dialXMPP logs in as a recorder does, and binds.
func dialXMPP(t *testing.T, port int, host, user, password string) xmppConn {
	t.Helper()
	conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := xmppConn{t: t, Conn: conn}
	header := `<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" to="` + host + `">`
	c.say(header, "</stream:features>")
	c.say(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">`+
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))+`</auth>`, `<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	c.say(header, "</stream:features>")
	bound := c.say(`<iq id="1" type="set"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`, "</iq>")
	_, rest, _ := strings.Cut(bound, "<jid>")
	c.jid, _, _ = strings.Cut(rest, "</jid>")
	return c
}

// With what "confab service add jibri" prints a recorder logs in, finds the focus
// in its brewery, and its browser logs in; others stay out of the brewery.
func TestRecorderConnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(t)
	status, conf, errOut := w.run(t.Context(), "", "service", "add", "jibri")
	if status != 0 {
		t.Fatal(errOut)
	}
	if status, _, errOut := w.run(t.Context(), "secret\n", "user", "add", "eve"); status != 0 {
		t.Fatal(errOut)
	}
	passwords := regexp.MustCompile(`password = "(.*)"`).FindAllStringSubmatch(conf, -1)
	if len(passwords) != 2 {
		t.Fatal(conf)
	}
	startServer(t, cfg, reloads{}, io.Discard)
	join := func(nick string) string {
		return `<presence to="jibribrewery@internal.auth.meet.example/` + nick + `"><x xmlns="http://jabber.org/protocol/muc"/>` +
			`<jibri-status xmlns="http://jitsi.org/protocol/jibri"><busy-status status="idle"/><health-status xmlns="http://jitsi.org/protocol/health" status="healthy"/></jibri-status></presence>`
	}
	control := dialXMPP(t, cfg.XMPP.TLSPort, "auth.meet.example", "jibri", passwords[0][1])
	// What Smack, the library of Jibri and Jigasi, asks before it joins, and meanwhile.
	for _, ask := range []struct{ to, typ, payload, want string }{
		{"auth.meet.example", "get", `<query xmlns="http://jabber.org/protocol/disco#info"/>`, `type="result"`},
		{"internal.auth.meet.example", "get", `<query xmlns="http://jabber.org/protocol/disco#info"/>`, `<feature var="http://jabber.org/protocol/muc"/>`},
		{"jibri@auth.meet.example", "get", `<query xmlns="jabber:iq:roster"/>`, `type="result"`},
		{"auth.meet.example", "get", `<ping xmlns="urn:xmpp:ping"/>`, `type="result"`},
	} {
		// The answer to the ping behind it ends what is to be read.
		got := control.say(`<iq id="q" type="`+ask.typ+`" to="`+ask.to+`">`+ask.payload+`</iq><iq id="end" type="get" to="auth.meet.example"><ping xmlns="urn:xmpp:ping"/></iq>`, `id="end" from="auth.meet.example" to="`+control.jid+`"/>`)
		if !strings.Contains(got, ask.want) {
			t.Errorf("%s asked of %s: %s", ask.payload, ask.to, got)
		}
	}
	// The focus opens the brewery once it is there; nobody else may.
	got := control.say(join("jibri-1"), "</presence>")
	for strings.Contains(got, "Room creation is restricted") {
		got = control.say(join("jibri-1"), "</presence>")
	}
	if got += control.say("", "</message>"); !strings.Contains(got, `from="jibribrewery@internal.auth.meet.example/focus"`) || !strings.Contains(got, `code="110"`) {
		t.Errorf("the recorder's brewery: %s", got)
	}
	browser := dialXMPP(t, cfg.XMPP.TLSPort, "recorder.meet.example", "recorder", passwords[1][1])
	if got := browser.say(join("jibri-2"), "</presence>"); !strings.Contains(got, `type="error"`) {
		t.Errorf("the browser in the brewery: %s", got)
	}
	// Nor may a recorder pass itself off as a bridge.
	bridge := strings.Replace(join("bridge-2"), "jibribrewery", "jvbbrewery", 1)
	if got := control.say(bridge, "</presence>"); !strings.Contains(got, `from="jvbbrewery@internal.auth.meet.example`) || !strings.Contains(got, "<forbidden ") {
		t.Errorf("the recorder as a bridge: %s", got)
	}
	eve := dialXMPP(t, cfg.XMPP.TLSPort, "meet.example", "eve", "secret")
	if got := eve.say(join("jibri-3"), "</presence>"); !strings.Contains(got, `type="error"`) {
		t.Errorf("somebody else in the brewery: %s", got)
	}
}
