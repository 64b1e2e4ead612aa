package whiteboard

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// failure is an answer of Engine.IO to a bad request.
type failure struct {
	status  int
	code    int
	message string
}

var (
	failureTransport = failure{400, 0, "Transport unknown"}
	failureSession   = failure{400, 1, "Session ID unknown"}
	failureMethod    = failure{400, 2, "Bad handshake method"}
	failureRequest   = failure{400, 3, "Bad request"}
	failureForbidden = failure{403, 4, "Forbidden"}
	failureClosed    = failure{503, 3, "Shutting down"}
	failureVersion   = failure{400, 5, "Unsupported protocol version"}
)

func (f failure) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(struct { // a reader that went away has no use for the error
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{f.code, f.message})
}

// ServeHTTP is /socket.io/. The query says in prefix, which is the web front's, what
// tenant's host was asked.
func (rl *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if !rl.hold() {
		failureClosed.write(w)
		return
	}
	defer rl.wg.Done()
	q := r.URL.Query()
	version, ok := map[string]int{"3": 3, "4": 4}[q.Get("EIO")]
	transport := q.Get("transport")
	switch {
	case !ok:
		failureVersion.write(w)
	case transport != "polling" && transport != "websocket":
		failureTransport.write(w)
	case q.Get("sid") == "" && r.Method != http.MethodGet:
		failureMethod.write(w)
	case q.Get("sid") == "":
		s, fail := rl.open(place{q.Get("prefix"), q.Get("room")}, version, address(r))
		switch {
		case fail != nil:
			fail.write(w)
		case transport == "websocket":
			s.connect(w, r)
		default:
			body := encodePayload(version, []packet{s.open("websocket")})
			s.begin()
			s.write(w, body)
		}
	default:
		s := rl.find(q.Get("sid"))
		// The id of protocol 3 is known to the others at the board: it is good for
		// the address that it was given to.
		if s == nil || s.version != version || s.addr != address(r) || s.ctx.Err() != nil {
			failureSession.write(w)
			return
		}
		switch {
		case transport == "websocket":
			s.upgrade(w, r)
		case r.Method == http.MethodGet:
			s.poll(w, r)
		case r.Method == http.MethodPost:
			s.post(w, r)
		default:
			failureRequest.write(w)
		}
	}
}

// address is what a session belongs to: an address, or the network of a customer.
func address(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

func (s *socket) write(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience(len(body))))
	if _, err := w.Write(body); err != nil {
		s.close("write failed")
	}
}

// patience is how long a transfer may take.
func patience(size int) time.Duration {
	return writeTimeout + time.Duration(size/slowest)*time.Second
}

// poll answers a GET when there is something.
func (s *socket) poll(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	busy, upgraded := s.polling, s.upgraded
	if !busy && !upgraded {
		s.polling = true
	}
	s.mu.Unlock()
	if upgraded {
		failureRequest.write(w)
		return
	}
	if busy {
		failureRequest.write(w)
		s.close("two polls at once") // as the reference has it: one of them is lost
		return
	}
	defer func() {
		s.mu.Lock()
		s.polling = false
		s.mu.Unlock()
	}()
	for {
		packets := s.take()
		s.mu.Lock()
		probing := s.probing || s.upgraded
		s.mu.Unlock()
		switch {
		case len(packets) > 0:
			s.write(w, encodePayload(s.version, packets))
			return
		case probing: // the client waits for this before it changes over
			s.write(w, encodePayload(s.version, []packet{{typ: engineNoop}}))
			return
		}
		select {
		case <-s.wake:
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			s.close("ended")
			s.write(w, encodePayload(s.version, []packet{{typ: engineClose}}))
			return
		}
	}
}

// post takes what a client sends.
func (s *socket) post(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	busy := s.upgraded || s.posting
	s.posting = s.posting || !busy
	s.mu.Unlock()
	if busy {
		failureRequest.write(w)
		return
	}
	defer func() {
		s.mu.Lock()
		s.posting = false
		s.mu.Unlock()
	}()
	ctl := http.NewResponseController(w)
	size := s.relay.maxBody()
	_ = ctl.SetReadDeadline(time.Now().Add(patience(size)))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(size)))
	ctype, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var packets []packet
	if err == nil {
		packets, err = decodePayload(s.version, ctype == "application/octet-stream", body)
	}
	if err != nil {
		failureRequest.write(w)
		s.close("bad payload")
		return
	}
	_ = ctl.SetReadDeadline(time.Time{}) // all is there; a client that is too fast waits below
	for _, p := range packets {
		if !s.receive(p) {
			s.close("client")
			break
		}
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "ok") // its loss is the client's to notice
}

func (s *socket) accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	// Origins are the web front's business.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err == nil {
		ws.SetReadLimit(int64(s.relay.maxPacket()))
	}
	return ws, err
}

// connect serves a socket that begins as a WebSocket.
func (s *socket) connect(w http.ResponseWriter, r *http.Request) {
	defer s.close("websocket ended")
	ws, err := s.accept(w, r)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.upgraded = true
	s.mu.Unlock()
	if s.frame(ws, s.open()) != nil {
		ws.CloseNow()
		return
	}
	s.begin()
	s.serve(ws)
}

// upgrade changes a polling socket over to a WebSocket: the client probes it, the
// poll that waits returns, the client says that it changes over.
func (s *socket) upgrade(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	busy := s.upgraded || s.trying
	s.trying = true
	s.mu.Unlock()
	if busy {
		failureRequest.write(w)
		return
	}
	ws, err := s.accept(w, r)
	if err == nil && s.probe(ws) {
		defer s.close("websocket ended")
		s.serve(ws)
		return
	}
	s.mu.Lock() // polling goes on
	s.probing, s.trying = false, false
	s.mu.Unlock()
	if err == nil {
		ws.CloseNow()
	}
}

func (s *socket) probe(ws *websocket.Conn) bool {
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	for _, want := range []packet{{typ: enginePing, text: "probe"}, {typ: engineUpgrade}} {
		kind, b, err := ws.Read(ctx)
		if err != nil || kind != websocket.MessageText || string(b) != string(want.typ)+want.text {
			return false
		}
		if want.typ == enginePing {
			if s.frame(ws, packet{typ: enginePong, text: "probe"}) != nil {
				return false
			}
			s.mu.Lock()
			s.probing = true
			s.mu.Unlock()
			s.signal()
		}
	}
	s.mu.Lock()
	s.upgraded = true
	s.mu.Unlock()
	s.signal() // what came meanwhile
	return true
}

// serve passes packets in both directions until the socket or its connection ends.
func (s *socket) serve(ws *websocket.Conn) {
	var writer sync.WaitGroup
	writer.Go(func() {
		s.relay.guard.Do(func() { s.pass(ws) })
		s.cancel()
		ws.CloseNow() // ends the Read below
	})
	defer func() { s.cancel(); writer.Wait() }()
	for {
		kind, b, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		var p packet
		if kind == websocket.MessageBinary {
			p, err = decodeFrame(b, s.version)
		} else {
			p, err = decodeText(string(b), s.version)
		}
		if err != nil || !s.receive(p) {
			return
		}
	}
}

// pass writes what is queued until the socket ends.
func (s *socket) pass(ws *websocket.Conn) {
	for {
		for _, p := range s.take() {
			if s.frame(ws, p) != nil {
				return
			}
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *socket) frame(ws *websocket.Conn, p packet) error {
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	b, binary := p.frame(s.version)
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	return ws.Write(ctx, kind, b)
}
