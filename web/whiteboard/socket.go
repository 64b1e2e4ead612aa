package whiteboard

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// socket is one client, over whatever transport it has at the time.
type socket struct {
	relay   *Relay
	sid     string // a secret between us and the client
	id      string // by which others know it; the same where protocol 3 has it so
	version int    // of Engine.IO
	place   place
	addr    netip.Addr
	opened  time.Time

	ctx    context.Context // ends with the socket
	cancel context.CancelFunc
	once   sync.Once

	messages, bytes *rate.Limiter

	// in serialises what arrives: a hostile client could use both transports.
	in        sync.Mutex
	connected bool // to the namespace
	at        *member
	partial   *partial

	mu       sync.Mutex
	closed   bool
	upgraded bool // on a WebSocket for good
	trying   bool // a WebSocket is being tried
	probing  bool // it works: polls return at once
	polling  bool // a GET waits
	posting  bool // a POST is read
	queue    []*message
	queued   int // bytes
	seen     time.Time
	pinged   time.Time
	timer    *time.Timer
	wake     chan struct{} // the queue is not empty
}

// partial is an event whose attachments have not all come.
type partial struct {
	event
	want int
	bins [][]byte
	size int
}

func newSocket(rl *Relay, at place, version int, addr netip.Addr) *socket {
	now := time.Now()
	s := &socket{
		relay: rl, sid: newID(), version: version, place: at, addr: addr, opened: now, seen: now, pinged: now,
		messages: rate.NewLimiter(perSecond(rl.limits.Rate), max(2*rl.limits.Rate, 1)),
		bytes:    rate.NewLimiter(perSecond(rl.limits.Bytes), max(rl.limits.Bytes, rl.maxPacket())),
		wake:     make(chan struct{}, 1),
	}
	// Socket.IO 2 shows the others the id of the connection (LJM and its likes have
	// no other); later ones keep them apart.
	if s.id = s.sid; version == 4 {
		s.id = newID()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.Lock() // of the timer's goroutine, which may be quick
	s.timer = time.AfterFunc(checkEvery, func() {
		if !rl.guard.Do(s.check) {
			s.close("panic")
		}
	})
	s.mu.Unlock()
	return s
}

// perSecond is a rate; 0 is none.
func perSecond(n int) rate.Limit {
	if n <= 0 {
		return rate.Inf
	}
	return rate.Limit(n)
}

// maxPacket is the largest packet of Engine.IO that is read.
func (rl *Relay) maxPacket() int { return rl.limits.Message + overhead }

// check looks after a connection that may be dead, every few seconds.
func (s *socket) check() {
	now := time.Now()
	s.in.Lock()
	joined := s.at != nil
	s.in.Unlock()
	if s.dead(now, joined) {
		s.close("timed out")
	}
}

// dead reports whether nothing is to be expected of the connection; else it is pinged
// when that is due, and looked at again.
func (s *socket) dead(now time.Time, joined bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return false
	case s.ctx.Err() != nil || now.Sub(s.seen) >= pingInterval+pingTimeout || !joined && now.Sub(s.opened) >= joinTimeout:
		return true
	case s.version == 4 && now.Sub(s.pinged) >= pingInterval:
		s.pinged = now
		s.push(&message{packets: []packet{{typ: enginePing}}, size: 1})
	}
	s.timer.Reset(checkEvery)
	return false
}

// send queues a message. A client that is behind misses what may be dropped, and
// is cut off when that does not help.
func (s *socket) send(m *message, volatile bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed, volatile && s.queued > volatileMax:
	case s.queued > 0 && s.queued+m.size > 2*s.relay.maxPacket() || len(s.queue) >= queueLength:
		s.expel("too slow")
	default:
		s.push(m)
	}
}

// push is called with the lock held.
func (s *socket) push(m *message) {
	s.queue = append(s.queue, m)
	s.queued += m.size
	s.signal()
}

func (s *socket) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (s *socket) take() (out []packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.queue {
		out = append(out, m.packets...)
	}
	s.queue, s.queued = nil, 0
	return out
}

// expel ends the socket from where locks are held: it is closed by the goroutine
// that waits for its context.
func (s *socket) expel(why string) {
	s.cancel()
	s.relay.log.Debug("whiteboard socket expelled", "sid", s.id, "why", why)
}

// close ends the socket: it leaves its board and is forgotten.
func (s *socket) close(why string) {
	s.once.Do(func() {
		s.cancel()
		s.mu.Lock()
		s.closed = true
		s.queue, s.queued = nil, 0
		s.timer.Stop()
		s.mu.Unlock()
		s.in.Lock()
		at := s.at
		s.at = nil
		s.in.Unlock()
		if at != nil {
			at.board.leave(at)
		}
		s.relay.gone(s)
		s.relay.log.Debug("whiteboard socket closed", "sid", s.id, "why", why)
	})
}

// receive handles one packet. It waits while the client is faster than it may be.
// false means that the socket is to be closed.
func (s *socket) receive(p packet) bool {
	s.mu.Lock()
	s.seen = time.Now()
	s.mu.Unlock()
	size := min(len(p.text)+len(p.bin), s.bytes.Burst())
	if s.messages.Wait(s.ctx) != nil || s.bytes.WaitN(s.ctx, size) != nil {
		return false
	}
	s.in.Lock()
	defer s.in.Unlock()
	switch p.typ {
	case enginePing: // of protocol 3
		s.reply(packet{typ: enginePong, text: p.text})
	case engineMessage:
		if p.binary {
			return s.attachment(p.bin)
		}
		return s.packet(p.text)
	case engineClose:
		return false
	}
	return true
}

// reply queues a packet of the engine.
func (s *socket) reply(p packet) {
	s.send(&message{packets: []packet{p}, size: 1 + len(p.text)}, false)
}

// attachment is the next one of an event.
func (s *socket) attachment(b []byte) bool {
	e := s.partial
	if e == nil {
		return false
	}
	e.bins, e.size = append(e.bins, b), e.size+len(b)
	if e.size > s.relay.limits.Message {
		return false
	}
	if len(e.bins) == e.want {
		s.partial = nil
		s.event(e.event, e.bins)
	}
	return true
}

// packet is one of Socket.IO.
func (s *socket) packet(text string) bool {
	p, err := parsePacket(text)
	if err != nil || s.partial != nil || len(text) > overhead {
		return false
	}
	switch {
	case p.typ == ioConnect && p.namespace != "/":
		s.send(newMessage(string(ioConnectError)+p.namespace+`,{"message":"Invalid namespace"}`), false)
		return true
	case p.namespace != "/":
		return true
	case p.typ == ioConnect && s.version == 4:
		if !s.connected {
			s.send(newMessage(string(ioConnect)+`{"sid":"`+s.id+`"}`), false)
			s.welcome()
		}
		return true
	case p.typ == ioDisconnect:
		return false
	case !s.connected, p.typ != ioEvent && p.typ != ioBinaryEvent:
		return true
	}
	e, err := parseEvent(p.json)
	if err != nil {
		return false
	}
	if p.attachments > 0 {
		s.partial = &partial{event: e, want: p.attachments}
		return true
	}
	s.event(e, nil)
	return true
}

// welcome begins what the client is there for.
func (s *socket) welcome() {
	s.connected = true
	s.send(newEvent("init-room"), false)
}

// event does what the relay is for.
func (s *socket) event(e event, bins [][]byte) {
	switch e.name {
	case "join-room":
		if room, ok := e.text(0); ok {
			s.join(room)
		}
	case "server-broadcast", "server-volatile-broadcast":
		room, ok := e.text(0)
		// Data and initialisation vector; anything else nobody could decrypt.
		if s.at == nil || !ok || len(bins) != 2 || !e.attached(1, 0) || !e.attached(2, 1) {
			return
		}
		s.at.board.broadcast(s.at, room, newBinaryEvent("client-broadcast", bins...), e.name != "server-broadcast")
	case "user-follow":
		if s.at != nil && len(e.args) > 0 {
			s.at.board.follow(s.at, e.args[0])
		}
	}
}

func (s *socket) join(room string) {
	if s.at != nil {
		if s.at.board.key.room == room {
			return
		}
		s.at.board.leave(s.at)
		s.at = nil
	}
	if s.ctx.Err() != nil {
		return // closed meanwhile
	}
	if b := s.relay.board(s, room); b != nil {
		s.at = b.join(s)
	}
	if s.at == nil {
		s.expel("no such board") // the client comes back, and the metadata may be there then
	}
}

// open is the first packet.
func (s *socket) open(upgrades ...string) packet {
	b, err := json.Marshal(struct {
		SID      string   `json:"sid"`
		Upgrades []string `json:"upgrades"`
		Interval int64    `json:"pingInterval"`
		Timeout  int64    `json:"pingTimeout"`
		Payload  int      `json:"maxPayload"`
	}{s.sid, append([]string{}, upgrades...), pingInterval.Milliseconds(), pingTimeout.Milliseconds(), s.relay.maxBody()})
	if err != nil {
		panic("whiteboard: strings and numbers: " + err.Error())
	}
	return packet{typ: engineOpen, text: string(b)}
}

// maxBody is of one POST: base64 takes a third more.
func (rl *Relay) maxBody() int { return 2 * rl.maxPacket() }

// begin connects clients of protocol 3, which don't ask.
func (s *socket) begin() {
	if s.version == 3 {
		s.in.Lock()
		defer s.in.Unlock()
		s.send(newMessage(string(ioConnect)), false)
		s.welcome()
	}
}
