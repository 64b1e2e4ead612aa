package services

import (
	"confab/muc"
	"confab/xmpp"
)

// waiting is the service of the room in which people wait. Who was no moderator when
// it came in is a guest; the others are its staff. Guests see and hear the staff only,
// and of that no presence (room-services.md §6.1).
type waiting struct{ guest map[*muc.Occupant]bool }

const waitingName = "waiting"

func newWaiting(*muc.Room) muc.RoomService { return &waiting{guest: map[*muc.Occupant]bool{}} }

func waitingOf(side *muc.Room) *waiting { return side.Service(waitingName).(*waiting) }

// Name implements muc.RoomService.
func (*waiting) Name() string { return waitingName }

func (w *waiting) staff(o *muc.Occupant) bool { return o.Role == muc.RoleModerator && !w.guest[o] }

// Sees implements muc.Audience.
func (w *waiting) Sees(_ *muc.Room, by, of *muc.Occupant, kind xmpp.Kind) muc.View {
	seen := w.staff(by) && w.guest[of]
	if kind != xmpp.Presence {
		seen = w.staff(by) || w.staff(of)
	}
	if seen {
		return muc.ViewFull
	}
	return muc.ViewNone
}

// Joining implements muc.Joining: nobody has seen the occupant yet.
func (w *waiting) Joining(r *muc.Room, o *muc.Occupant, _ *muc.Seat) {
	if o.Role == muc.RoleModerator || w.guest[o] {
		return
	}
	w.guest[o] = true
	if l := LobbyOf(r); l != nil {
		l.hold(r.Main())
	}
}

// Left implements muc.Left: who is put out is not let in.
func (w *waiting) Left(r *muc.Room, o *muc.Occupant, why muc.Departure) {
	if !w.guest[o] {
		return
	}
	delete(w.guest, o)
	l, main := LobbyOf(r), r.Main()
	if l == nil || main.Over() {
		return
	}
	if why.Kicked && why.Actor != nil {
		name, _ := o.Name()
		l.notify(main, why.Actor.Seats[0].Real, notice{Event: "LOBBY-ACCESS-DENIED", Value: o.JID().String(), Name: name})
	}
	l.hold(main)
}

// Ranked implements muc.Ranked. A guest who is made a moderator, perhaps because it
// has logged in as the host, is let in. A moderator who is one no longer stays,
// unseen, but sees nobody: its client joins no second time when it is one again.
func (w *waiting) Ranked(r *muc.Room, o *muc.Occupant, _ muc.Role, _ *muc.Occupant) {
	switch {
	case w.guest[o]:
		if o.Role == muc.RoleModerator {
			for _, t := range o.Seats {
				r.Main().Admit(t.Real)
			}
		}
	case o.Role == muc.RoleModerator:
		for _, t := range o.Seats {
			r.Roster(t)
		}
	default:
		var e xmpp.Enc
		e.Start("x", muc.NSUser).Start("item", "").Attr("affiliation", "none").Attr("role", "none").End().End()
		for _, g := range r.Occupants() {
			if w.guest[g] {
				r.Tell(o, xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", g.JID(), xmpp.JID{}, e.String()))
			}
		}
	}
}

// Ended implements muc.Ended: a lobby that broke is made anew when it is needed.
func (w *waiting) Ended(r *muc.Room) {
	if l := LobbyOf(r); l != nil && l.side == r {
		l.side = nil
		l.hold(r.Main()) // nobody waits any more
	}
}
