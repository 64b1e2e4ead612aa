package scenario

import (
	"crypto/md5" //nolint:gosec // what clients hash by
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/internal/meettest"
	"confab/xmpp"
)

// drawer is a socket at a whiteboard, as excalidraw opens it.
type drawer struct {
	w  *world
	ws *websocket.Conn
}

func (w *world) dialBoard(param string) (*drawer, int) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // test server
	ws, resp, err := websocket.Dial(w.ctx, strings.Replace(w.URL, "https", "wss", 1)+"/socket.io/?EIO=4&transport=websocket&room="+param,
		&websocket.DialOptions{HTTPClient: client})
	if err != nil {
		if resp == nil {
			w.t.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	w.t.Cleanup(func() { ws.CloseNow() })
	d := &drawer{w, ws}
	d.read("0{")
	d.send("40")
	d.read("40{")
	d.read(`42["init-room"]`)
	return d, 101
}

func (d *drawer) send(text string) {
	d.w.t.Helper()
	d.w.must(d.ws.Write(d.w.ctx, websocket.MessageText, []byte(text)))
}

func (d *drawer) read(begin string) string {
	d.w.t.Helper()
	_, b, err := d.ws.Read(d.w.ctx)
	d.w.must(err)
	if !strings.HasPrefix(string(b), begin) {
		d.w.t.Fatalf("%s instead of %s", b, begin)
	}
	return string(b)
}

func (w *world) board(c *meettest.Client, param, room string) {
	w.t.Helper()
	w.must(c.Send(xmpp.Message, "", "", c.Component("room_metadata"), fmt.Sprintf(
		`<room_metadata xmlns="http://jitsi.org/jitmeet" room="%s">{"key":"whiteboard","data":{"collabDetails":{"roomId":"%s","roomKey":"k"},"collabServerUrl":"%s/?room=%s"}}</room_metadata>`,
		c.RoomJID(w.room), room, w.URL, param)))
}

// Who is in the meeting draws with the others as soon as a moderator has opened the
// whiteboard, and until the meeting ends; nobody else does.
func TestWhiteboard(t *testing.T) {
	w := newWorld(t, "")
	a := w.join("Ann", nil)
	w.must(a.Until(w.ctx, "to moderate", a.Moderator))
	b := w.join("Bea", nil)
	sum := md5.Sum([]byte("/" + w.room)) //nolint:gosec // see above
	param := hex.EncodeToString(sum[:])
	if _, status := w.dialBoard(param); status != 403 {
		t.Fatal("before there is one:", status)
	}
	w.board(b, param, w.room) // a participant can't open it
	w.must(b.Ping(w.ctx))
	if _, status := w.dialBoard(param); status != 403 {
		t.Fatal("opened by a participant:", status)
	}
	w.board(a, param, w.room)
	_, err := b.Expect(w.ctx, "the whiteboard's key", func(s *xmpp.Stanza) bool {
		m := s.Child("http://jitsi.org/jitmeet", "json-message")
		return m != nil && strings.Contains(m.Text, `"roomKey":"k"`)
	})
	w.must(err)
	ann, _ := w.dialBoard(param)
	ann.send(fmt.Sprintf(`42["join-room",%q]`, w.room))
	ann.read(`42["first-in-room"]`)
	ann.read(`42["room-user-change",[`)
	bea, _ := w.dialBoard(param)
	bea.send(fmt.Sprintf(`42["join-room",%q]`, w.room))
	bea.read(`42["room-user-change",[`)
	ann.read(`42["new-user","`)
	ann.read(`42["room-user-change",[`)
	bea.send(fmt.Sprintf(`452-["server-broadcast",%q,{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, w.room))
	for _, part := range []string{"drawn", "iv"} {
		w.must(bea.ws.Write(w.ctx, websocket.MessageBinary, []byte(part)))
	}
	ann.read(`452-["client-broadcast",`)
	ann.read("drawn")
	ann.read("iv")

	// A moderator elsewhere that names the same board gets nobody's drawings.
	evil := w.Join(w.ctx, "Eve", "elsewhere", nil)
	w.must(evil.Until(w.ctx, "to moderate", evil.Moderator))
	w.must(evil.Send(xmpp.Message, "", "", evil.Component("room_metadata"), fmt.Sprintf(
		`<room_metadata xmlns="http://jitsi.org/jitmeet" room="%s">{"key":"whiteboard","data":{"collabDetails":{"roomId":"%s"},"collabServerUrl":"/?room=%s"}}</room_metadata>`,
		evil.RoomJID("elsewhere"), w.room, param)))
	w.must(evil.Ping(w.ctx))
	w.must(evil.Leave(w.ctx))
	bea.send(fmt.Sprintf(`42["user-follow",{"userToFollow":{"socketId":%q},"action":"FOLLOW"}]`, "nobody"))

	w.must(b.Leave(w.ctx))
	w.must(a.Leave(w.ctx))
	for _, d := range []*drawer{ann, bea} {
		if _, _, err := d.ws.Read(w.ctx); err == nil || w.ctx.Err() != nil {
			t.Error("the board outlives the meeting:", err)
		}
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for status := 0; status != 403; {
		select {
		case <-again.C:
			_, status = w.dialBoard(param)
		case <-w.ctx.Done():
			t.Fatal(status)
		}
	}
}
