package whiteboard

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// TestBoard is the table of room-services.md §6.10, with a client of each protocol.
func TestBoard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	a := w.join(3, "p1", "room")
	a.want(`42["first-in-room"]`, list(a))
	b := w.join(4, "p1", "room")
	b.want(list(a, b))
	a.want(`42["new-user","`+b.id+`"]`, list(a, b))
	c := w.join(4, "p1", "room")
	c.want(list(a, b, c))
	a.want(`42["new-user","`+c.id+`"]`, list(a, b, c))
	b.want(`42["new-user","`+c.id+`"]`, list(a, b, c))

	a.draw("server-broadcast", "room", "from a\x00\xff")
	b.drawn("from a\x00\xff")
	c.drawn("from a\x00\xff")
	b.draw("server-volatile-broadcast", "room", "cursor")
	a.drawn("cursor")
	c.drawn("cursor")

	// What isn't for this board, or can't be read by others, goes nowhere.
	b.draw("server-broadcast", "other", "x")
	b.send(`42["server-broadcast","room","text","iv"]`)
	b.send(`451-["server-broadcast","room",{"_placeholder":true,"num":0},"iv"]`)
	b.sendBytes("x")
	b.send(`452-["server-broadcast","room",{"_placeholder":true,"num":7},{"_placeholder":true,"num":0}]`)
	b.sendBytes("x")
	b.sendBytes("y")
	b.send(`42["client-broadcast","room"]`)
	b.send(`42["join-room",7]`)
	b.send(`42["user-follow",7]`)
	b.send(`40/admin,`)
	b.want(`44/admin,{"message":"Invalid namespace"}`)
	b.draw("server-broadcast", "room", "next")
	a.drawn("next")
	c.drawn("next")

	// Following (excalidraw 0.17 and later).
	c.send(`42["user-follow",{"userToFollow":{"socketId":"` + a.id + `","username":"Ann"},"action":"FOLLOW"}]`)
	a.want(`42["user-follow-room-change",["` + c.id + `"]]`)
	a.draw("server-volatile-broadcast", "follow@"+a.id, "bounds")
	c.drawn("bounds")
	b.draw("server-volatile-broadcast", "follow@"+a.id, "forged")
	c.ws.CloseNow()
	a.want(list(a, b), `42["broadcast-unfollow"]`)
	b.want(list(a, b))
	b.send("41")
	b.ended()
	a.want(list(a))
}

// TestPolling is the other transport, and the change to a WebSocket.
func TestPolling(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	for _, version := range []int{3, 4} {
		t.Run(fmt.Sprint("EIO=", version), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testLimits)
			other := w.join(4, "p1", "room")
			other.want(`42["first-in-room"]`, list(other))
			base := fmt.Sprintf("EIO=%d&transport=polling&room=p1", version)
			status, body := w.do("GET", base, "", "")
			packets, err := decodePayload(version, false, []byte(body))
			if status != 200 || err != nil || len(packets) != 1 || packets[0].typ != '0' {
				t.Fatal(status, body, err)
			}
			var open struct {
				SID      string
				Upgrades []string
			}
			if json.Unmarshal([]byte(packets[0].text), &open) != nil || fmt.Sprint(open.Upgrades) != "[websocket]" {
				t.Fatal(body)
			}
			base += "&sid=" + open.SID
			post := func(packets ...packet) {
				t.Helper()
				if status, body := w.do("POST", base, "text/plain;charset=UTF-8", string(encodePayload(version, packets))); status != 200 || body != "ok" {
					t.Fatal(status, body)
				}
			}
			var got []packet
			next := func() packet {
				t.Helper()
				for len(got) == 0 {
					status, body := w.do("GET", base, "", "")
					if status != 200 {
						t.Fatal(status, body)
					}
					if got, err = decodePayload(version, false, []byte(body)); err != nil {
						t.Fatalf("%v %q", err, body)
					}
				}
				p := got[0]
				got = got[1:]
				return p
			}
			text := func(s string) packet { return packet{typ: '4', text: s} }
			want := func(s string) {
				t.Helper()
				if p := next(); p.typ != '4' || p.text != s {
					t.Fatalf("%c%s instead of %s", p.typ, p.text, s)
				}
			}
			me := &client{id: open.SID}
			if version == 4 {
				post(text("0"))
				p := next()
				if _, err := fmt.Sscanf(p.text, `0{"sid":%q}`, &me.id); err != nil {
					t.Fatal(p.text, err)
				}
			} else {
				want("0")
			}
			want(`2["init-room"]`)
			post(text(`2["join-room","room"]`))
			want(strings.TrimPrefix(list(other, me), "4"))
			other.want(`42["new-user","`+me.id+`"]`, list(other, me))
			other.draw("server-broadcast", "room", "für alle")
			want(strings.TrimPrefix(drawn, "4"))
			if p := next(); !p.binary || string(p.bin) != "für alle" {
				t.Fatalf("%+v", p)
			}
			next()
			bin := func(s string) packet { return packet{typ: '4', bin: []byte(s), binary: true} }
			head := text(`52-["server-broadcast","room",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
			post(head, bin("one"), bin("iv"))
			other.drawn("one")
			if version == 3 {
				// As browsers send it.
				raw := "\x00" + digits(len(head.text)+1) + "\xff4" + head.text + "\x01\x04\xff\x04two\x01\x03\xff\x04iv"
				if status, body := w.do("POST", base, "application/octet-stream", raw); status != 200 {
					t.Fatal(status, body)
				}
				other.drawn("two")
				post(packet{typ: '2'})
				if p := next(); p.typ != '3' {
					t.Fatalf("%+v", p)
				}
			} else if status, _ := w.do("POST", base, "text/plain", "4"+head.text+"\x1eb"+b64([]byte("two"))+"\x1eb"+b64([]byte("iv"))); status != 200 {
				t.Fatal(status)
			} else {
				other.drawn("two")
			}

			// Somebody else with the same id, by another address, has no such session.
			r := httptest.NewRequest("GET", "/socket.io/?"+base, nil)
			r.RemoteAddr = "198.51.100.7:1000"
			rec := httptest.NewRecorder()
			w.rl.ServeHTTP(rec, r)
			if rec.Code != 400 {
				t.Error(rec.Code)
			}

			ws, _, err := websocket.Dial(w.ctx, w.srv.URL+"/socket.io/?"+strings.Replace(base, "polling", "websocket", 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			me.w, me.version, me.ws = w, version, ws
			me.send("2probe")
			me.want("3probe")
			if p := next(); p.typ != '6' {
				t.Fatalf("a poll while the client changes over: %+v", p)
			}
			other.draw("server-broadcast", "room", "between")
			me.send("5")
			me.drawn("between")
			me.draw("server-broadcast", "room", "by socket")
			other.drawn("by socket")
			for _, verb := range []string{"GET", "POST"} {
				if status, _ := w.do(verb, base, "text/plain", "2"); status != 400 {
					t.Error(verb, "after the change:", status)
				}
			}
			me.send("1")
			other.want(list(other))
		})
	}
}

func digits(n int) string {
	var b []byte
	for _, d := range fmt.Sprint(n) {
		b = append(b, byte(d-'0'))
	}
	return string(b)
}

// TestForeign: who isn't of a meeting with a board gets nothing.
func TestForeign(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	for query, want := range map[string]int{
		"EIO=4&transport=polling": 403, "EIO=4&transport=polling&room=p2": 403, "EIO=3&transport=websocket&room=": 403,
		"EIO=2&transport=polling&room=p1": 400, "EIO=4&transport=flash&room=p1": 400, "transport=polling&room=p1": 400,
		"EIO=4&transport=polling&room=p1&sid=nobody": 400, "EIO=4&transport=websocket&room=p1&sid=nobody": 400,
	} {
		if status, body := w.do("GET", query, "", ""); status != want {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	if status, _ := w.do("POST", "EIO=4&transport=polling&room=p1", "text/plain", "40"); status != 400 {
		t.Error(status)
	}
	// The parameter of one meeting and the room of another.
	w.rl.Name("s@conference.meet.example", Board{"", "p2", "secret"}, true)
	a := w.join(4, "p2", "secret")
	a.want(`42["first-in-room"]`, list(a))
	w.join(4, "p1", "secret").ended()
	w.join(3, "p2", "room").ended()
	a.draw("server-broadcast", "room", "x")
	a.draw("server-broadcast", "secret", "x")
	a.send("2")
	// Rooms of one name on the hosts of two tenants.
	if !w.rl.Name("r@conference.acme.meet.example", Board{"acme", "p1", "room"}, true) {
		t.Fatal("not named")
	}
	b, c := w.join(4, "p1&prefix=acme", "room"), w.join(4, "p1", "room")
	b.want(`42["first-in-room"]`, list(b))
	c.want(`42["first-in-room"]`, list(c))
	if status, _ := w.do("GET", "EIO=4&transport=polling&room=p1&prefix=other", "", ""); status != 403 {
		t.Error(status)
	}
}

// TestOwners: a meeting can't take the board of another, unless that was never
// its to have.
func TestOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	a := w.join(4, "p1", "room")
	a.want(`42["first-in-room"]`, list(a))
	for _, verified := range []bool{false, true} {
		if w.rl.Name("evil@conference.meet.example", Board{"", "p1", "room"}, verified) {
			t.Error("taken over")
		}
	}
	w.rl.Forget("evil@conference.meet.example")
	if !w.rl.Name("r@conference.meet.example", Board{"", "p1", "room"}, true) {
		t.Error("the same again")
	}
	a.draw("server-broadcast", "room", "still there")

	if !w.rl.Name("evil@conference.meet.example", Board{"", "p3", "room3"}, false) {
		t.Error("a free one is had")
	}
	b := w.join(4, "p3", "room3")
	b.want(`42["first-in-room"]`, list(b))
	if w.rl.Name("later@conference.meet.example", Board{"", "p3", "room3"}, false) || !w.rl.Name("right@conference.meet.example", Board{"", "p3", "room3"}, true) {
		t.Error("who has p3 by right gets it, nobody else")
	}
	b.ended()
	// Another board in the place of the old one, and none.
	w.rl.Name("r@conference.meet.example", Board{"", "p1", "new"}, true)
	a.ended()
	c := w.join(3, "p1", "new")
	c.want(`42["first-in-room"]`, list(c))
	w.rl.Forget("r@conference.meet.example")
	c.ended()
	w.rl.Forget("right@conference.meet.example")
	if n, _ := w.rl.Stats(); n != 0 || len(w.rl.places) != 0 || len(w.rl.owned) != 0 {
		t.Error(n, w.rl.places)
	}
}

// TestManySockets: a meeting has so many and no more, and gets them back.
func TestManySockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	var cs []*client
	for range testLimits.Sockets {
		c := w.join(4, "p1", "room")
		cs = append(cs, c)
		for c.text() != list(cs...) { // who has not asked for its board yet makes room
		}
	}
	for range 1000 {
		if status, _ := w.do("GET", "EIO=4&transport=polling&room=p1", "", ""); status != 429 {
			t.Fatal(status)
		}
	}
	cs[0].ws.CloseNow()
	last := cs[len(cs)-1]
	for last.text() != list(cs[1:]...) {
	}
	for status := 429; status != 200; { // it leaves before it is forgotten
		status, _ = w.do("GET", "EIO=4&transport=polling&room=p1", "", "")
	}
}

// TestIdleSockets: who opens sockets without knowing a board keeps nobody away from it,
// and makes nobody leave.
func TestIdleSockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	a := w.join(4, "p1", "room")
	for range 3 * testLimits.Sockets {
		if status, _ := w.do("GET", "EIO=4&transport=polling&room=p1", "", ""); status != 200 {
			t.Fatal(status)
		}
	}
	b := w.join(4, "p1", "room")
	for a.text() != list(a, b) {
	}
	if _, n := w.rl.Stats(); n != testLimits.Sockets {
		t.Errorf("%d sockets", n)
	}
	// Of several addresses the one with most of them has to make room.
	at, other := place{"", "p1"}, netip.MustParseAddr("192.0.2.1")
	patient, fail := w.rl.open(at, 4, other)
	if fail != nil {
		t.Fatal(fail)
	}
	for range testLimits.Sockets {
		if _, fail := w.rl.open(at, 4, netip.MustParseAddr("127.0.0.1")); fail != nil {
			t.Fatal(fail)
		}
	}
	if w.rl.find(patient.sid) == nil {
		t.Error("an address that has opened one socket lost it to one that opened many")
	}
}

// TestSlowReceiver: it is cut off, and nobody else notices.
func TestSlowReceiver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	slow := w.join(3, "p1", "room") // reads no more
	slow.want(`42["first-in-room"]`)
	a := w.join(4, "p1", "room")
	a.want(list(slow, a))
	b := w.join(4, "p1", "room")
	a.want(`42["new-user","`+b.id+`"]`, list(slow, a, b))
	b.want(list(slow, a, b))
	data := strings.Repeat("x", testLimits.Message-2)
	for range 30 {
		a.draw("server-broadcast", "room", data)
		if b.text() != drawn {
			break // the slow one has gone
		}
		b.wantBytes(data)
		b.wantBytes("iv")
	}
	if got := a.text(); got != list(a, b) {
		t.Fatal(got)
	}
	// For the same reason cursors are dropped long before that.
	s := newSocket(w.rl, place{"", "p1"}, 4, testAddr)
	s.send(newMessage("reliable", make([]byte, volatileMax+1)), false)
	s.send(newMessage("cursor"), true)
	s.send(newMessage("reliable"), false)
	if n := len(s.take()); n != 3 {
		t.Error(n)
	}
	s.timer.Stop()
	s.cancel()
}

var testAddr = netip.MustParseAddr("192.0.2.1")

// TestHostile: each ends its own connection and no other.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testLimits)
	a := w.join(4, "p1", "room")
	a.want(`42["first-in-room"]`, list(a))
	huge := strings.Repeat("x", testLimits.Message+2*overhead)
	for name, attack := range map[string]func(*client){
		"no packet":              func(c *client) { c.send("x") },
		"unknown type":           func(c *client) { c.send("49") },
		"no JSON":                func(c *client) { c.send(`42["join-room"`) },
		"no name":                func(c *client) { c.send(`42[]`) },
		"too many attachments":   func(c *client) { c.send(`459-["server-broadcast","room"]`) },
		"attachment of nothing":  func(c *client) { c.sendBytes("x") },
		"text in between":        func(c *client) { c.send(`451-["x"]`); c.send(`42["y"]`) },
		"long text":              func(c *client) { c.send(`42["` + strings.Repeat("x", overhead) + `"]`) },
		"huge frame":             func(c *client) { _ = c.ws.Write(w.ctx, websocket.MessageBinary, []byte(huge)) },
		"huge in two":            func(c *client) { c.send(`452-["x"]`); c.sendBytes(huge[:1<<19]); c.sendBytes(huge[:1<<19+9]) },
		"payload in a frame":     func(c *client) { c.send("4\x1e4") },
		"invalid text in base64": func(c *client) { c.send("b*") },
	} {
		c := w.join(4, "p1", "room")
		attack(c)
		c.ended()
		a.want(`42["new-user","`+c.id+`"]`, list(a, c), list(a))
		_ = name
	}
	// Two polls at once lose the session, as with the reference.
	_, body := w.do("GET", "EIO=4&transport=polling&room=p1", "", "")
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(body[1:]), &open); err != nil {
		t.Fatal(err)
	}
	query := "EIO=4&transport=polling&room=p1&sid=" + open.SID
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			resp, err := http.Get(w.srv.URL + "/socket.io/?" + query)
			if err != nil {
				answers <- err.Error()
				return
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			answers <- resp.Status + string(b)
		}()
	}
	if got := <-answers + <-answers; !strings.Contains(got, "400") || !strings.Contains(got, "200 OK1") {
		t.Error(got)
	}
	for _, bad := range []string{"", "x", strings.Repeat("2\x1e", maxPackets+1), "b!!"} {
		_, body := w.do("GET", "EIO=4&transport=polling&room=p1", "", "")
		if err := json.Unmarshal([]byte(body[1:]), &open); err != nil {
			t.Fatal(body)
		}
		query := "EIO=4&transport=polling&room=p1&sid=" + open.SID
		if status, _ := w.do("POST", query, "text/plain", bad); status != 400 {
			t.Errorf("%.20q: %d", bad, status)
		}
		if status, _ := w.do("GET", query, "", ""); status != 400 {
			t.Errorf("%.20q left the session", bad)
		}
	}
	a.send("2")
}

// TestRate: who sends too much waits, and nothing is lost.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rl := NewRelay(Limits{Message: 1000, Sockets: 10, Rate: 10, Bytes: 1000}, slog.New(slog.DiscardHandler))
		rl.Name("r", Board{"", "p", "room"}, true)
		s, fail := rl.open(place{"", "p"}, 4, testAddr)
		if fail != nil {
			t.Fatal(fail)
		}
		start := time.Now()
		for range 120 {
			if !s.receive(packet{typ: enginePing}) {
				t.Fatal("closed")
			}
		}
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Error(took)
		}
		s.close("test")
	})
}

// TestDead: connections that nobody is at end by themselves.
func TestDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rl := NewRelay(testLimits, slog.New(slog.DiscardHandler))
		rl.Name("r", Board{"", "p", "room"}, true)
		open := func(version int) *socket {
			s, fail := rl.open(place{"", "p"}, version, testAddr)
			if fail != nil {
				t.Fatal(fail)
			}
			s.begin()
			return s
		}
		idle := open(4)
		joined := map[int]*socket{3: open(3), 4: open(4)}
		for _, s := range joined {
			s.receive(packet{typ: engineMessage, text: "0"})
			s.receive(packet{typ: engineMessage, text: `2["join-room","room"]`})
		}
		time.Sleep(joinTimeout + checkEvery)
		synctest.Wait()
		if idle.ctx.Err() == nil || joined[3].ctx.Err() != nil || joined[4].ctx.Err() != nil {
			t.Fatal("who joins nothing is to go, and nobody else")
		}
		for range 13 { // as clients answer and ask
			time.Sleep(20 * time.Second)
			joined[3].receive(packet{typ: enginePing})
			joined[4].receive(packet{typ: enginePong})
		}
		pings := 0
		for _, p := range joined[4].take() {
			if p.typ == enginePing {
				pings++
			}
		}
		if joined[3].ctx.Err() != nil || joined[4].ctx.Err() != nil || pings < 9 {
			t.Fatal("closed although alive, or not asked:", pings)
		}
		time.Sleep(pingInterval + pingTimeout + checkEvery)
		synctest.Wait()
		if _, n := rl.Stats(); n != 0 {
			t.Fatal(n, "are left")
		}
	})
}
