package xmpp

import (
	"io"
	"strconv"
	"sync"
	"time"
)

// boshFramer is a BOSH session as a connection: requests bring elements in, and
// are held until there is something to answer.
type boshFramer struct {
	srv        *Server
	sid        string // a bearer secret, never logged
	wait       time.Duration
	hold       int // requests to hold; 0 is a polling client
	inactivity time.Duration

	arrived chan struct{} // one slot: "inbound is not empty"
	held    chan struct{} // one slot: "open is not empty"
	dead    chan struct{} // closed by kill

	mu       sync.Mutex
	limit    int // of one element, as the stream last said
	inbound  deque[boshInbound]
	backlog  int    // what is in inbound costs
	next     uint64 // the rid to handle next
	early    map[uint64]*earlyRequest
	open     []*boshRequest // unanswered, by rid
	answered []*boshRequest // the last ones, for clients that lost an answer
	out      []byte         // elements to send
	from     string         // of the first answer
	greeted  bool           // the first answer has been sent
	final    bool           // no request is taken any more
	killed   bool
	silence  *time.Timer // runs while no request is held
}

// boshRequest is one request; several HTTP requests with its rid may wait for it.
type boshRequest struct {
	rid    uint64
	done   chan struct{} // closed when answer is set
	answer []byte
}

// earlyRequest came before its predecessor, or is just being handled.
type earlyRequest struct {
	req  *boshRequest
	body *boshBody
	err  error // instead of the body
}

type boshInbound struct {
	inbound
	err error
}

func (i *boshInbound) cost() int { return len(i.text) + stanzaOverhead }

// boshFinishWait is how long the end of a session waits for a request to tell it
// to: LJM polls within 100 ms.
const boshFinishWait = 2 * time.Second

// requests is the window of rids (XEP-0124 §7.1).
func (f *boshFramer) requests() int { return f.hold + 1 }

func (f *boshFramer) transport() string { return TransportBOSH }
func (f *boshFramer) namespaced() bool  { return true }
func (f *boshFramer) restart()          {}

// request takes one request in; refusal is the condition of a terminate answer.
func (f *boshFramer) request(b *boshBody, size int) (req *boshRequest, refusal string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.killed || f.final {
		return nil, "item-not-found"
	}
	if b.rid < f.next {
		// XEP-0124 §14.3: the same rid once more gets the same answer.
		for _, list := range [][]*boshRequest{f.open, f.answered} {
			for _, old := range list {
				if old.rid == b.rid {
					return old, ""
				}
			}
		}
		return nil, "item-not-found"
	}
	if f.backlog > 2*f.bodyLimit() {
		// Requests are answered while the reader is held back, so their window does
		// not bound what a client has us keep.
		f.killLocked()
		return nil, "policy-violation"
	}
	if b.rid-f.next > uint64(f.requests()) || len(f.open) > f.requests() {
		return nil, "item-not-found"
	}
	if e := f.early[b.rid]; e != nil {
		return e.req, ""
	}
	req = &boshRequest{rid: b.rid, done: make(chan struct{})}
	e := &earlyRequest{req: req, body: b}
	if size > f.bodyLimit() {
		e.err = ErrTooBig
	}
	f.early[b.rid] = e
	for e = f.early[f.next]; e != nil; e = f.early[f.next] {
		delete(f.early, f.next)
		f.next++
		f.admit(e)
	}
	return req, ""
}

// bodyLimit bounds a whole request: before login one element, later some more.
func (f *boshFramer) bodyLimit() int {
	if f.limit <= f.srv.cfg.StanzaUnauthenticated {
		return f.limit
	}
	return f.limit + boshBodyExtra
}

// admit queues what the next request in order brings.
func (f *boshFramer) admit(e *earlyRequest) {
	if f.silence != nil {
		f.silence.Stop()
		f.silence = nil
	}
	push := func(in inbound, err error) {
		i := boshInbound{in, err}
		f.backlog += i.cost()
		f.inbound.push(i)
	}
	b := e.body
	switch {
	case e.err != nil:
		push(inbound{}, e.err)
	case b.sid == "" || b.restart:
		push(inbound{kind: inOpen, to: b.to}, nil)
	}
	for _, k := range b.kids {
		push(inbound{text: k, scope: b.scope}, nil)
	}
	if b.end {
		push(inbound{kind: inClose}, nil)
	} else {
		push(inbound{kind: inNothing}, nil)
	}
	f.open = append(f.open, e.req)
	signal(f.arrived)
	signal(f.held)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (f *boshFramer) read(limit int) (inbound, error) {
	for {
		f.mu.Lock()
		f.limit = limit
		switch {
		case f.killed:
			f.mu.Unlock()
			return inbound{}, io.ErrUnexpectedEOF
		case f.inbound.len() > 0:
			in := f.inbound.pop()
			f.backlog -= in.cost()
			f.mu.Unlock()
			return in.inbound, in.err
		}
		// All that came is handled, so the answers to it are on their way: what
		// is held beyond the agreed number goes back (XEP-0124 §8).
		for len(f.open) > f.hold {
			f.answer("", "")
		}
		f.mu.Unlock()
		select {
		case <-f.arrived:
		case <-f.dead:
		}
	}
}

// answer answers the oldest request with what there is to send. It is called
// with mu held.
func (f *boshFramer) answer(cond, payload string) {
	req := f.open[0]
	f.open = f.open[1:]
	var e Enc
	e.Start("body", NSHTTPBind).Attr("xmlns:stream", NSStream)
	if !f.greeted {
		f.greeted = true
		secs := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
		e.Attr("xmlns:xmpp", NSXBosh).AttrIf("from", f.from).Attr("authid", randomID(12)).
			Attr("wait", secs(f.wait)).Attr("hold", strconv.Itoa(f.hold)).Attr("requests", strconv.Itoa(f.requests())).
			Attr("inactivity", secs(f.inactivity)).Attr("ver", "1.6").Attr("xmpp:version", "1.0").Attr("xmpp:restartlogic", "true")
	}
	e.Attr("sid", f.sid)
	if f.final {
		e.Attr("type", "terminate").AttrIf("condition", cond)
	}
	e.Raw(string(f.out)).Raw(payload).End()
	if f.out = f.out[:0]; cap(f.out) > keepBuffer {
		f.out = nil
	}
	req.answer = []byte(e.String())
	close(req.done)
	f.answered = append(f.answered, req)
	if n := len(f.answered) - f.requests() - 1; n > 0 {
		f.answered = append(f.answered[:0], f.answered[n:]...)
	}
	if len(f.open) == 0 && !f.final && !f.killed {
		f.silence = time.AfterFunc(f.inactivity, f.kill)
	}
}

// waited answers a request that has been held for as long as agreed, or whose
// connection is gone, and with it those before it.
func (f *boshFramer) waited(req *boshRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.open) > 0 && f.open[0].rid <= req.rid {
		f.answer("", "")
	}
	if e := f.early[req.rid]; e != nil { // its predecessor never came
		delete(f.early, req.rid)
		req.answer = boshTerminate("item-not-found", "")
		close(req.done)
	}
}

// greet is written with the first answer; a restart has no header of its own.
func (f *boshFramer) greet(from JID, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = from.String()
	return nil
}

func (f *boshFramer) put(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.killed {
		return io.ErrClosedPipe
	}
	f.out = append(f.out, b...)
	return nil
}

// flush waits for a request to answer: that is what makes a slow client's queue
// fill.
func (f *boshFramer) flush() error {
	for {
		f.mu.Lock()
		switch {
		case f.killed:
			f.mu.Unlock()
			return io.ErrClosedPipe
		case len(f.out) == 0:
			f.mu.Unlock()
			return nil
		case len(f.open) > 0:
			f.answer("", "")
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		select {
		case <-f.held:
		case <-f.dead:
		}
	}
}

func (f *boshFramer) finish(e *StreamError) {
	cond, payload := "", ""
	if e != nil {
		cond, payload = "remote-stream-error", streamErrorText(e)
	}
	timeout := time.NewTimer(boshFinishWait)
	defer timeout.Stop()
	for told := false; !told; {
		f.mu.Lock()
		told = f.killed || len(f.open) > 0
		if !f.killed && len(f.open) > 0 {
			f.final = true
			for len(f.open) > 0 {
				f.answer(cond, payload)
				payload = ""
			}
		}
		f.mu.Unlock()
		if told {
			break
		}
		select {
		case <-f.held:
		case <-f.dead:
		case <-timeout.C:
			told = true
		}
	}
	f.kill()
}

// kill ends the session: what is held is answered, so that no HTTP request waits
// on.
func (f *boshFramer) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.killLocked()
}

func (f *boshFramer) killLocked() {
	if f.killed {
		return
	}
	f.killed, f.final = true, true
	f.inbound, f.backlog = deque[boshInbound]{}, 0
	for len(f.open) > 0 {
		f.answer("remote-connection-failed", "")
	}
	for rid, e := range f.early {
		delete(f.early, rid)
		e.req.answer = boshTerminate("remote-connection-failed", "")
		close(e.req.done)
	}
	if f.silence != nil {
		f.silence.Stop()
	}
	close(f.dead)
}

// release forgets the session.
func (f *boshFramer) release() {
	f.kill()
	f.srv.mu.Lock()
	defer f.srv.mu.Unlock()
	delete(f.srv.bosh, f.sid)
}
