package xmpp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// wsClose is the close element: LJM compares the whole string, blank and double
// quotes included (client-signaling.md §2.1).
const wsClose = `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />`

// WebSocketHandler serves XMPP over WebSocket (RFC 7395) at one path. A request
// without an upgrade is LJM's keep-alive and gets 200.
func (s *Server) WebSocketHandler() http.Handler { return http.HandlerFunc(s.serveWebSocket) }

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !headerHas(r.Header, "Upgrade", "websocket") {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "XMPP over WebSocket\n")
		return
	}
	// RFC 7395 §3.1: without the subprotocol this is no XMPP.
	if !headerHas(r.Header, "Sec-WebSocket-Protocol", "xmpp") {
		http.Error(w, "subprotocol xmpp required", http.StatusBadRequest)
		return
	}
	hw := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(hw, r, &websocket.AcceptOptions{
		Subprotocols:       []string{"xmpp"},
		OriginPatterns:     s.cfg.Origins,
		InsecureSkipVerify: len(s.cfg.Origins) == 0 || slices.Contains(s.cfg.Origins, "*"),
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Debug("websocket refused", "addr", r.RemoteAddr, "err", err)
		return
	}
	attrs := AttrsOf(r)
	s.serveStream(&stream{
		fr:     newWSFramer(conn, hw.conn, s.cfg.WriteTimeout, attrs.Room != ""),
		remote: s.remoteAddr(r),
		secure: s.secureRequest(r),
		tls:    r.TLS,
		attrs:  attrs,
	})
}

// headerHas reports whether a comma-separated header has the token.
func headerHas(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// hijacked keeps the connection that the WebSocket library takes over: deadlines
// on it cost nothing, those of contexts four allocations per message.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// wsFramer is a WebSocket: one element per message (RFC 7395 §3.3).
type wsFramer struct {
	conn    *websocket.Conn
	net     net.Conn
	timeout time.Duration // of a write
	// silentEnd leaves out the close element that answers the client's: LJM has
	// closed the socket by then (client-signaling.md §2.1).
	silentEnd bool
	buf       []byte
	closed    atomic.Bool // by the client
	deadline  time.Time
}

func newWSFramer(conn *websocket.Conn, nc net.Conn, timeout time.Duration, silentEnd bool) *wsFramer {
	conn.SetReadLimit(-1) // read has its own
	return &wsFramer{conn: conn, net: nc, timeout: timeout, silentEnd: silentEnd}
}

func (f *wsFramer) transport() string { return TransportWebSocket }
func (f *wsFramer) namespaced() bool  { return true }
func (f *wsFramer) restart()          {}

func (f *wsFramer) read(limit int) (inbound, error) {
	typ, r, err := f.conn.Reader(context.Background())
	if err != nil {
		return inbound{}, err
	}
	if typ != websocket.MessageText {
		return inbound{}, &StreamError{Cond: "not-well-formed", Text: "Binary message"}
	}
	f.buf = f.buf[:0]
	for {
		if len(f.buf) == cap(f.buf) {
			f.buf = slices.Grow(f.buf, min(max(1024, cap(f.buf)), limit+1))
		}
		n, err := r.Read(f.buf[len(f.buf):cap(f.buf)])
		f.buf = f.buf[:len(f.buf)+n]
		if len(f.buf) > limit {
			return inbound{}, ErrTooBig
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return inbound{}, err
		}
	}
	text := strings.Trim(string(f.buf), " \t\r\n")
	if cap(f.buf) > keepBuffer {
		f.buf = nil
	}
	switch {
	case text == "":
		return inbound{kind: inNothing}, nil
	case framing(text, "open"):
		el, err := ParseElement(text, Limits{}, Scope{})
		if err != nil {
			return inbound{}, err
		}
		if el.NS != NSFraming {
			return inbound{}, &StreamError{Cond: "invalid-namespace"}
		}
		return inbound{kind: inOpen, to: el.Get("to")}, nil
	case framing(text, "close"):
		f.closed.Store(true)
		return inbound{kind: inClose}, nil
	}
	return inbound{text: text}, nil
}

// framing reports whether text begins with that element of the framing namespace;
// stanzas have other names.
func framing(text, name string) bool {
	rest, ok := strings.CutPrefix(text, "<"+name)
	return ok && rest != "" && strings.IndexByte(" \t\r\n/>", rest[0]) >= 0
}

// greet writes the header as its own message, which must begin with "<open "
// (LJM, strophe's onmessage).
func (f *wsFramer) greet(from JID, id string) error {
	return f.put([]byte(new(Enc).Start("open", NSFraming).Attr("from", from.String()).Attr("id", id).
		Attr("version", "1.0").Attr("xml:lang", "en").End().String()))
}

func (f *wsFramer) put(b []byte) error {
	// The deadline is not moved for each write of a batch: one has at least 14/15 of
	// timeout.
	if now := time.Now(); f.deadline.Sub(now) < f.timeout-f.timeout/15 {
		f.deadline = now.Add(f.timeout)
		if err := f.net.SetWriteDeadline(f.deadline); err != nil {
			return err
		}
	}
	return f.conn.Write(context.Background(), websocket.MessageText, b)
}

// flush takes the deadline away: the library answers pings and the closing
// handshake by itself, whenever they come, and has its own time for that.
func (f *wsFramer) flush() error {
	f.deadline = time.Time{}
	return f.net.SetWriteDeadline(time.Time{})
}

func (f *wsFramer) finish(e *StreamError) {
	code := websocket.StatusNormalClosure
	if e != nil {
		if f.put([]byte(streamErrorText(e))) != nil {
			f.kill()
			return
		}
		switch e.Cond {
		case "system-shutdown":
			code = websocket.StatusGoingAway
		case "policy-violation":
			code = websocket.StatusPolicyViolation
		}
	}
	if e != nil || !f.closed.Load() || !f.silentEnd {
		if f.put([]byte(wsClose)) != nil {
			f.kill()
			return
		}
	}
	_ = f.flush()
	_ = f.conn.Close(code, "")
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

func (f *wsFramer) kill() { _ = f.net.SetDeadline(longAgo) }

func (f *wsFramer) release() { _ = f.conn.CloseNow() }
