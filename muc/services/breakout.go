package services

import (
	"context"
	"sync/atomic"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// BreakoutName is the service of breakout rooms, its identity, the element of its
// commands and the type of its messages.
const BreakoutName = "breakout_rooms"

// BreakoutRename is the feature by which clients know that rooms can be renamed.
const BreakoutRename = "http://jitsi.org/protocol/breakout_rooms#rename"

const (
	// breakoutsEnd is how long a meeting with breakout rooms outlives its last person.
	breakoutsEnd = 5 * time.Second
	// breakoutSwitch is how long somebody may be on the way from one room to another:
	// the start timeout of the focus, which waits for it there.
	breakoutSwitch = 15 * time.Second
	// breakoutReturn is how long the main room lets somebody in again without asking.
	breakoutReturn = time.Minute
	// breakoutName is the length of a room's name; that of all goes to everybody.
	breakoutName = 256
)

// BreakoutConfig is what breakout rooms need to know.
type BreakoutConfig struct {
	Domain string        // of the rooms, and at the same time of the component: LJM knows the rooms by it
	Max    int           // rooms per meeting (rooms.breakouts_max); 0 is 100
	Linger time.Duration // of a meeting without people, if longer than 5 s (rooms.linger)
}

// Breakouts are the side rooms of meetings, in which people talk among themselves.
type Breakouts struct {
	cfg BreakoutConfig
	sv  *muc.Service
	max atomic.Int64
}

// NewBreakouts makes the feature; Serve completes it before anybody comes.
func NewBreakouts(cfg BreakoutConfig) *Breakouts {
	f := &Breakouts{cfg: cfg}
	f.SetMax(cfg.Max)
	return f
}

// SetMax changes how many rooms a meeting may have; those that are there stay.
func (f *Breakouts) SetMax(n int) {
	if n <= 0 {
		n = 100
	}
	f.max.Store(int64(n))
}

// Serve takes over the service of the breakout rooms, which has been made with
// InBreakout among its services, and is to be put on the router in its place. rooms
// is the service of the main rooms.
func (f *Breakouts) Serve(sv, rooms *muc.Service, router *xmpp.Router) xmpp.Handler {
	f.sv = sv
	return &breakoutDomain{sv: sv, component: NewComponent(BreakoutName, f.cfg.Domain, rooms, router), router: router}
}

// InMain makes the service of a main room; it fits muc.Config.Services.
func (f *Breakouts) InMain(r *muc.Room) muc.RoomService {
	return &breakouts{feature: f, main: r, passes: map[xmpp.JID]*pass{}, sweepAt: passSlack, switching: map[string]xmpp.JID{}}
}

// InBreakout makes the service of a breakout room; it fits muc.Config.Services.
func (f *Breakouts) InBreakout(r *muc.Room) muc.RoomService {
	main, _ := r.Main().Service(BreakoutName).(*breakouts)
	return &breakoutRoom{all: main}
}

// breakoutDomain is the address of the rooms and of the component at once.
type breakoutDomain struct {
	sv        *muc.Service
	component *Component
	router    *xmpp.Router
}

// HandleStanza implements xmpp.Handler.
func (d *breakoutDomain) HandleStanza(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	switch {
	case s.To.Local != "":
	case s.Kind == xmpp.Message:
		return d.component.HandleStanza(ctx, s, wait)
	case s.Kind == xmpp.IQ && s.Type == xmpp.TypeGet && s.Has(xmpp.NSInfo, "query") && s.Payload().Get("node") == BreakoutName:
		// LJM xmpp.processIdentity: asked when the features were not pushed.
		d.router.RouteNow(s.Result(xmpp.DiscoInfo{
			Identities: []xmpp.Identity{d.component.Identity()},
			Features:   []string{muc.NSMUC, xmpp.NSInfo, xmpp.NSPing, BreakoutRename},
		}.Inner(BreakoutName)))
		return nil
	}
	return d.sv.HandleStanza(ctx, s, wait)
}

// breakouts is the service of a main room: it has the breakout rooms of the meeting.
type breakouts struct {
	feature *Breakouts
	main    *muc.Room
	active  bool // since the first room was made, for good
	counter int  // rooms ever made

	passes    map[xmpp.JID]*pass  // of the sessions that have been in the main room
	sweepAt   int                 // how many, before those that are of no use are forgotten
	switching map[string]xmpp.JID // session by the nick that it takes along
	update    update
	closing   *time.Timer // ends the meeting; nil while there are people
}

// Name implements muc.RoomService.
func (*breakouts) Name() string { return BreakoutName }

// activate is called for the first room.
func (b *breakouts) activate() {
	if b.active {
		return
	}
	b.active = true
	b.main.Hold(BreakoutName) // everybody may be in breakout rooms
	for _, o := range b.main.Occupants() {
		for _, t := range o.Seats {
			b.admitted(o, t)
		}
	}
}

// rooms are the breakout rooms of the meeting.
func (b *breakouts) rooms() []*muc.Room { return b.main.Sides(b.feature.sv) }

// anybody reports whether there are people in the meeting.
func (b *breakouts) anybody() bool {
	for _, r := range b.main.Inside() {
		for _, o := range r.Occupants() {
			if o.Person() {
				return true
			}
		}
	}
	return false
}

// endIfDeserted ends the meeting some time after everybody has left it for good.
func (b *breakouts) endIfDeserted(switching bool) {
	if b.closing != nil || b.anybody() {
		return
	}
	d := max(breakoutsEnd, b.feature.cfg.Linger)
	if switching {
		d = max(d, breakoutSwitch)
	}
	var t *time.Timer
	t = b.main.After(d, func() {
		switch {
		case b.closing != t:
		case b.main.Held(BreakoutName): // people wait in the lobby: with them it ends
			b.closing = nil
			b.main.Unhold(BreakoutName)
		default:
			b.main.Destroy(xmpp.JID{}, "All occupants left.", nil)
		}
	})
	b.closing = t
}

// Joining implements muc.Joining.
func (b *breakouts) Joining(_ *muc.Room, o *muc.Occupant, t *muc.Seat) {
	if b.active {
		b.admitted(o, t)
	}
}

// Joined implements muc.Joined.
func (b *breakouts) Joined(_ *muc.Room, o *muc.Occupant) { b.joined(o) }

// joined is a join to any room of the meeting.
func (b *breakouts) joined(o *muc.Occupant) {
	if !b.active || o.Admin() {
		return
	}
	b.update.want(b, true)
	if !o.Person() {
		return
	}
	b.main.Hold(BreakoutName)
	if b.closing != nil {
		b.closing.Stop()
		b.closing = nil
	}
}

// Left implements muc.Left. Who is put out of the main room is put out of the
// breakout rooms.
func (b *breakouts) Left(_ *muc.Room, o *muc.Occupant, why muc.Departure) {
	if !b.active {
		return
	}
	if why.Kicked {
		for _, side := range b.rooms() {
			for _, t := range o.Seats {
				if in := side.Occupies(t.Real); in != nil {
					side.Kick(in, why.Actor, "")
				}
			}
		}
	}
	b.left(o, why)
}

// left is a departure from any room of the meeting.
func (b *breakouts) left(o *muc.Occupant, why muc.Departure) {
	if !b.active || o.Admin() {
		return
	}
	for _, t := range o.Seats {
		switch {
		case why.Kicked && b.main.Occupies(t.Real) == nil:
			b.expel(t.Real)
		case why.Switch:
			b.departs(o.Nick, t.Real)
		}
	}
	b.update.want(b, false)
	b.endIfDeserted(why.Switch)
}

// Ranked implements muc.Ranked: clients show who moderates.
func (b *breakouts) Ranked(*muc.Room, *muc.Occupant, muc.Role, *muc.Occupant) { b.changed() }

// Filter implements muc.Filter: a presence may bring another name.
func (b *breakouts) Filter(_ *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind == xmpp.Presence && !o.Admin() {
		b.changed()
	}
	return s, nil
}

func (b *breakouts) changed() {
	if b.active {
		b.update.want(b, false)
	}
}
