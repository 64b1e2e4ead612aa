package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"confab/xmpp"
)

// occupant is a plain XMPP client over WebSocket (RFC 7395) that is cheap enough to
// have 500 of, and meets any server with rooms: it looks at stanzas as text.
type occupant struct {
	ws   *websocket.Conn
	jid  string
	nick string
	room string
	hear func(o *occupant, raw string) // on the reader: it must not wait

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	joined chan error // own presence, or the error
	once   sync.Once
}

// occupy logs in without an account and enters a room.
func occupy(ctx context.Context, t *target, room, nick, inner string, hear func(*occupant, string)) (*occupant, error) {
	o := &occupant{nick: nick, room: room, hear: hear, joined: make(chan error, 1)}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a server under test
	var err error
	if o.ws, _, err = websocket.Dial(ctx, t.url, &websocket.DialOptions{Subprotocols: []string{"xmpp"}, HTTPClient: client}); err != nil {
		return nil, fmt.Errorf("dial %s: %w", t.url, err)
	}
	o.ws.SetReadLimit(4 << 20)
	if err := o.login(ctx, t.domain); err != nil {
		_ = o.ws.CloseNow()
		return nil, err
	}
	o.ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	o.wg.Go(o.read)
	if err := o.send(`<presence xmlns="jabber:client" to="` + room + "/" + nick + `"><x xmlns="http://jabber.org/protocol/muc"><history maxstanzas="0"/></x>` + inner + `</presence>`); err != nil {
		o.close()
		return nil, err
	}
	select {
	case err = <-o.joined:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("join %s as %s: %w", room, nick, err)
	}
	return o, nil
}

// login is stream, SASL ANONYMOUS, stream again, bind.
func (o *occupant) login(ctx context.Context, domain string) error {
	open := `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="` + domain + `" version="1.0"/>`
	for _, step := range []struct{ say, until string }{
		{open, "<mechanisms"},
		{`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>`, "<success"},
		{open, ":features"},
		{`<iq xmlns="jabber:client" type="set" id="bind"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`, "<jid>"},
	} {
		if err := o.ws.Write(ctx, websocket.MessageText, []byte(step.say)); err != nil {
			return err
		}
		for {
			_, raw, err := o.ws.Read(ctx)
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", step.until, err)
			}
			s := string(raw)
			if strings.Contains(s, "<failure") || strings.Contains(s, ":error") {
				return fmt.Errorf("login refused: %s", s)
			}
			if _, jid, ok := strings.Cut(s, "<jid>"); ok {
				o.jid, _, _ = strings.Cut(jid, "</jid>")
			}
			if strings.Contains(s, step.until) {
				break
			}
		}
	}
	return nil
}

func (o *occupant) read() {
	for {
		_, raw, err := o.ws.Read(o.ctx)
		if err != nil {
			o.enter(err)
			return
		}
		s := string(raw)
		if strings.HasPrefix(s, "<presence") {
			switch {
			case strings.Contains(s, `110`) && strings.Contains(s, "/"+o.nick):
				o.enter(nil)
			case strings.Contains(s, `<error`):
				o.enter(fmt.Errorf("refused: %s", s))
			}
		}
		o.hear(o, s)
	}
}

func (o *occupant) enter(err error) { o.once.Do(func() { o.joined <- err }) }

func (o *occupant) send(s string) error {
	return o.ws.Write(o.ctx, websocket.MessageText, []byte(s))
}

// message sends a message with that payload.
func (o *occupant) message(to, typ, inner string) error {
	var e xmpp.Enc
	e.Start("message", xmpp.NSClient).Attr("to", to).AttrIf("type", typ).Raw(inner).End()
	return o.send(e.String())
}

func (o *occupant) close() {
	o.cancel()
	_ = o.ws.CloseNow()
	o.wg.Wait()
}
