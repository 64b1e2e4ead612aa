package whiteboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLimits = Limits{Message: 1 << 20, Sockets: 8, Rate: 1000, Bytes: 100 << 20}

type world struct {
	t   *testing.T
	rl  *Relay
	srv *httptest.Server
	ctx context.Context
}

// newWorld has the board "room" of the parameter "p1".
func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	rl := NewRelay(limits, slog.New(slog.DiscardHandler))
	run, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- rl.Run(run) }()
	srv := httptest.NewServer(rl)
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		srv.Close()
		cancel()
		if _, n := rl.Stats(); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
	if !rl.Name("r@conference.meet.example", Board{"", "p1", "room"}, true) {
		t.Fatal("not named")
	}
	return &world{t, rl, srv, ctx}
}

func (w *world) do(verb, query, ctype, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, verb, w.srv.URL+"/socket.io/?"+query, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", ctype)
	resp, err := w.srv.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// client speaks one protocol over a WebSocket, from its start.
type client struct {
	w       *world
	version int
	ws      *websocket.Conn
	id      string
}

func (w *world) dial(version int, query string) (*client, error) {
	ws, _, err := websocket.Dial(w.ctx, fmt.Sprintf("%s/socket.io/?EIO=%d&transport=websocket%s", w.srv.URL, version, query), nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(8 << 20)
	w.t.Cleanup(func() { ws.CloseNow() })
	return &client{w: w, version: version, ws: ws}, nil
}

// join dials, connects and asks for a board.
func (w *world) join(version int, param, room string) *client {
	w.t.Helper()
	c, err := w.dial(version, "&room="+param)
	if err != nil {
		w.t.Fatal(err)
	}
	var open struct {
		SID          string
		PingInterval int
		Upgrades     []string
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(c.text(), "0")), &open); err != nil || open.PingInterval != 25000 || len(open.Upgrades) != 0 {
		w.t.Fatal(open, err)
	}
	c.id = open.SID
	if version == 4 {
		c.send("40")
		var connected struct{ SID string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(c.text(), "40")), &connected); err != nil || connected.SID == open.SID {
			w.t.Fatal(connected, err)
		}
		c.id = connected.SID
	} else {
		c.want("40")
	}
	c.want(`42["init-room"]`)
	c.send(fmt.Sprintf(`42["join-room",%q]`, room))
	return c
}

func (c *client) send(text string) {
	c.w.t.Helper()
	if err := c.ws.Write(c.w.ctx, websocket.MessageText, []byte(text)); err != nil {
		c.w.t.Fatal(err)
	}
}

func (c *client) sendBytes(b string) {
	c.w.t.Helper()
	if c.version == 3 {
		b = "\x04" + b
	}
	if err := c.ws.Write(c.w.ctx, websocket.MessageBinary, []byte(b)); err != nil {
		c.w.t.Fatal(err)
	}
}

func (c *client) read(kind websocket.MessageType) string {
	c.w.t.Helper()
	got, b, err := c.ws.Read(c.w.ctx)
	if err != nil || got != kind {
		c.w.t.Fatalf("%v %q %v", got, b, err)
	}
	return string(b)
}

func (c *client) text() string { c.w.t.Helper(); return c.read(websocket.MessageText) }

func (c *client) want(texts ...string) {
	c.w.t.Helper()
	for _, want := range texts {
		if got := c.text(); got != want {
			c.w.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func (c *client) wantBytes(want string) {
	c.w.t.Helper()
	if c.version == 3 {
		want = "\x04" + want
	}
	if got := c.read(websocket.MessageBinary); got != want {
		c.w.t.Fatalf("got %.60q, want %.60q", got, want)
	}
}

func (c *client) draw(event, room, data string) {
	c.w.t.Helper()
	c.send(fmt.Sprintf(`452-[%q,%q,{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, event, room))
	c.sendBytes(data)
	c.sendBytes("iv")
}

const drawn = `452-["client-broadcast",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`

func (c *client) drawn(data string) {
	c.w.t.Helper()
	c.want(drawn)
	c.wantBytes(data)
	c.wantBytes("iv")
}

// ended waits until the relay has cut the connection.
func (c *client) ended() {
	c.w.t.Helper()
	for {
		if _, _, err := c.ws.Read(c.w.ctx); err != nil {
			if c.w.ctx.Err() != nil {
				c.w.t.Fatal("still connected")
			}
			return
		}
	}
}

func list(cs ...*client) string {
	var ids []string
	for _, c := range cs {
		ids = append(ids, c.id)
	}
	b, _ := json.Marshal(ids)
	return `42["room-user-change",` + string(b) + `]`
}
