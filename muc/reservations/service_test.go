package reservations

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"confab/muc"
	"confab/xmpp"
)

var standup = xmpp.MustJID("standup@conference.meet.example")

// desk is a booking service: it tells what it is asked and answers by a function.
type desk struct {
	mu     sync.Mutex
	asked  []string
	answer func(w http.ResponseWriter, r *http.Request)
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.asked = append(d.asked, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
	f := d.answer
	d.mu.Unlock()
	if f != nil {
		f(w, r)
	}
}

func (d *desk) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.asked
	d.asked = nil
	return out
}

func (d *desk) answering(code int, body string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// world is a service before a desk.
type world struct {
	t    *testing.T
	s    *Service
	desk *desk

	mu        sync.Mutex
	destroyed []string
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, desk: &desk{}}
	srv := httptest.NewServer(w.desk)
	t.Cleanup(srv.Close)
	cfg := DefaultConfig()
	cfg.URL, cfg.Headers = srv.URL+"/booking/", map[string]string{"Authorization": "Bearer xyz"}
	cfg.Timeout, cfg.RetryDelay, cfg.Sweep = time.Minute, time.Millisecond, time.Hour
	cfg.Name = func(j xmpp.JID) (string, bool) { return j.Local, j.Domain == standup.Domain }
	cfg.Refusal = func(code int, text string) *xmpp.StanzaError {
		return xmpp.ServiceUnavailable(fmt.Sprint(code, " ", text))
	}
	cfg.Destroy = func(_ context.Context, room xmpp.JID, reason string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.destroyed = append(w.destroyed, room.String()+" "+reason)
		return nil
	}
	if change != nil {
		change(&cfg)
	}
	w.s = NewService(cfg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// ask is a request for a room; the result is "" when it may be opened.
func (w *world) ask(room xmpp.JID) string {
	w.t.Helper()
	ch := make(chan *xmpp.StanzaError, 1)
	w.s.Admit(room, xmpp.MustJID("u1@meet.example"), func(e *xmpp.StanzaError) { ch <- e })
	select {
	case e := <-ch:
		if e == nil {
			return ""
		}
		return e.Text
	case <-time.After(2 * time.Minute):
		w.t.Fatal("no answer")
		return ""
	}
}

func booked(start time.Time, more string) string {
	return `{"id":"b/1","name":"Standup","mail_owner":"u1@meet.example","start_time":"` +
		start.UTC().Format("2006-01-02T15:04:05.000Z") + `","duration":3600` + more + `}`
}

func TestBooked(t *testing.T) {
	w := newWorld(t, nil)
	w.desk.answering(201, booked(time.Now(), `,"max_occupants":12,"password":"s3cret","lobby":true`))
	if got := w.ask(standup); got != "" {
		t.Fatal(got)
	}
	list := w.desk.requests()
	if len(list) != 1 {
		t.Fatal(list)
	}
	method, form, _ := strings.Cut(list[0], " /booking/conference ")
	v, err := url.ParseQuery(form)
	at, terr := time.Parse("2006-01-02T15:04:05.000Z", v.Get("start_time"))
	if method != "POST" || err != nil || v.Get("name") != "standup" || v.Get("mail_owner") != "u1@meet.example" ||
		len(v) != 3 || terr != nil || time.Since(at) > time.Minute {
		t.Errorf("asked %q", list)
	}
	want := muc.RoomPolicy{MaxOccupants: 12, Password: "s3cret", Lobby: true, FromBooking: true}
	if got := w.s.Policy(standup); got.MaxOccupants != want.MaxOccupants || got.Password != want.Password || !got.Lobby || !got.FromBooking {
		t.Errorf("policy %+v", got)
	}
	if got := w.ask(standup); got != "" || len(w.desk.requests()) != 0 {
		t.Errorf("asked again: %q", got)
	}
	// The meeting begins and ends: the booking service is told, and asked anew.
	room := w.open(standup)
	room.Ended(nil)
	w.settle()
	if got := w.desk.requests(); len(got) != 1 || got[0] != "DELETE /booking/conference/b%2F1 " {
		t.Errorf("%q", got)
	}
	w.desk.answering(403, `{"message":"No"}`)
	if got := w.ask(standup); got != "403 No" {
		t.Error(got)
	}
	if got := w.s.Policy(standup); got.Password != "" {
		t.Errorf("policy outlives the booking: %+v", got)
	}
}

// open is what the room does when it is made.
func (w *world) open(j xmpp.JID) *roomService {
	w.s.opened(j)
	return &roomService{w.s, j}
}

// settle waits for the requests under way.
func (w *world) settle() { w.s.wg.Wait() }

func TestAnswers(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		code int
		body string
		want string
		n    int // requests
	}{
		"booked":               {200, booked(now, ""), "", 1},
		"numbers as strings":   {200, strings.Replace(booked(now, `,"max_occupants":"5"`), "3600", `"3600"`, 1), "", 1},
		"number as id":         {200, strings.Replace(booked(now, ""), `"b/1"`, "17", 1), "", 1},
		"zone":                 {200, strings.Replace(booked(now, ""), `Z"`, `+00"`, 1), "", 1},
		"no lobby":             {200, booked(now, `,"lobby":"no","password":null,"max_occupants":null`), "", 1},
		"over":                 {200, booked(now.Add(-2*time.Hour), ""), "419 Reservation expired", 1},
		"other name":           {200, strings.Replace(booked(now, ""), "Standup", "other", 1), "500 Invalid response from reservation server", 1},
		"no id":                {200, strings.Replace(booked(now, ""), `"id":"b/1",`, "", 1), "500 Invalid response from reservation server", 1},
		"object as id":         {200, strings.Replace(booked(now, ""), `"b/1"`, "{}", 1), "500 Invalid response from reservation server", 1},
		"no owner":             {200, strings.Replace(booked(now, ""), `"mail_owner":"u1@meet.example",`, "", 1), "500 Invalid response from reservation server", 1},
		"no duration":          {200, strings.Replace(booked(now, ""), `"duration":3600`, `"x":1`, 1), "500 Invalid response from reservation server", 1},
		"endless":              {200, strings.Replace(booked(now, ""), "3600", "1e300", 1), "500 Invalid response from reservation server", 1},
		"not a number":         {200, strings.Replace(booked(now, ""), "3600", `"NaN"`, 1), "500 Invalid response from reservation server", 1},
		"bad start":            {200, strings.Replace(booked(now, ""), `Z"`, `"`, 1), "500 Invalid response from reservation server", 1},
		"nobody fits":          {200, booked(now, `,"max_occupants":0`), "500 Invalid response from reservation server", 1},
		"password is number":   {200, booked(now, `,"password":1234`), "500 Invalid response from reservation server", 1},
		"password unprintable": {200, booked(now, `,"password":"a\u0001"`), "500 Invalid response from reservation server", 1},
		"no JSON":              {200, "booked!", "500 Invalid response from reservation server", 1},
		"endless body":         {200, `{"id":"` + strings.Repeat("x", 1<<20) + `"}`, "500 Invalid response from reservation server", 1},
		"refused":              {403, `{"message":"Room is \u0000booked\ud800"}`, "403 Room is booked\ufffd", 1},
		"refused, long":        {403, `{"message":"` + strings.Repeat("é", 5000) + `"}`, "403 " + strings.Repeat("é", 500), 1},
		"refused in silence":   {404, "", "404 Rejected by reservation server", 1},
		"redirected":           {302, "", "302 Rejected by reservation server", 1},
		"conflict without id":  {409, `{}`, "409 Invalid response from reservation server", 1},
		"broken":               {503, `{"message":"later"}`, "503 later", 4},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.desk.answering(c.code, c.body)
			if got := w.ask(standup); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := w.desk.requests(); len(got) != c.n {
				t.Errorf("%d requests: %q", len(got), got)
			}
			if refused, known := c.want != "" && !strings.HasPrefix(c.want, "419"), w.s.Policy(standup).FromBooking; refused == known {
				t.Errorf("policy is there: %v", known)
			}
		})
	}
}

func TestConflict(t *testing.T) {
	for name, c := range map[string]struct {
		code       int
		body, want string
	}{
		"booked before": {200, booked(time.Now(), `,"max_occupants":3`), ""},
		"gone":          {404, `{"message":"gone"}`, "404 gone"},
		"nonsense":      {200, `[]`, "500 Invalid response from reservation server"},
		"again":         {409, `{"conflict_id":2}`, "409 Rejected by reservation server"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.desk.answer = func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					rw.WriteHeader(409)
					_, _ = io.WriteString(rw, `{"conflict_id":"../7"}`)
					return
				}
				rw.WriteHeader(c.code)
				_, _ = io.WriteString(rw, c.body)
			}
			if got := w.ask(standup); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := w.desk.requests(); len(got) != 2 || got[1] != "GET /booking/conference/..%2F7 " {
				t.Errorf("%q", got)
			}
		})
	}
}

// A failure passes, and the next try works.
func TestRetry(t *testing.T) {
	w := newWorld(t, nil)
	n := 0
	w.desk.answer = func(rw http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		if r.Header.Get("Authorization") != "Bearer xyz" {
			rw.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(rw, booked(time.Now(), ""))
	}
	if got := w.ask(standup); got != "" {
		t.Error(got)
	}
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.URL = "http://127.0.0.1:1" })
	if got := w.ask(standup); got != "500 Could not contact reservation server" {
		t.Error(got)
	}
}

// A mistake of ours while the service is asked is a refusal; later questions are asked.
func TestPanicIsARefusal(t *testing.T) {
	w := newWorld(t, nil)
	real := w.s.client.Transport
	w.s.client.Transport = broken{}
	if got := w.ask(standup); got != "500 Failed to determine reservation state" || w.s.Guard().Panics() != 1 {
		t.Errorf("%s, %d panics", got, w.s.Guard().Panics())
	}
	w.s.client.Transport = real
	w.desk.answering(http.StatusForbidden, `{"message":"not you"}`)
	if got := w.ask(xmpp.MustJID("retro@conference.meet.example")); got != "403 not you" {
		t.Error(got)
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

// A booking service that hangs is not asked twice, and all who wait are answered.
func TestHanging(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeout, c.MaxWaiting = 2*time.Second, 2 })
	asked := make(chan struct{})
	w.desk.answer = func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}
	answers := make(chan string, 3)
	admit := func() { w.s.Admit(standup, xmpp.JID{}, func(e *xmpp.StanzaError) { answers <- e.Text }) }
	admit()
	<-asked
	admit()
	admit() // one too many: at once
	if got := <-answers; got != "500 Failed to determine reservation state" {
		t.Error(got)
	}
	for range 2 {
		if got := <-answers; got != "500 Reservation lookup timed out" {
			t.Error(got)
		}
	}
	if n := len(w.desk.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// The end of the server answers who waits.
func TestShutdown(t *testing.T) {
	w := newWorld(t, nil)
	asked := make(chan struct{})
	w.desk.answer = func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}
	got := make(chan string, 1)
	w.s.Admit(standup, xmpp.JID{}, func(e *xmpp.StanzaError) { got <- e.Text })
	<-asked
	w.s.cancel()
	if text := <-got; text != "500 Could not contact reservation server" {
		t.Error(text)
	}
}

// A refusal stands for a while, so that clients that try again all learn it.
func TestRefusalIsKept(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Keep = time.Hour })
	w.desk.answering(403, "")
	for range 3 {
		if got := w.ask(standup); got != "403 Rejected by reservation server" {
			t.Error(got)
		}
	}
	if n := len(w.desk.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	again := newWorldLike(t, w, 0)
	for range 2 {
		again.ask(standup)
	}
	if n := len(w.desk.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func newWorldLike(t *testing.T, w *world, keep time.Duration) *world {
	cfg := *w.s.cfg.Load()
	cfg.Keep = keep
	return &world{t: t, desk: w.desk, s: NewService(cfg, w.s.log)}
}

// Rooms end with their booking; a booking that nobody used is forgotten.
func TestExpiry(t *testing.T) {
	w := newWorld(t, nil)
	w.desk.answering(200, booked(time.Now(), ""))
	if got := w.ask(standup); got != "" {
		t.Fatal(got)
	}
	room := w.open(standup)
	w.s.sweep(t.Context(), time.Now().Add(59*time.Minute))
	if len(w.destroyed) != 0 {
		t.Error("ended too early")
	}
	w.s.sweep(t.Context(), time.Now().Add(61*time.Minute))
	if len(w.destroyed) != 1 || w.destroyed[0] != "standup@conference.meet.example Scheduled conference duration exceeded." {
		t.Errorf("%q", w.destroyed)
	}
	room.Ended(nil)
	w.settle()
	if got := w.desk.requests(); len(got) != 2 || !strings.HasPrefix(got[1], "DELETE ") {
		t.Errorf("%q", got)
	}
	w.ask(standup)
	w.s.sweep(t.Context(), time.Now().Add(61*time.Minute))
	if len(w.destroyed) != 1 || len(w.s.bookings) != 0 {
		t.Errorf("%q, %d bookings", w.destroyed, len(w.s.bookings))
	}
}

// A breakout room needs no booking of its own.
func TestOtherRooms(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.ask(xmpp.MustJID("x@breakout.meet.example")); got != "" || len(w.desk.requests()) != 0 {
		t.Error(got)
	}
}

// Strangers can't make the server ask for more rooms at once than it may.
func TestTooMany(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxPending = 1 })
	asked, done := make(chan struct{}), make(chan struct{})
	w.desk.answer = func(http.ResponseWriter, *http.Request) { close(asked); <-done }
	w.s.Admit(standup, xmpp.JID{}, func(*xmpp.StanzaError) {})
	<-asked
	if got := w.ask(xmpp.MustJID("other@conference.meet.example")); got != "500 Failed to determine reservation state" {
		t.Error(got)
	}
	close(done)
}

// Nothing that a booking service says makes the parser panic, or a booking that
// can't be used.
func FuzzParse(f *testing.F) {
	f.Add([]byte(booked(time.Unix(1e9, 0), `,"max_occupants":"7","lobby":true,"password":"x"`)))
	f.Add([]byte(`{"conflict_id":7,"message":"a"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if text := message(body); text == "" || len(text) > maxText || clean(text) != text {
			t.Errorf("message %q", text)
		}
		if id := conflictID(body); len(id) > maxID {
			t.Errorf("id of %d bytes", len(id))
		}
		res, err := parse(body, "standup")
		if err != nil {
			return
		}
		if res.id == "" || res.duration < 0 || res.duration > maxDuration || res.maxOccupants < 0 || len(res.password) > maxPassword {
			t.Errorf("%+v", res)
		}
	})
}
