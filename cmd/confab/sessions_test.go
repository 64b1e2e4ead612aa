package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/storage"
)

// broken is a database that is down.
type broken struct{ Storage }

func (broken) Account(context.Context, string, string) (storage.Account, error) {
	return storage.Account{}, errors.New("connection refused")
}

// The client is told to come again; the operator is told why.
func TestUnreadableAccountIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := accounts{broken{}, slog.New(slog.NewTextHandler(&log, nil))}
	if _, _, err := a.Account(t.Context(), "host", "meet.example"); err == nil {
		t.Error("no error")
	}
	if want := `msg="account not read" jid=host@meet.example err="connection refused"`; !strings.Contains(log.String(), want) {
		t.Errorf("got %s, want %s", log.String(), want)
	}
}

// Conference requests by stanza are counted by the address that the session comes from,
// for all its sessions together, and with those by HTTP.
func TestConferenceRequestsByStanzaAreLimited(t *testing.T) {
	t.Parallel()
	cfg := newWorld(t).config(t)
	cfg.Web.TrustedProxies = []string{"127.0.0.1"}
	cfg.Limits.RequestsPerIP, cfg.Limits.IQRate = 1, 0
	startServer(t, cfg, reloads{}, io.Discard)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// refused sends n requests at once and counts the answers that say it is too much.
	refused := func(from string, n int) (much int) {
		ws, _, err := websocket.Dial(ctx, "wss://"+cfg.Web.Listen[0]+"/xmpp-websocket", &websocket.DialOptions{
			HTTPClient: client, Subprotocols: []string{"xmpp"}, HTTPHeader: http.Header{"X-Forwarded-For": {from}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		say := func(texts ...string) {
			for _, text := range texts {
				if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		hear := func(until string) string {
			for {
				_, b, err := ws.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(b), until) {
					return string(b)
				}
			}
		}
		const open = `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="meet.example" version="1.0"/>`
		say(open, `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>`)
		hear("<success")
		say(open)
		hear("urn:ietf:params:xml:ns:xmpp-bind")
		say(`<iq xmlns="jabber:client" type="set" id="bind"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`)
		hear("<jid>")
		for range n {
			say(`<iq xmlns="jabber:client" type="set" id="ask" to="focus.meet.example"><conference xmlns="http://jitsi.org/protocol/focus"/></iq>`)
		}
		for range n {
			if strings.Contains(hear(`"ask"`), "<resource-constraint") {
				much++
			}
		}
		return much
	}
	// Ten at once and one a second, however long this takes.
	if n := refused("203.0.113.7", 100); n == 0 || n > 90 {
		t.Errorf("%d of 100 are refused", n)
	}
	if n := refused("203.0.113.7", 50); n == 0 {
		t.Error("another session of the address has requests of its own")
	}
	if n := refused("203.0.113.8", 10); n != 0 {
		t.Errorf("%d of another address's are refused", n)
	}
}
