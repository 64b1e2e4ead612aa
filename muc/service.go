package muc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	sides   []*Service // whose rooms belong to meetings of this one
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
	if cfg.Main != nil {
		cfg.Main.mu.Lock()
		cfg.Main.sides = append(cfg.Main.sides, sv)
		cfg.Main.mu.Unlock()
	}
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

// RoomOf is the main room whose meeting a session takes part in: the one that the
// URL of its connection names, else the only one that it is in (room-services.md
// §4.1: plain clients have no such URL).
func (sv *Service) RoomOf(real xmpp.JID) (xmpp.JID, bool) {
	port, ok := sv.router.Port(real)
	if !ok {
		return xmpp.JID{}, false
	}
	c := sv.cfg.Client(port)
	if c.Room != "" {
		if j, err := xmpp.ParseJID(c.Room + "@" + sv.TenantDomain(c.Tenant)); err == nil && sv.room(j) != nil {
			return j, true
		}
	}
	var found xmpp.JID
	for _, j := range c.In {
		main, ok := sv.MainOf(j)
		if !ok {
			continue
		}
		if !found.IsZero() && found != main {
			return xmpp.JID{}, false // which one is meant?
		}
		found = main
	}
	return found, !found.IsZero()
}

// MainOf is the main room of the meeting that the room j belongs to: itself, or
// that of which it is the lobby or a breakout room.
func (sv *Service) MainOf(j xmpp.JID) (xmpp.JID, bool) {
	if sv.room(j) != nil {
		return j, true
	}
	sv.mu.RLock()
	sides := sv.sides
	sv.mu.RUnlock()
	for _, side := range sides {
		if r := side.room(j); r != nil {
			return r.main.jid, true
		}
	}
	return xmpp.JID{}, false
}

// TenantDomain is the domain of a tenant's rooms: conference.TENANT.DOMAIN
// (room-services.md §4.9). Without tenant it is the service's own.
func (sv *Service) TenantDomain(tenant string) string {
	first, rest, ok := strings.Cut(sv.cfg.Domain, ".")
	if tenant == "" || !ok {
		return sv.cfg.Domain
	}
	return first + "." + tenant + "." + rest
}

// TenantOf is the tenant whose room j is, or "".
func (sv *Service) TenantOf(j xmpp.JID) string {
	first, rest, _ := strings.Cut(sv.cfg.Domain, ".")
	tenant, ok := strings.CutPrefix(j.Domain, first+".")
	if !ok {
		return ""
	}
	if tenant, ok = strings.CutSuffix(tenant, "."+rest); !ok {
		return ""
	}
	return tenant
}

// Do runs fn on the goroutine of a room and waits for it, until ctx ends: it may
// then still be run. It is item-not-found when there is no such room, or it ends
// before fn begins. It must not be called from a room.
func (sv *Service) Do(ctx context.Context, room xmpp.JID, fn func(*Room)) error {
	for {
		r := sv.room(room)
		if r == nil {
			return xmpp.ItemNotFound("")
		}
		began, err := sv.doIn(ctx, r, fn)
		if began || err != nil {
			return err
		}
		if sv.room(room) == r {
			return xmpp.ItemNotFound("") // it has ended, and nobody has opened it again
		}
	}
}

// doIn is Do in a room that may have ended.
func (sv *Service) doIn(ctx context.Context, r *Room, fn func(*Room)) (began bool, err error) {
	done := make(chan error, 1)
	err = r.post(ctx, event{kind: evDo, fn: func() {
		err := error(xmpp.InternalServerError("")) // fn panics: handle closes the room
		defer func() { done <- err }()
		if r.over {
			err = errOver
			return
		}
		fn(r)
		err = nil
	}}, true)
	switch {
	case errors.Is(err, mailbox.ErrClosed):
		return false, nil
	case err != nil:
		return false, err
	}
	select {
	case err := <-done:
		if errors.Is(err, errOver) {
			return false, nil
		}
		return true, err
	case <-ctx.Done():
		return false, ctx.Err()
	case <-sv.ctx.Done():
		return false, xmpp.ServiceUnavailable("")
	}
}

// errOver says that a room has ended before its turn came.
var errOver = errors.New("room has ended")

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
	if sv.cfg.Main != nil {
		sv.stats.refused.Add(1)
		return false, false, xmpp.NotAllowed(TextCreation)
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
	m := &meeting{box: mailbox.New[event](sv.cfg.Mailbox)}
	m.room = newRoom(sv, j, m, nil, live)
	sv.rooms[j] = m.room
	sv.wg.Go(func() { m.run(sv.ctx) })
	return m.room, nil
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
	var out json.RawMessage
	if err := sv.Do(ctx, room, func(r *Room) { out = r.debug() }); err != nil {
		return nil, fmt.Errorf("room %s: %w", room, err)
	}
	return out, nil
}
