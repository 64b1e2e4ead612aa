package xmpp

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

// Port accepts stanzas for one full JID. Deliver never waits; it returns ErrGone
// or ErrFull. A stanza with an empty To is addressed to the port.
type Port interface {
	JID() JID
	Deliver(s *Stanza) error
}

// Handler serves all addresses of one domain: a MUC service, the focus, a host.
// A *StanzaError becomes the reply to what asks for one; wait says that the
// caller is a connection's reader and may be made to wait until ctx ends.
type Handler interface {
	HandleStanza(ctx context.Context, s *Stanza, wait bool) error
}

const routerShards = 64

// Router finds the receiver of a stanza: the bound full JID, else the handler of
// the domain. Bounces are its business: senders need not look at errors.
type Router struct {
	seed    maphash.Seed
	shards  [routerShards]routerShard
	domains atomic.Pointer[map[string]Handler] // copied on write
	tenants atomic.Pointer[map[string]Handler] // by domain without the second label; copied on write
	mu      sync.Mutex                         // serialises writers of domains
	log     *slog.Logger
}

type routerShard struct {
	mu    sync.RWMutex
	ports map[JID]Port
}

// NewRouter returns an empty router.
func NewRouter(log *slog.Logger) *Router {
	r := &Router{seed: maphash.MakeSeed(), log: log}
	for i := range r.shards {
		r.shards[i].ports = map[JID]Port{}
	}
	r.domains.Store(&map[string]Handler{})
	r.tenants.Store(&map[string]Handler{})
	return r
}

// Serve makes h the handler of a domain.
func (r *Router) Serve(domain string, h Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.domains.Load())
	next[domain] = h
	r.domains.Store(&next)
}

// ServeTenants makes h the handler also of a domain's tenants: of conference.
// ACME.meet.example for conference.meet.example (room-services.md §4.9). A domain
// with a handler of its own is none.
func (r *Router) ServeTenants(domain string, h Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.tenants.Load())
	next[domain] = h
	r.tenants.Store(&next)
}

// handler serves a domain.
func (r *Router) handler(domain string) (Handler, bool) {
	if h, ok := (*r.domains.Load())[domain]; ok {
		return h, true
	}
	first, rest, _ := strings.Cut(domain, ".")
	_, rest, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, false
	}
	h, ok := (*r.tenants.Load())[first+"."+rest]
	return h, ok
}

// Bind makes p the receiver for its JID. It refuses an address that is bound.
func (r *Router) Bind(p Port) (release func(), err error) {
	j := p.JID()
	sh := r.shard(j)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, taken := sh.ports[j]; taken {
		return nil, Conflict("address in use")
	}
	sh.ports[j] = p
	return func() { r.unbind(p) }, nil
}

// unbind frees the address of p, unless it is another's by now.
func (r *Router) unbind(p Port) {
	j := p.JID()
	sh := r.shard(j)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.ports[j] == p {
		delete(sh.ports, j)
	}
}

// Port is the receiver bound to a full JID.
func (r *Router) Port(full JID) (Port, bool) {
	sh := r.shard(full)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	p, ok := sh.ports[full]
	return p, ok
}

func (r *Router) shard(j JID) *routerShard {
	return &r.shards[maphash.Comparable(r.seed, j)%routerShards]
}

// Route delivers s and may wait for a full mailbox; for connection readers only.
func (r *Router) Route(ctx context.Context, s *Stanza) { r.route(ctx, s, true) }

// RouteNow delivers s and never waits; for ports, actors and handlers.
func (r *Router) RouteNow(s *Stanza) { r.route(context.Background(), s, false) }

func (r *Router) route(ctx context.Context, s *Stanza, wait bool) {
	err := r.deliver(ctx, s, wait)
	if err == nil || s.Type == TypeError || s.Kind == IQ && s.Type == TypeResult || ctx.Err() != nil {
		return // RFC 6120 §8.3.1: errors and results are never answered
	}
	if s.Kind == Presence && s.Type == TypeUnavailable || s.From.IsZero() {
		return
	}
	var se *StanzaError
	switch {
	case errors.As(err, &se):
	case errors.Is(err, ErrFull):
		se = ResourceConstraint("")
	case errors.Is(err, ErrGone):
		se = ServiceUnavailable("") // RFC 6121 §8.5.3.2.3
	default:
		id := fmt.Sprintf("E-%06x", rand.Uint32()&0xffffff)
		r.log.Error("stanza not handled", "id", id, "jid", s.From.String(), "stanza_id", s.ID, "err", err)
		se = InternalServerError("id " + id)
	}
	if s.Kind != IQ && se.Cond == CondServiceUnavailable {
		return // a message or presence to somebody who left is dropped
	}
	reply := se.Reply(s)
	if p, ok := r.Port(s.From); ok {
		_ = p.Deliver(reply)
		return
	}
	if h, ok := r.handler(s.From.Domain); ok {
		_ = h.HandleStanza(context.Background(), reply, false)
	}
}

func (r *Router) deliver(ctx context.Context, s *Stanza, wait bool) error {
	if s.To.Resource != "" {
		if p, ok := r.Port(s.To); ok {
			return p.Deliver(s)
		}
	}
	if h, ok := r.handler(s.To.Domain); ok {
		return h.HandleStanza(ctx, s, wait)
	}
	return RemoteServerNotFound("")
}
