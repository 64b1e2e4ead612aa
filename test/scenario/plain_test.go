package scenario

import (
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"net"
	"sync"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/muc"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/stanza"

	"confab/internal/meettest"
)

// plain is a client that knows nothing of Jitsi: mellium's, over TCP with
// STARTTLS. Its muc package is left out: it races with itself at a join.
type plain struct {
	w       *world
	session *mellium.Session
	me      jid.JID     // in the room
	said    chan string // groupchat of others, "nick: text"
	self    chan bool   // own presence: in the room or not
	wg      sync.WaitGroup
}

func (w *world) plain(origin string, auth mellium.StreamFeature) *plain {
	w.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(w.ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", w.XMPP))
	w.must(err)
	s, err := mellium.NewClientSession(w.ctx, jid.MustParse(origin), conn,
		mellium.StartTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}), auth, mellium.BindResource())
	w.must(err)
	p := &plain{w: w, session: s, said: make(chan string, 64), self: make(chan bool, 64)}
	hear := func(m stanza.Message, r xmlstream.TokenReadEncoder) error {
		var msg struct {
			stanza.Message
			Body string `xml:"body"`
		}
		if err := xml.NewTokenDecoder(r).Decode(&msg); err != nil {
			return err
		}
		p.said <- m.From.Resourcepart() + ": " + msg.Body
		return nil
	}
	see := func(pr stanza.Presence, r xmlstream.TokenReadEncoder) error {
		var presence struct {
			stanza.Presence
			X struct {
				Status []struct {
					Code int `xml:"code,attr"`
				} `xml:"status"`
			} `xml:"http://jabber.org/protocol/muc#user x"`
		}
		if err := xml.NewTokenDecoder(r).Decode(&presence); err != nil {
			return err
		}
		for _, st := range presence.X.Status {
			if st.Code == 110 {
				p.self <- pr.Type == stanza.AvailablePresence
			}
		}
		return nil
	}
	x := xml.Name{Space: muc.NSUser, Local: "x"}
	p.wg.Go(func() {
		_ = s.Serve(mux.New(stanza.NSClient,
			mux.MessageFunc(stanza.GroupChatMessage, xml.Name{Local: "body"}, hear),
			mux.PresenceFunc(stanza.AvailablePresence, x, see), mux.PresenceFunc(stanza.UnavailablePresence, x, see)))
	})
	w.t.Cleanup(func() {
		_ = s.Close()
		_ = conn.Close()
		p.wg.Wait()
	})
	return p
}

func (p *plain) join(nick string) {
	p.w.t.Helper()
	p.enter(jid.MustParse(p.w.room + "@conference." + p.w.Domain + "/" + nick))
}

func (p *plain) enter(as jid.JID) {
	p.w.t.Helper()
	p.me = as
	p.w.must(p.session.Encode(p.w.ctx, struct {
		stanza.Presence
		X struct{} `xml:"http://jabber.org/protocol/muc x"`
	}{Presence: stanza.Presence{To: p.me}}))
	p.waits(true)
}

func (p *plain) leave() {
	p.w.t.Helper()
	p.w.must(p.session.Encode(p.w.ctx, stanza.Presence{To: p.me, Type: stanza.UnavailablePresence}))
	p.waits(false)
}

// waits for its own presence in the room, or for the end of it.
func (p *plain) waits(present bool) {
	p.w.t.Helper()
	for {
		select {
		case got := <-p.self:
			if got == present {
				return
			}
		case <-p.w.ctx.Done():
			p.w.t.Fatalf("the plain client did not get its own presence (in the room: %v)", present)
		}
	}
}

func (p *plain) say(text string) {
	p.w.t.Helper()
	p.w.must(p.session.Encode(p.w.ctx, struct {
		stanza.Message
		Body string `xml:"body"`
	}{stanza.Message{To: p.me.Bare(), Type: stanza.GroupChatMessage}, text}))
}

func (p *plain) hears(want string) {
	p.w.t.Helper()
	for {
		select {
		case got := <-p.said:
			if got == want {
				return
			}
		case <-p.w.ctx.Done():
			p.w.t.Fatalf("the plain client did not hear %q", want)
		}
	}
}

// A plain client comes first, which starts the meeting, and chats with the
// browsers; they hold their meeting beside it.
func TestPlainClientStartsTheMeeting(t *testing.T) {
	w := newWorld(t, "")
	p := w.plain(w.Domain, mellium.SASL("", "", sasl.Anonymous))
	p.join("Pat")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	o, there := a.Occupant("Pat")
	if !there || o.Role == "" {
		t.Errorf("Ann does not see Pat: %+v", o)
	}
	p.say("hello from a plain client")
	for _, c := range []*meettest.Client{a, b} {
		s, err := c.ExpectChat(w.ctx, "hello from a plain client")
		w.must(err)
		if s.From.Resource != "Pat" {
			t.Errorf("said by %s", s.From)
		}
	}
	w.must(a.Chat("hello plain client"))
	p.hears(a.Nick() + ": hello plain client")
	p.leave()
	w.must(a.Until(w.ctx, "Pat to be gone", func() bool {
		_, there := a.Occupant("Pat")
		return !there
	}))
	w.sees(a, b, 10)
	w.smooth(a, b)
}

// The host's account works in a plain client, too, by every mechanism.
func TestPlainClientWithAccount(t *testing.T) {
	w := newWorld(t, "")
	a := w.join("Ann", nil)
	for i, mechanism := range []sasl.Mechanism{sasl.ScramSha256, sasl.ScramSha1, sasl.Plain} {
		p := w.plain(w.HostLogin+"@"+w.Domain, mellium.SASL("", w.HostPassword, mechanism))
		p.join(fmt.Sprint("Pat", i))
		p.say("by " + mechanism.Name)
		if _, err := a.ExpectChat(w.ctx, "by "+mechanism.Name); err != nil {
			t.Error(err)
		}
		p.leave()
	}
}
