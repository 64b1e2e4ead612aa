package focus_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"confab/focus"
	"confab/xmpp"
)

// desk is an Admission that tells what it was asked and answers when a test says so.
type desk struct {
	mu     sync.Mutex
	asked  []string
	answer []func(*xmpp.StanzaError)
}

func (d *desk) Admit(room, who xmpp.JID, answer func(*xmpp.StanzaError)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, room.String()+" "+who.String())
	d.answer = append(d.answer, answer)
}

func (d *desk) say(err *xmpp.StanzaError) {
	d.mu.Lock()
	list := d.answer
	d.answer = nil
	d.mu.Unlock()
	for _, f := range list {
		f(err)
	}
}

func (d *desk) questions() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.asked, ", ")
}

// A room is opened when the booking service has said so, for requests by XMPP and
// by HTTP alike.
func TestAdmission(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, func(c *focus.Config) { c.Admission, c.AdmissionTimeout = d, 30*time.Second })
		a := w.client("u1@meet.example", "aaaaaaaa")
		go func() { time.Sleep(20 * time.Second); d.say(focus.NotReserved(409, "Room is booked")) }()
		_, se := a.request(`machine-uid="m"`)
		want := `<error type="cancel"><service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>` +
			`<text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">Room is booked</text>` +
			`<reservation-error xmlns="http://jitsi.org/protocol/focus" error-code="409"/></error>`
		if se == nil || se.Inner() != want {
			t.Errorf("refused: %v", se)
		}
		post := func() *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/conference-request/v1", strings.NewReader(`{"room":"standup@conference.meet.example"}`)))
			return rec
		}
		go func() { time.Sleep(20 * time.Second); d.say(focus.NotReserved(403, "Room is booked")) }()
		if rec := post(); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "Room is booked") {
			t.Errorf("refused by HTTP: %d %s", rec.Code, rec.Body)
		}
		if n := w.focus.Stats(); n.Conferences != 0 || n.RequestsDenied != 2 {
			t.Errorf("%+v", n)
		}
		go func() { time.Sleep(20 * time.Second); d.say(nil) }()
		if rec := post(); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"ready":true`) {
			t.Errorf("admitted by HTTP: %d %s", rec.Code, rec.Body)
		}
		// The room is open now: nobody is asked for the next ones.
		if r, se := a.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Errorf("open room: %v", se)
		}
		const room = "standup@conference.meet.example "
		if got := d.questions(); got != room+"u1@meet.example, "+room+", "+room {
			t.Errorf("asked %q", got)
		}
	})
}

// A guest who may not open rooms does not reach the booking service.
func TestAdmissionOfHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, func(c *focus.Config) {
			requireHost(c)
			c.Admission = d
		})
		if _, se := w.client("u1@guest.meet.example", "aaaaaaaa").request(`machine-uid="m"`); se == nil || se.Cond != xmpp.CondNotAuthorized {
			t.Errorf("guest: %v", se)
		}
		if got := d.questions(); got != "" {
			t.Errorf("asked %q", got)
		}
		go func() { time.Sleep(time.Second); d.say(nil) }()
		if r, se := w.client("alice@meet.example", "x").request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Errorf("host: %v", se)
		}
		if got := d.questions(); got != "standup@conference.meet.example alice@meet.example" {
			t.Errorf("asked %q", got)
		}
	})
}
