package scenario

import (
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/stanza"

	"confab/internal/meettest"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// jibri is a recorder as the server knows it: a control connection over TCP, which
// shows itself in the brewery and is told to record (JIBRI XmppApi), and somebody
// who comes to the meeting.
type jibri struct {
	w        *world
	session  *mellium.Session
	orders   chan order
	password string // of who comes to the meeting
}

// order is a request to it.
type order struct {
	from jid.JID
	Jibri
}

// Jibri is its payload.
type Jibri struct {
	XMLName xml.Name `xml:"http://jitsi.org/protocol/jibri jibri"`
	Action  string   `xml:"action,attr,omitempty"`
	Status  string   `xml:"status,attr,omitempty"`
	Room    string   `xml:"room,attr,omitempty"`
	Mode    string   `xml:"recording_mode,attr,omitempty"`
	Session string   `xml:"session_id,attr,omitempty"`
}

// recorder makes the accounts as an operator does, and connects.
func (w *world) recorder() *jibri {
	w.t.Helper()
	bin, err := meettest.Program()
	w.must(err)
	out, err := exec.CommandContext(w.ctx, bin, "service", "add", "jibri", "--data", w.Dir, "--domain", w.Domain).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		w.t.Fatalf("%v: %s", err, exit.Stderr)
	}
	passwords := regexp.MustCompile(`password = "(.*)"`).FindAllStringSubmatch(string(out), -1)
	if len(passwords) != 2 {
		w.t.Fatalf("%s", out)
	}
	conn, err := (&net.Dialer{}).DialContext(w.ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", w.XMPP))
	w.must(err)
	s, err := mellium.NewClientSession(w.ctx, jid.MustParse("jibri@auth."+w.Domain), conn,
		mellium.StartTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}), mellium.SASL("", passwords[0][1], sasl.ScramSha1), mellium.BindResource())
	w.must(err)
	j := &jibri{w: w, session: s, orders: make(chan order, 16), password: passwords[1][1]}
	served := make(chan struct{})
	handle := func(iq stanza.IQ, r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
		o := order{from: iq.From}
		if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), r)).Decode(&o.Jibri); err != nil {
			return err
		}
		reply := Jibri{Status: "pending"}
		if o.Action == "stop" {
			reply.Status = "off"
		}
		if _, err := xmlstream.Copy(r, iq.Result(reply.tokens())); err != nil {
			return err
		}
		j.orders <- o
		return nil
	}
	go func() {
		defer close(served)
		_ = s.Serve(mux.New(stanza.NSClient, mux.IQFunc(stanza.SetIQ, xml.Name{Space: jitmeet.NSJibri, Local: "jibri"}, handle)))
	}()
	w.t.Cleanup(func() {
		_ = s.Close()
		_ = conn.Close()
		<-served
	})
	j.show(false)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.metric("confab_file_recorders_available") != 1 { // until the focus knows it
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.t.Fatal("the focus does not see the recorder")
		}
	}
	return j
}

func (j Jibri) tokens() xml.TokenReader {
	attr := func(list []xml.Attr, name, v string) []xml.Attr {
		if v != "" {
			list = append(list, xml.Attr{Name: xml.Name{Local: name}, Value: v})
		}
		return list
	}
	start := xml.StartElement{Name: xml.Name{Space: jitmeet.NSJibri, Local: "jibri"}}
	start.Attr = attr(attr(start.Attr, "status", j.Status), "session_id", j.Session)
	return xmlstream.Wrap(nil, start)
}

// show tells the brewery whether it is busy.
func (j *jibri) show(busy bool) {
	j.w.t.Helper()
	el := func(space, name, status string) xml.TokenReader {
		return xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: space, Local: name}, Attr: []xml.Attr{{Name: xml.Name{Local: "status"}, Value: status}}})
	}
	state := "idle"
	if busy {
		state = "busy"
	}
	p := stanza.Presence{To: jid.MustParse("jibribrewery@internal.auth." + j.w.Domain + "/jibri-1")}
	j.w.must(j.session.Send(j.w.ctx, p.Wrap(xmlstream.MultiReader(
		xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: "http://jabber.org/protocol/muc", Local: "x"}}),
		xmlstream.Wrap(xmlstream.MultiReader(el(jitmeet.NSJibri, "busy-status", state), el(jitmeet.NSJibriHealth, "health-status", "healthy")),
			xml.StartElement{Name: xml.Name{Space: jitmeet.NSJibri, Local: "jibri-status"}}),
	))))
}

// ordered waits for a request.
func (j *jibri) ordered(action string) order {
	j.w.t.Helper()
	select {
	case o := <-j.orders:
		if o.Action != action {
			j.w.t.Fatalf("the recorder was asked to %q, not to %s", o.Action, action)
		}
		return o
	case <-j.w.ctx.Done():
		j.w.t.Fatalf("the recorder was not asked to %s", action)
		return order{}
	}
}

// tell reports to who asked.
func (j *jibri) tell(o order, status string) {
	j.w.t.Helper()
	reply, err := j.session.SendIQ(j.w.ctx, stanza.IQ{Type: stanza.SetIQ, To: o.from}.Wrap(Jibri{Status: status}.tokens()))
	j.w.must(err)
	_ = reply.Close()
}

// recording waits until the focus shows c a state of a recording.
func (w *world) recording(c *meettest.Client, status, id string) {
	w.t.Helper()
	_, err := c.Expect(w.ctx, "a recording that is "+status, func(s *xmpp.Stanza) bool {
		el := s.Child(jitmeet.NSJibri, "jibri-recording-status")
		return s.Kind == xmpp.Presence && s.From.Resource == "focus" && el.Get("status") == status && el.Get("session_id") == id
	})
	w.must(err)
}

// A moderator presses the button: a stock recorder is told, comes to the meeting as
// one of the server's own, receives everybody, and goes when it is stopped.
func TestRecording(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", rewriting), w.join("Bea", nil)
	w.talk(a, b)
	focus := a.RoomJID(w.room).WithResource("focus").String()
	start := (&jitmeet.Jibri{Action: "start", Mode: "file"}).String()
	if _, err := a.IQ(w.ctx, "set", focus, start); !is(err, xmpp.CondServiceUnavailable) {
		t.Fatalf("without a recorder: %v", err)
	}
	j := w.recorder()
	if _, err := b.IQ(w.ctx, "set", focus, start); !is(err, xmpp.CondForbidden) {
		t.Fatalf("who is no moderator: %v", err)
	}
	var id string
	reply, err := a.IQ(w.ctx, "set", focus, start)
	w.must(err)
	if id = jitmeet.ParseJibri(reply.Child(jitmeet.NSJibri, "jibri")).SessionID; id == "" {
		t.Fatalf("%s", reply)
	}
	o := j.ordered("start")
	if o.Room != a.RoomJID(w.room).String() || o.Session != id || o.Mode != "file" {
		t.Errorf("%+v", o)
	}
	j.show(true)
	rec := w.Dial(w.ctx, "Recorder", func(opt *meettest.Options) {
		opt.Room, opt.Login, opt.Account, opt.Password = w.room, "recorder."+w.Domain, "recorder", j.password
		rewriting(opt) // it is the stock app in a browser
		opt.Presence = `<features><feature var="` + jitmeet.FeatureJibri + `"/></features><session_id>` + id + `</session_id><mode>file</mode>`
	})
	w.must(rec.Join(w.ctx, w.room))
	w.must(rec.Media(w.ctx))
	w.watches(rec, a, b)
	w.smooth(rec, a, b)
	w.mappedTo(rec, 4)
	if rec.Moderator() {
		t.Error("the recorder is moderator")
	}
	j.tell(o, "on")
	w.recording(a, "on", id)
	w.recording(b, "on", id)
	_, err = a.IQ(w.ctx, "set", focus, (&jitmeet.Jibri{Action: "stop", Mode: "file"}).String())
	w.must(err)
	j.ordered("stop")
	w.recording(b, "off", id)
	w.must(rec.Leave(w.ctx))
	j.show(false)
	w.talk(a, b)
}

// is reports whether an error is an answer with that condition.
func is(err error, cond string) bool {
	se := (*xmpp.StanzaError)(nil)
	return errors.As(err, &se) && se.Cond == cond
}

// Under moderation what a participant says is not heard, whatever its client does,
// until a moderator approves; its video is no matter of that.
func TestModeratedAudio(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	room := a.RoomJID(w.room).String()
	component := a.Component("av_moderation")
	say := func(c *meettest.Client, attrs string) {
		t.Helper()
		w.must(c.Send(xmpp.Message, "", "", component, `<av_moderation mediaType="audio" `+attrs+`/>`))
	}
	unmute := (&jitmeet.Mute{NS: jitmeet.NSAudio, JID: room + "/" + b.Nick()}).String()
	say(a, `enable="true"`)
	w.must(b.Until(w.ctx, "to be muted", func() bool { return b.Muted("audio") }))
	if _, err := b.IQ(w.ctx, "set", room+"/focus", unmute); !is(err, xmpp.CondNotAllowed) {
		t.Errorf("unmute: %v", err)
	}
	b.SetMuted("audio", false) // a client that doesn't care
	w.silent(a, b)
	w.hears(b, a)
	say(a, `jidToWhitelist="`+room+"/"+b.Nick()+`"`)
	w.hears(a, b)
	_, err := b.IQ(w.ctx, "set", room+"/focus", unmute)
	w.must(err)
	say(a, `jidToBlacklist="`+room+"/"+b.Nick()+`"`)
	w.must(b.Until(w.ctx, "to be asked no more", func() bool { _, err := b.IQ(w.ctx, "set", room+"/focus", unmute); return is(err, xmpp.CondNotAllowed) }))
	w.silent(a, b)
	say(a, `enable="false"`)
	w.hears(a, b)
}
