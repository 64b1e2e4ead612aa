package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// site is a queue behind a web server.
type site struct {
	*Queue
	t   *testing.T
	url string
	ctx context.Context
}

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	t.Parallel()
	cfg := Config{
		Max: 10, JoinRate: 1, Log: slog.New(slog.DiscardHandler),
		Room: func(name string) (string, bool) {
			name = strings.ToLower(name)
			return name, strings.HasSuffix(name, "@conference.meet.test")
		},
	}
	if change != nil {
		change(&cfg)
	}
	q := New(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	srv := httptest.NewServer(q)
	done := make(chan struct{})
	run, stop := context.WithCancel(context.Background())
	go func() { defer close(done); _ = q.Run(run) }()
	t.Cleanup(func() {
		stop()
		<-done
		srv.Close()
		cancel()
	})
	return &site{q, t, "ws" + strings.TrimPrefix(srv.URL, "http") + "/visitor/websocket", ctx}
}

type peer struct {
	s    *site
	conn *websocket.Conn
}

func (s *site) dial() *peer {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.ctx, s.url, &websocket.DialOptions{Subprotocols: []string{"v12.stomp", "v11.stomp", "v10.stomp"}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	if conn.Subprotocol() != "v12.stomp" {
		s.t.Error(conn.Subprotocol())
	}
	return &peer{s, conn}
}

// send writes a frame as stompjs with forceBinaryWSFrames does.
func (p *peer) send(f string) {
	p.s.t.Helper()
	if err := p.conn.Write(p.s.ctx, websocket.MessageBinary, []byte(f)); err != nil {
		p.s.t.Fatal(err)
	}
}

func (p *peer) receive() frame {
	p.s.t.Helper()
	_, b, err := p.conn.Read(p.s.ctx)
	if err != nil {
		p.s.t.Fatal(err)
	}
	f, ok, err := parseFrame(b)
	if !ok || err != nil {
		p.s.t.Fatalf("%q", b)
	}
	return f
}

func (p *peer) expectClosed() {
	p.s.t.Helper()
	if _, b, err := p.conn.Read(p.s.ctx); err == nil || p.s.ctx.Err() != nil {
		p.s.t.Fatalf("%q, %v", b, err)
	}
}

// subscribe is what the app sends when its connection is open.
func (s *site) subscribe(topic string) *peer {
	s.t.Helper()
	p := s.dial()
	p.send("CONNECT\nAuthorization:Bearer a:b\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\x00")
	if f := p.receive(); f.command != "CONNECTED" || f.get("version") != "1.2" || f.get("heart-beat") != "0,20000" {
		s.t.Fatalf("%+v", f)
	}
	p.send("SUBSCRIBE\nid:sub-0\ndestination:" + topic + "\n\n\x00")
	return p
}

// message is the body of the next frame, which must be one of the subscription.
func (p *peer) message() map[string]any {
	p.s.t.Helper()
	f := p.receive()
	out := map[string]any{}
	if f.command != "MESSAGE" || f.get("subscription") != "sub-0" || json.Unmarshal([]byte(f.body), &out) != nil {
		p.s.t.Fatalf("%+v", f)
	}
	return out
}

const (
	visitorsOf = "/secured/conference/visitor/topic.Standup@conference.meet.test"
	stateOf    = "/secured/conference/state/topic.standup@conference.meet.test"
)

// A mistake of ours ends the connection that it was met on, and no other.
func TestPanicTakesOneConnection(t *testing.T) {
	s := newSite(t, func(cfg *Config) {
		room := cfg.Room
		cfg.Room = func(name string) (string, bool) {
			if strings.HasPrefix(name, "boom@") {
				panic("a bug")
			}
			return room(name)
		}
	})
	mod := s.subscribe(stateOf)
	if m := mod.message(); m["visitorsWaiting"] != 0.0 {
		t.Fatal(m)
	}
	s.subscribe("/secured/conference/visitor/topic.boom@conference.meet.test").expectClosed()
	if n := s.Guard().Panics(); n != 1 {
		t.Errorf("%d panics", n)
	}
	s.subscribe(visitorsOf)
	if m := mod.message(); m["visitorsWaiting"] != 1.0 {
		t.Error(m)
	}
}

func TestQueue(t *testing.T) {
	s := newSite(t, nil)
	mod := s.subscribe(stateOf)
	if m := mod.message(); m["visitorsWaiting"] != 0.0 {
		t.Fatal(m)
	}
	var waiting []*peer
	for range 3 {
		waiting = append(waiting, s.subscribe(visitorsOf))
	}
	// In time the moderator knows all.
	for m := mod.message(); m["visitorsWaiting"] != 3.0; m = mod.message() {
	}
	s.Live("other@conference.meet.test", true)
	waiting[0].send("\n") // a heart-beat
	waiting[0].send("UNSUBSCRIBE\nid:sub-0\nreceipt:r:1\n\n\x00")
	if f := waiting[0].receive(); f.command != "RECEIPT" || f.get("receipt-id") != "r:1" {
		t.Fatalf("%+v", f)
	}
	for m := mod.message(); m["visitorsWaiting"] != 2.0; m = mod.message() {
	}
	s.Live("standup@conference.meet.test", true)
	for _, p := range waiting[1:] {
		if m := p.message(); m["status"] != "live" || m["randomDelayMs"] != 2000.0 || m["conference"] != "standup@conference.meet.test" {
			t.Fatal(m)
		}
	}
	late := s.subscribe(visitorsOf)
	if m := late.message(); m["status"] != "live" || m["randomDelayMs"] != 3000.0 { // three at one a second
		t.Fatal(m)
	}
	waiting[1].send("DISCONNECT\nreceipt:bye\n\n\x00")
	if f := waiting[1].receive(); f.command != "RECEIPT" || f.get("receipt-id") != "bye" {
		t.Fatalf("%+v", f)
	}
	waiting[1].expectClosed()
	// No longer live: whoever comes now waits.
	s.Live("standup@conference.meet.test", false)
	next := s.subscribe(visitorsOf)
	s.Live("standup@conference.meet.test", true)
	if m := next.message(); m["status"] != "live" {
		t.Fatal(m)
	}
}

func TestHostile(t *testing.T) {
	s := newSite(t, nil)
	for name, frames := range map[string][]string{
		"no connect":     {"SUBSCRIBE\nid:a\ndestination:" + visitorsOf + "\n\n\x00"},
		"garbage":        {"\x01\x02"},
		"no blank line":  {"CONNECT\nx:y"},
		"no colon":       {"CONNECT\nx\n\n\x00"},
		"twice":          {"CONNECT\n\n\x00", "CONNECT\n\n\x00"},
		"sends":          {"CONNECT\n\n\x00", "SEND\ndestination:" + stateOf + "\n\n{\"visitorsWaiting\":0}\x00"},
		"other topic":    {"CONNECT\n\n\x00", "SUBSCRIBE\nid:a\ndestination:/secured/conference/visitors-list/topic/x\n\n\x00"},
		"other server":   {"CONNECT\n\n\x00", "SUBSCRIBE\nid:a\ndestination:/secured/conference/visitor/topic.r@elsewhere\n\n\x00"},
		"without an id":  {"CONNECT\n\n\x00", "SUBSCRIBE\ndestination:" + visitorsOf + "\n\n\x00"},
		"a second topic": {"CONNECT\n\n\x00", "SUBSCRIBE\nid:a\ndestination:" + visitorsOf + "\n\n\x00", "SUBSCRIBE\nid:b\ndestination:" + stateOf + "\n\n\x00"},
		"many headers":   {"CONNECT\n" + strings.Repeat("a:b\n", 40) + "\n\x00"},
	} {
		p := s.dial()
		for _, f := range frames {
			p.send(f)
		}
		for f := p.receive(); f.command != "ERROR"; f = p.receive() {
			if f.command != "CONNECTED" {
				t.Fatalf("%s: %+v", name, f)
			}
		}
		p.expectClosed()
	}
	p := s.dial()
	p.send("CONNECT\nAuthorization:" + strings.Repeat("x", frameBytes) + "\n\n\x00")
	p.expectClosed()
	if s.Waiting() != 0 {
		t.Error(s.Waiting())
	}
}

func TestFull(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Max = 2 })
	a, b := s.subscribe(visitorsOf), s.subscribe(visitorsOf)
	if _, resp, err := websocket.Dial(s.ctx, s.url, nil); err == nil || resp.StatusCode != 503 {
		t.Fatal(err)
	}
	a.send("DISCONNECT\n\n\x00")
	a.expectClosed()
	s.Live("standup@conference.meet.test", true)
	b.message()
}

// FuzzFrame: what is read is written the same way again.
func FuzzFrame(f *testing.F) {
	for _, s := range []string{"CONNECT\na:b\n\n\x00", "SUBSCRIBE\r\nid:\\c\\n\\\\\r\n\r\nbody\x00", "\n", "", "X\n\n", "MESSAGE\na:\n\n\x00\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok, err := parseFrame(b)
		if err != nil || !ok {
			return
		}
		if strings.Contains(got.command, "\n") || got.command == "CONNECT" || got.command == "CONNECTED" || strings.Contains(got.command, "\r") {
			return
		}
		var kv []string
		for _, h := range got.headers {
			if strings.Contains(h[0], "\r") || strings.Contains(h[1], "\r") {
				return // a lone carriage return is no line's end
			}
			kv = append(kv, h[0], h[1])
		}
		if strings.Contains(got.body, "\r") {
			return
		}
		again, ok, err := parseFrame(encode(got.command, got.body, kv...))
		if err != nil || !ok || again.command != got.command || again.body != got.body || len(again.headers) != len(got.headers) {
			t.Fatalf("%q: %+v, %+v, %v", b, got, again, err)
		}
		for i := range got.headers {
			if again.headers[i] != got.headers[i] {
				t.Fatalf("%q: %q became %q", b, got.headers[i], again.headers[i])
			}
		}
	})
}
