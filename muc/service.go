package muc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"confab/internal/mailbox"
	"confab/xmpp"
)

// Service is one MUC domain. It finds the room of a stanza; the rest is the
// room's business.
type Service struct {
	cfg    Config
	domain xmpp.JID
	router *xmpp.Router
	log    *slog.Logger
	port   *xmpp.LocalPort // asks the focus; nil unless SummonFocus
	admins map[xmpp.JID]bool
	stats  counters

	ctx    context.Context // of all meetings
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.RWMutex
	rooms   map[xmpp.JID]*Room
	stopped bool
}

type counters struct {
	occupants, joins, refused, parked, messages, iqs, overflows, panics atomic.Int64
}

// Stats is a snapshot of the counters of a service.
type Stats struct {
	Rooms     int   // now
	Occupants int64 // now
	Parked    int64 // joins that wait now
	Joins     int64 // admitted, in all
	Refused   int64 // joins answered with an error, in all
	Messages  int64 // relayed to rooms or occupants, in all
	IQs       int64 // relayed between occupants, in all
	Overflows int64 // events that found a mailbox full
	Panics    int64 // rooms closed by a programming error
}

// NewService makes the service for cfg.Domain. The caller hangs it on the router
// and runs it.
func NewService(cfg Config, router *xmpp.Router, log *slog.Logger) *Service {
	sv := &Service{
		cfg:    cfg.withDefaults(),
		domain: xmpp.JID{Domain: cfg.Domain},
		router: router,
		log:    log,
		admins: map[xmpp.JID]bool{},
		rooms:  map[xmpp.JID]*Room{},
	}
	for _, j := range cfg.Admins {
		sv.admins[j.Bare()] = true
	}
	if sv.cfg.Client == nil {
		sv.cfg.Client = func(xmpp.Port) Client { return Client{} }
	}
	sv.ctx, sv.cancel = context.WithCancel(context.Background())
	if cfg.SummonFocus && !cfg.FocusService.IsZero() {
		port, err := router.NewLocalPort(sv.domain.WithResource("summon"), func(*xmpp.Stanza) error { return xmpp.ErrGone })
		if err != nil {
			panic("muc: two services on " + cfg.Domain)
		}
		sv.port = port
	}
	return sv
}

// Run serves until ctx ends; it returns when all rooms' goroutines are gone. The
// occupants are told nothing: their connections end, too.
func (sv *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	sv.mu.Lock()
	sv.stopped = true
	sv.mu.Unlock()
	if sv.port != nil {
		sv.port.Close()
	}
	sv.cancel()
	sv.wg.Wait()
	return ctx.Err()
}

// Domain is the address of the service.
func (sv *Service) Domain() xmpp.JID { return sv.domain }

// IsAdmin reports whether an account is an admin of the service.
func (sv *Service) IsAdmin(j xmpp.JID) bool { return sv.admins[j.Bare()] }

// HandleStanza implements xmpp.Handler.
func (sv *Service) HandleStanza(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	if sv.cfg.Access != nil && !slices.Contains(sv.cfg.Access, s.From.Domain) && s.From.Domain != sv.cfg.Domain {
		// muc_filter_access: nobody can pose as a bridge.
		return xmpp.Forbidden("")
	}
	if s.To.Local == "" {
		return sv.domainStanza(s)
	}
	return sv.toRoom(ctx, s, wait)
}

func (sv *Service) toRoom(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	for {
		r := sv.room(s.To.Bare())
		if r == nil {
			create, live, err := sv.missing(s)
			if !create && err != nil {
				sv.bounce(s, err)
			}
			if !create {
				return nil
			}
			if r, err = sv.create(s.To.Bare(), live); err != nil {
				sv.bounce(s, err)
				return nil
			}
		}
		err := r.post(ctx, event{kind: evStanza, s: s}, wait)
		if errors.Is(err, mailbox.ErrClosed) && sv.ctx.Err() == nil && ctx.Err() == nil {
			continue // it has just ended, and is out of the table
		}
		if errors.Is(err, mailbox.ErrClosed) {
			return xmpp.ServiceUnavailable("")
		}
		return err
	}
}

// Command hands a message to a component to the service of that name in a room,
// on the room's goroutine.
func (sv *Service) Command(ctx context.Context, name string, room xmpp.JID, s *xmpp.Stanza, wait bool) error {
	r := sv.room(room.Bare())
	if r == nil {
		return xmpp.ItemNotFound("")
	}
	err := r.post(ctx, event{kind: evCommand, name: name, s: s}, wait)
	if errors.Is(err, mailbox.ErrClosed) {
		return xmpp.ItemNotFound("")
	}
	return err
}

func (sv *Service) room(j xmpp.JID) *Room {
	sv.mu.RLock()
	defer sv.mu.RUnlock()
	return sv.rooms[j]
}

// missing decides about a stanza to a room that does not exist: whether the room
// is created, and if so whether it is live at once or waits for the focus.
func (sv *Service) missing(s *xmpp.Stanza) (create, live bool, err error) {
	switch s.Kind {
	case xmpp.IQ:
		return false, false, xmpp.ItemNotFound("")
	case xmpp.Message:
		if s.Type == xmpp.TypeError {
			return false, false, nil
		}
		return false, false, xmpp.ItemNotFound("")
	}
	switch s.Type {
	case xmpp.TypeUnavailable:
		sv.echoLeave(s)
		return false, false, nil
	case "":
	default:
		return false, false, nil
	}
	if s.To.Resource == "" {
		return false, false, xmpp.JIDMalformed("")
	}
	if !s.Has(NSMUC, "x") {
		return false, false, xmpp.ItemNotFound(textNotConnected)
	}
	port, ok := sv.router.Port(s.From)
	switch {
	case !ok:
		return false, false, nil // it is gone
	case sv.IsAdmin(s.From):
		return true, true, nil
	case sv.port != nil && sv.cfg.Client(port).Room == "":
		// room-services.md §3.1: a stock client repeats its conference request by
		// itself; a plain one knows none, so the room asks in its place.
		return true, false, nil
	}
	sv.stats.refused.Add(1)
	return false, false, xmpp.NotAllowed(TextCreation)
}

// create makes the room or returns the one that somebody else just made.
func (sv *Service) create(j xmpp.JID, live bool) (*Room, error) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if r := sv.rooms[j]; r != nil {
		return r, nil
	}
	if sv.stopped {
		return nil, xmpp.ServiceUnavailable("")
	}
	if len(sv.rooms) >= sv.cfg.MaxRooms {
		return nil, xmpp.ResourceConstraint("")
	}
	r := newRoom(sv, j, live)
	r.m = &meeting{box: mailbox.New[event](sv.cfg.Mailbox), room: r}
	sv.rooms[j] = r
	sv.wg.Go(func() { r.m.run(sv.ctx) })
	return r, nil
}

// replace puts a room in the place of one that has ended in the same meeting.
func (sv *Service) replace(r *Room) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	sv.rooms[r.jid] = r
}

// retire takes a meeting whose room has ended out of the table, unless somebody
// has just written to it.
func (sv *Service) retire(m *meeting) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if !m.box.CloseIfEmpty() {
		return false
	}
	delete(sv.rooms, m.room.jid)
	return true
}

// bounce answers s with err where an answer is due.
func (sv *Service) bounce(s *xmpp.Stanza, err error) {
	if s.Type == xmpp.TypeError || s.Kind == xmpp.IQ && !s.IsRequest() || s.Kind == xmpp.Presence && s.Type == xmpp.TypeUnavailable {
		return
	}
	var se *xmpp.StanzaError
	switch {
	case errors.As(err, &se):
	case errors.Is(err, xmpp.ErrFull):
		se = xmpp.ResourceConstraint("")
	case errors.Is(err, xmpp.ErrGone):
		se = xmpp.ServiceUnavailable("")
	default:
		sv.log.Error("stanza not handled", "jid", s.From.String(), "stanza_id", s.ID, "err", err)
		se = xmpp.InternalServerError("")
	}
	sv.router.RouteNow(refusal(s, se))
}

// echoLeave answers a leave of somebody who is not in the room: LJM waits for
// the echo for up to 5 s at every hang-up.
func (sv *Service) echoLeave(s *xmpp.Stanza) {
	if s.To.Resource == "" {
		return
	}
	port, ok := sv.router.Port(s.From)
	if !ok {
		return
	}
	var e xmpp.Enc
	e.Start("x", NSUser).Start("item", "").Attr("affiliation", "none").Attr("role", "none").Attr("jid", s.From.String()).End()
	e.Start("status", "").Attr("code", "110").End().End()
	_ = port.Deliver(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, s.ID, s.To, s.From, e.String()))
}

// Stats returns a snapshot of the counters.
func (sv *Service) Stats() Stats {
	sv.mu.RLock()
	rooms := len(sv.rooms)
	sv.mu.RUnlock()
	return Stats{
		Rooms: rooms, Occupants: sv.stats.occupants.Load(), Parked: sv.stats.parked.Load(), Joins: sv.stats.joins.Load(),
		Refused: sv.stats.refused.Load(), Messages: sv.stats.messages.Load(), IQs: sv.stats.iqs.Load(),
		Overflows: sv.stats.overflows.Load(), Panics: sv.stats.panics.Load(),
	}
}

// Rooms lists the addresses of the rooms, in no order.
func (sv *Service) Rooms() []xmpp.JID {
	sv.mu.RLock()
	defer sv.mu.RUnlock()
	out := make([]xmpp.JID, 0, len(sv.rooms))
	for j := range sv.rooms {
		out = append(out, j)
	}
	return out
}

// Debug is the state of a room as JSON, for the admin listener. It waits for the
// room until ctx ends.
func (sv *Service) Debug(ctx context.Context, room xmpp.JID) (json.RawMessage, error) {
	r := sv.room(room)
	if r == nil {
		return nil, fmt.Errorf("room %s: %w", room, xmpp.ErrGone)
	}
	out := make(chan json.RawMessage, 1)
	err := r.post(ctx, event{kind: evDebug, fn: func() { out <- r.debug() }}, false)
	if err != nil {
		return nil, fmt.Errorf("room %s: %w", room, err)
	}
	select {
	case b := <-out:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-sv.ctx.Done():
		return nil, xmpp.ErrGone
	}
}
