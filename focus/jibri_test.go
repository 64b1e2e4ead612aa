package focus_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// jibri behaves as a stock Jibri does towards the server (its XmppApi): it shows
// in the brewery whether it is idle, agrees to what it is asked or says that it
// is busy, and then tells whoever asked how it goes.
type jibri struct {
	w    *world
	port *xmpp.LocalPort
	nick xmpp.JID // in the brewery

	mu     sync.Mutex
	busy   bool
	deaf   bool // takes requests and answers none
	broken bool // answers that it can't
	orders []string
	boss   xmpp.JID // who asked
	sip    string
}

const jibriBrewery = "jibribrewery@internal.auth.meet.example"

func (w *world) jibri(brewery, name string) *jibri {
	w.t.Helper()
	j := &jibri{w: w, nick: xmpp.MustJID(brewery + "/" + name)}
	var err error
	if j.port, err = w.router.NewLocalPort(xmpp.MustJID("jibri@auth.meet.example/"+name), j.receive); err != nil {
		w.t.Fatal(err)
	}
	j.show(`<x xmlns="http://jabber.org/protocol/muc"/>`)
	return j
}

func (j *jibri) present(busy bool, more string) {
	status := "idle"
	if busy {
		status = "busy"
	}
	j.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, j.nick, `<jibri-status xmlns="http://jitsi.org/protocol/jibri"><busy-status status="`+status+
		`"/><health-status xmlns="http://jitsi.org/protocol/health" status="healthy"/></jibri-status>`+more))
}

func (j *jibri) show(more string) {
	j.mu.Lock()
	busy := j.busy
	j.mu.Unlock()
	j.present(busy, more)
	synctest.Wait()
}

func (j *jibri) receive(s *xmpp.Stanza) error {
	el := s.Child(jitmeet.NSJibri, "jibri")
	if el == nil || !s.IsRequest() {
		return nil
	}
	req := jitmeet.ParseJibri(el)
	j.mu.Lock()
	j.orders = append(j.orders, el.String())
	reply := jitmeet.Jibri{Status: jitmeet.JibriPending, SIPAddress: req.SIPAddress}
	was := j.busy
	switch {
	case req.Action == jitmeet.JibriStop:
		reply.Status, j.busy = jitmeet.JibriOff, false
	case j.busy:
		reply.Status, reply.Failure, reply.Retry = jitmeet.JibriOff, jitmeet.JibriBusy, true
	case j.broken:
		reply.Status, reply.Failure, reply.Retry = jitmeet.JibriOff, jitmeet.JibriError, true
	default:
		j.busy, j.boss, j.sip = true, s.From, req.SIPAddress
	}
	now, deaf := j.busy, j.deaf
	j.mu.Unlock()
	if deaf {
		return nil
	}
	if was != now {
		j.present(now, "")
	}
	j.port.Send(s.Result(reply.String()))
	return nil
}

// tell sends an update to who asked.
func (j *jibri) tell(status, failure string, retry bool) {
	j.mu.Lock()
	up := jitmeet.Jibri{Status: status, Failure: failure, Retry: retry, SIPAddress: j.sip}
	boss := j.boss
	if status == jitmeet.JibriOff {
		j.busy = false
	}
	j.mu.Unlock()
	_, err := j.port.Request(j.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, boss, up.String()), time.Minute)
	if err != nil {
		j.w.t.Errorf("update: %v", err)
	}
	if status == jitmeet.JibriOff {
		j.show("")
	}
	synctest.Wait()
}

func (j *jibri) leave() {
	j.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, j.nick, ""))
	synctest.Wait()
}

// asked takes the requests that it got: action and mode.
func (j *jibri) asked() []string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.orders
	j.orders = nil
	return out
}

func recorders(c *focus.Config) {
	c.Recorders = xmpp.MustJID(jibriBrewery)
	c.SIPRecorders = xmpp.MustJID("sipjibribrewery@internal.auth.meet.example")
	c.Gateways = xmpp.MustJID("jigasibrewery@internal.auth.meet.example")
}

// record sends a request and returns the session id or the condition.
func (c *client) record(attrs string) (id, failure string) {
	c.w.t.Helper()
	s, err := c.port.Request(c.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, c.w.room.WithResource("focus"),
		`<jibri xmlns="http://jitsi.org/protocol/jibri" `+attrs+`/>`), 10*time.Minute)
	synctest.Wait()
	if err != nil {
		return "", cond(err)
	}
	if el := s.Child(jitmeet.NSJibri, "jibri"); el != nil {
		return jitmeet.ParseJibri(el).SessionID, ""
	}
	return "", ""
}

// shown takes the states of recordings that the focus has published since.
func (c *client) shown() string {
	var out []string
	for _, p := range c.presences("focus") {
		if el := p.Child(jitmeet.NSJibri, "jibri-recording-status"); el != nil {
			_, who, _ := strings.Cut(el.Get("initiator"), "/")
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", el.Get("recording_mode"), el.Get("status"), who, el.Get("failure_reason"))))
		}
		if el := p.Child(jitmeet.NSJibriCall, "jibri-sip-call-state"); el != nil {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", el.Get("sipaddress"), el.Get("state"), el.Get("failure_reason"))))
		}
	}
	return strings.Join(out, ", ")
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// A recording from the button to its end, with the presence that clients see.
func TestRecording(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		j := w.jibri(jibriBrewery, "jibri-1")
		a, b := w.two()
		a.shown()
		id, failure := a.record(`action="start" recording_mode="file" app_data="{&quot;file_recording_metadata&quot;:{&quot;share&quot;:true,&quot;initiator&quot;:{&quot;id&quot;:&quot;forged&quot;}}}"`)
		if len(id) != 36 || failure != "" {
			t.Fatal(id, failure)
		}
		asked := j.asked()
		if len(asked) != 1 {
			t.Fatal(asked)
		}
		meeting := w.bridge.meeting(t)
		el, err := xmpp.ParseElement(asked[0], xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := *jitmeet.ParseJibri(el), (jitmeet.Jibri{
			Action: "start", Mode: "file", Room: w.room.String(), SessionID: id, RTCStats: "true",
			AppData: `{"file_recording_metadata":{"conference_details":{"session_id":"` + meeting + `"},"share":true}}`,
		}); got != want {
			t.Errorf("asked %+v\nwant  %+v", got, want)
		}
		is(t, "pending is not shown", a.shown(), "")
		_, failure = a.record(`action="start" recording_mode="stream" streamid="k"`)
		is(t, "second start", failure, xmpp.CondUnexpectedRequest)
		j.tell("on", "", false)
		is(t, "on", b.shown(), "file on aaaaaaaa")
		if st := w.focus.Stats(); st.Recordings != 1 || st.Recording != [3]int64{focus.ToFile: 1} || st.Recorders != 1 || st.RecordersIdle != 0 {
			t.Errorf("%+v", st)
		}
		// Who comes later sees it, too.
		c := w.meet("cccccccc")
		is(t, "to who comes later", c.shown(), "file on aaaaaaaa")
		_, failure = b.record(`action="stop" recording_mode="file"`)
		is(t, "stop by who may not", failure, xmpp.CondNotAllowed)
		_, failure = a.record(`action="stop" recording_mode="file"`)
		is(t, "stop", failure, "")
		is(t, "off", c.shown(), "file off aaaaaaaa")
		if got := j.asked(); len(got) != 1 || !strings.Contains(got[0], `action="stop"`) || !strings.Contains(got[0], id) {
			t.Errorf("asked %v", got)
		}
		_, failure = a.record(`action="stop" recording_mode="file"`)
		is(t, "second stop", failure, xmpp.CondItemNotFound)
		// The same recorder serves the next one.
		time.Sleep(time.Second)
		if id2, failure := a.record(`action="START" recording_mode="stream" streamid="key" you_tube_broadcast_id="yt"`); id2 == "" || id2 == id {
			t.Error(failure)
		}
		if got := j.asked(); len(got) != 1 || !strings.Contains(got[0], `streamid="key" you_tube_broadcast_id="yt"`) || !strings.Contains(got[0], `recording_mode="stream"`) {
			t.Errorf("asked %v", got)
		}
		j.tell("on", "", false)
		j.tell("off", "", false) // it ends by itself
		is(t, "stream", b.shown(), "file off aaaaaaaa, stream on aaaaaaaa, stream off")
		if st := w.focus.Stats(); st.Recordings != 0 || st.RecordingFailures != [3]int64{} || st.Recording != [3]int64{} {
			t.Errorf("%+v", st)
		}
	})
}

// meeting is the id of the meeting that the bridge knows.
func (b *bridge) meeting(t *testing.T) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == "" {
		t.Fatal("no meeting id")
	}
	return b.last
}

// What is no request, and who may not make one.
func TestRecordingRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		a, b := w.two()
		for attrs, want := range map[string]string{
			`action="start" recording_mode="file"`:                          xmpp.CondServiceUnavailable, // there is none
			`action="start" recording_mode="stream"`:                        xmpp.CondBadRequest,
			`action="start"`:                                                xmpp.CondBadRequest,
			`action="start" recording_mode="file" streamid="x"`:             xmpp.CondBadRequest,
			`action="stop"`:                                                 xmpp.CondItemNotFound,
			`action="status"`:                                               xmpp.CondBadRequest,
			`recording_mode="file"`:                                         xmpp.CondBadRequest,
			`action="start" sipaddress="sip:x@y" displayname="Room"`:        xmpp.CondServiceUnavailable,
			`action="stop" sipaddress="sip:x@y"`:                            xmpp.CondItemNotFound,
			`status="on" action="" session_id="x" sipaddress="" room="r@c"`: xmpp.CondBadRequest,
		} {
			_, got := a.record(attrs)
			is(t, attrs, got, want)
			if _, got := b.record(attrs); got != xmpp.CondNotAllowed {
				t.Errorf("%s by who is no moderator: %q", attrs, got)
			}
		}
		j := w.jibri(jibriBrewery, "jibri-1")
		_, got := b.record(`action="start" recording_mode="file"`)
		is(t, "not a moderator", got, xmpp.CondNotAllowed)
		outsider := w.client("evil@meet.example", "eeeeeeee")
		if _, got := outsider.record(`action="start" recording_mode="file"`); got == "" {
			t.Error("an outsider records")
		}
		if got := j.asked(); len(got) != 0 {
			t.Error(got)
		}
		j.mu.Lock()
		j.busy = true
		j.mu.Unlock()
		j.show("")
		_, got = a.record(`action="start" recording_mode="file"`)
		is(t, "busy", got, xmpp.CondResourceConstraint)
		is(t, "shown", a.shown(), "")
	})
}

// Those that are busy, silent or broken are passed over.
func TestRecorderRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { recorders(c); c.RecordRetries = 3 })
		list := map[string]*jibri{}
		for _, n := range []string{"busy", "deaf", "broken", "good"} {
			list[n] = w.jibri(jibriBrewery, n)
		}
		list["busy"].busy, list["deaf"].deaf, list["broken"].broken = true, true, true // and say nothing of it
		a, _ := w.two()
		started := time.Now()
		id, failure := a.record(`action="start" recording_mode="file"`)
		if id == "" || time.Since(started) != 15*time.Second {
			t.Fatal(failure, time.Since(started))
		}
		for n, want := range map[string]int{"busy": 1, "deaf": 2, "broken": 1, "good": 1} { // the silent one is told to stop
			if got := list[n].asked(); len(got) != want {
				t.Errorf("%s was asked %v", n, got)
			}
		}
		// It does not get to record in time, and enough have been tried.
		time.Sleep(90 * time.Second)
		is(t, "shown", a.shown(), "file off  error")
		if got := list["good"].asked(); len(got) != 1 || !strings.Contains(got[0], "stop") {
			t.Errorf("asked %v", got)
		}
		if st := w.focus.Stats(); st.RecordingFailures != [3]int64{focus.ToFile: 1} || st.Recordings != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A running session goes on with another recorder, under its id.
func TestRecorderBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { recorders(c); c.RecordRetries = 2 })
		one := w.jibri(jibriBrewery, "one")
		a, b := w.two()
		id, _ := a.record(`action="start" recording_mode="file"`)
		one.tell("on", "", false)
		two := w.jibri(jibriBrewery, "two")
		b.shown()
		one.leave()
		if got := two.asked(); len(got) != 1 || !strings.Contains(got[0], id) {
			t.Fatalf("asked %v", got)
		}
		is(t, "while another takes over", b.shown(), "")
		two.tell("on", "", false)
		is(t, "on again", b.shown(), "") // LJM knows: the presence has not changed
		three := w.jibri(jibriBrewery, "three")
		two.tell("off", "error", true)
		if got := three.asked(); len(got) != 1 {
			t.Fatalf("asked %v", got)
		}
		three.tell("off", "error", true) // the last retry is used up
		is(t, "given up", b.shown(), "file off  error")
		// One that says that trying again is of no use.
		one = w.jibri2(one, "one")
		if id, failure := a.record(`action="start" recording_mode="file"`); id == "" {
			t.Fatal(failure)
		}
		for _, x := range []*jibri{one, two, three} {
			x.mu.Lock()
			works := x.boss != (xmpp.JID{}) && x.busy
			x.mu.Unlock()
			if works {
				x.tell("off", "error", false)
			}
		}
		is(t, "no use", b.shown(), "file off  error")
	})
}

// jibri2 lets one that left come back.
func (w *world) jibri2(j *jibri, name string) *jibri {
	j.port.Close()
	return w.jibri(jibriBrewery, name)
}

// News are taken only from the recorder at work, in its brewery.
func TestForgedRecorder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		j := w.jibri(jibriBrewery, "one")
		other := w.jibri(jibriBrewery, "two")
		a, b := w.two()
		a.shown()
		if id, failure := a.record(`action="start" recording_mode="file"`); id == "" {
			t.Fatal(failure)
		}
		a.shown()
		on := (&jitmeet.Jibri{Status: "on"}).String()
		ask := func(p *xmpp.LocalPort, to xmpp.JID) string {
			_, err := p.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, to, on), time.Minute)
			return cond(err)
		}
		account := xmpp.MustJID("focus@auth.meet.example/focus")
		is(t, "another recorder", ask(other.port, xmpp.MustJID(jibriBrewery+"/focus")), xmpp.CondItemNotFound)
		is(t, "a client to the account", ask(b.port, account), xmpp.CondServiceUnavailable)
		is(t, "a client to the occupant", ask(b.port, w.room.WithResource("focus")), xmpp.CondNotAllowed)
		if got := ask(b.port, xmpp.MustJID(jibriBrewery+"/focus")); got == "" {
			t.Error("a client in the brewery")
		}
		if got := ask(j.port, account); got == "" {
			t.Error("the recorder from outside its brewery")
		}
		is(t, "shown", a.shown(), "")
		j.tell("on", "", false)
		is(t, "shown", a.shown(), "file on aaaaaaaa")
	})
}

// Stopped before the recorder has answered; ended with the meeting.
func TestRecordingEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		j := w.jibri(jibriBrewery, "one")
		j.deaf = true
		a, b := w.two()
		a.shown()
		done := make(chan string, 1)
		start := xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, w.room.WithResource("focus"), `<jibri xmlns="http://jitsi.org/protocol/jibri" action="start" recording_mode="file"/>`)
		a.port.Go(start, time.Minute, func(s *xmpp.Stanza, err error) {
			if err != nil {
				done <- err.Error()
				return
			}
			done <- jitmeet.ParseJibri(s.Child(jitmeet.NSJibri, "jibri")).SessionID
		})
		synctest.Wait()
		_, failure := a.record(`action="stop" recording_mode="file"`)
		is(t, "stop", failure, "")
		if id := <-done; len(id) != 36 {
			t.Error(id)
		}
		is(t, "shown", b.shown(), "file off aaaaaaaa")
		if got := j.asked(); len(got) != 2 || !strings.Contains(got[1], "stop") {
			t.Errorf("asked %v", got)
		}
		time.Sleep(time.Minute)
		is(t, "shown", b.shown(), "")
		j.mu.Lock()
		j.deaf, j.busy = false, false
		j.mu.Unlock()
		j.show("")
		if id, failure := a.record(`action="start" recording_mode="file"`); id == "" {
			t.Fatal(failure)
		}
		j.tell("on", "", false)
		j.asked()
		a.leave()
		b.leave()
		if got := j.asked(); len(got) != 1 || !strings.Contains(got[0], "stop") {
			t.Errorf("asked %v when the meeting ended", got)
		}
		if st := w.focus.Stats(); st.Recordings != 0 || st.Conferences != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A SIP device is called by recorders of its own brewery, beside a recording.
func TestSIPDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		rec := w.jibri(jibriBrewery, "rec")
		sip := w.jibri("sipjibribrewery@internal.auth.meet.example", "sip")
		a, b := w.two()
		if id, failure := a.record(`action="start" recording_mode="file"`); id == "" {
			t.Fatal(failure)
		}
		if id, failure := a.record(`action="start" sipaddress="sip:room@pbx" displayname="Room"`); id == "" {
			t.Fatal(failure)
		}
		if got := sip.asked(); len(got) != 1 || !strings.Contains(got[0], `displayname="Room" sipaddress="sip:room@pbx"`) || len(rec.asked()) != 1 {
			t.Errorf("asked %v", got)
		}
		_, failure := a.record(`action="start" sipaddress="sip:room@pbx"`)
		is(t, "the same again", failure, xmpp.CondUnexpectedRequest)
		_, failure = a.record(`action="start" sipaddress="sip:other@pbx"`)
		is(t, "another", failure, xmpp.CondResourceConstraint)
		b.shown()
		sip.tell("on", "", false)
		is(t, "shown", b.shown(), "sip:room@pbx on")
		_, failure = a.record(`action="stop" sipaddress="sip:room@pbx"`)
		is(t, "stop", failure, "")
		is(t, "shown", b.shown(), "sip:room@pbx off")
		rec.tell("on", "", false)
		is(t, "shown", b.shown(), "file on aaaaaaaa, sip:room@pbx off")
	})
}
