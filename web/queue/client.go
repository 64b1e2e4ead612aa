package queue

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/coder/websocket"
)

// client is a connection.
type client struct {
	q    *Queue
	conn *websocket.Conn
	out  chan []byte
	gone chan struct{}
	once sync.Once

	// guarded by Queue.mu
	room, destination string
}

// outgoing is how many messages wait for a client: there are hardly any.
const outgoing = 8

// ServeHTTP implements http.Handler.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &client{q: q, out: make(chan []byte, outgoing), gone: make(chan struct{})}
	if !q.add(c) {
		http.Error(w, "Too many wait", http.StatusServiceUnavailable)
		return
	}
	defer q.remove(c)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{"v12.stomp", "v11.stomp", "v10.stomp"},
		OriginPatterns:     q.cfg.Origins,
		InsecureSkipVerify: len(q.cfg.Origins) == 0 || slices.Contains(q.cfg.Origins, "*"),
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		q.cfg.Log.Debug("queue: websocket refused", "addr", r.RemoteAddr, "err", err)
		return
	}
	conn.SetReadLimit(frameBytes)
	c.conn = conn
	var wg sync.WaitGroup
	wg.Go(func() {
		if !q.guard.Do(c.write) {
			_ = conn.CloseNow()
		}
	})
	q.guard.Do(c.read) // ends at the latest when the writer has closed
	c.close()
	wg.Wait()
	_ = conn.CloseNow()
}

// close ends the connection once what waits is written.
func (c *client) close() { c.once.Do(func() { close(c.gone) }) }

// send hands a message to the writer; who doesn't read is closed.
func (c *client) send(b []byte) {
	select {
	case c.out <- b:
	default:
		c.close()
	}
}

func (c *client) write() {
	for {
		select {
		case b := <-c.out:
			if !c.writeOne(b) {
				return
			}
		case <-c.gone:
			for {
				select {
				case b := <-c.out:
					if !c.writeOne(b) {
						return
					}
				default:
					_ = c.conn.Close(websocket.StatusNormalClosure, "")
					return
				}
			}
		}
	}
}

func (c *client) writeOne(b []byte) bool {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if c.conn.Write(ctx, websocket.MessageText, b) != nil {
		c.close()
		return false
	}
	return true
}

// read takes frames until the client goes, is silent or breaks the protocol.
func (c *client) read() {
	for connected := false; ; {
		quiet, cancel := context.WithTimeout(context.Background(), silence)
		_, b, err := c.conn.Read(quiet)
		cancel()
		if err != nil {
			return
		}
		f, ok, err := parseFrame(b)
		switch {
		case err != nil:
			c.fail("malformed frame")
			return
		case !ok:
			continue
		case f.command == "DISCONNECT":
			c.receipt(&f)
			return
		case !connected && (f.command == "CONNECT" || f.command == "STOMP"):
			connected = true
			c.send(encode("CONNECTED", "", "version", "1.2", "heart-beat", "0,"+strconv.FormatInt(heartbeat.Milliseconds(), 10)))
		case connected && f.command == "SUBSCRIBE":
			if !c.q.subscribe(c, f.get("id"), f.get("destination")) {
				c.fail("no such destination")
				return
			}
			c.receipt(&f)
		case connected && f.command == "UNSUBSCRIBE":
			c.q.unsubscribe(c)
			c.receipt(&f)
		default:
			c.fail("not understood")
			return
		}
	}
}

func (c *client) receipt(f *frame) {
	if id := f.get("receipt"); id != "" {
		c.send(encode("RECEIPT", "", "receipt-id", id))
	}
}

func (c *client) fail(why string) { c.send(encode("ERROR", "", "message", why)) }
