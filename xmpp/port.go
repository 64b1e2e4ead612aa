package xmpp

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// LocalPort is an XMPP entity inside the process: the focus, the bridge, a room
// service. What it receives and what is no reply to a request of its own goes to
// its sink.
type LocalPort struct {
	jid     JID
	router  *Router
	sink    func(*Stanza) error
	release func()
	ids     atomic.Uint64

	mu      sync.Mutex
	pending map[string]pendingRequest
	closed  bool
}

type pendingRequest struct {
	to    JID
	reply func(*Stanza, error)
	timer *time.Timer
}

// NewLocalPort binds full to a new port. sink is called on the goroutine of
// whoever delivers: it must not wait, typically it puts into a mailbox. An error
// of sink bounces the stanza.
func (r *Router) NewLocalPort(full JID, sink func(*Stanza) error) (*LocalPort, error) {
	p := &LocalPort{jid: full, router: r, sink: sink, pending: map[string]pendingRequest{}}
	release, err := r.Bind(p)
	if err != nil {
		return nil, err
	}
	p.release = release
	return p, nil
}

// JID is the port's full address.
func (p *LocalPort) JID() JID { return p.jid }

// Deliver implements Port.
func (p *LocalPort) Deliver(s *Stanza) error {
	if s.To.IsZero() {
		s = s.With(s.From, p.jid)
	}
	if s.Kind == IQ && (s.Type == TypeResult || s.Type == TypeError) {
		p.mu.Lock()
		req, ok := p.pending[s.ID]
		// A reply counts only from whom was asked (RFC 6120 §8.1.2.1).
		if ok = ok && req.to == s.From; ok {
			delete(p.pending, s.ID)
		}
		p.mu.Unlock()
		if ok {
			req.timer.Stop()
			if s.Type == TypeError {
				req.reply(nil, s.ErrorOf())
			} else {
				req.reply(s, nil)
			}
		}
		return nil
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return ErrGone
	}
	return p.sink(s)
}

// Send routes s from this port without waiting. An empty From becomes the
// port's address.
func (p *LocalPort) Send(s *Stanza) {
	if s.From.IsZero() {
		s = s.With(p.jid, s.To)
	}
	p.router.RouteNow(s)
}

// Go sends an IQ request under an id of its own and calls reply exactly once:
// with the result, with a *StanzaError, with ErrTimeout, or with ErrGone when
// the port closes. reply must not wait; actors put what they get into their own
// mailbox. It returns the id.
func (p *LocalPort) Go(s *Stanza, timeout time.Duration, reply func(*Stanza, error)) string {
	id := "c" + strconv.FormatUint(p.ids.Add(1), 36)
	s = s.WithID(id)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		reply(nil, ErrGone)
		return id
	}
	timer := time.AfterFunc(timeout, func() {
		if p.take(id) {
			reply(nil, ErrTimeout)
		}
	})
	p.pending[id] = pendingRequest{to: s.To, reply: reply, timer: timer}
	p.mu.Unlock()
	p.Send(s)
	return id
}

// Request is Go for callers that may wait: tests and start-up.
func (p *LocalPort) Request(ctx context.Context, s *Stanza, timeout time.Duration) (*Stanza, error) {
	type answer struct {
		s   *Stanza
		err error
	}
	ch := make(chan answer, 1)
	p.Go(s, timeout, func(s *Stanza, err error) { ch <- answer{s, err} })
	select {
	case a := <-ch:
		return a.s, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *LocalPort) take(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.pending[id]
	delete(p.pending, id)
	return ok
}

// Close unbinds the port and ends its pending requests.
func (p *LocalPort) Close() {
	p.release()
	p.mu.Lock()
	pending := p.pending
	p.pending, p.closed = map[string]pendingRequest{}, true
	p.mu.Unlock()
	for _, req := range pending {
		req.timer.Stop()
		req.reply(nil, ErrGone)
	}
}
