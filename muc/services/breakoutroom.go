package services

import (
	"confab/muc"
	"confab/xmpp"
)

// breakoutRoom is the service of one breakout room. It tells that of the main room
// what happens, and clients what kind of room it is.
type breakoutRoom struct {
	all  *breakouts
	name string
}

// Name implements muc.RoomService.
func (*breakoutRoom) Name() string { return BreakoutName }

// Command implements muc.Command: moderators may command from where they are.
func (x *breakoutRoom) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	return x.all.Command(r, o, s)
}

// Joining implements muc.Joining.
func (x *breakoutRoom) Joining(_ *muc.Room, _ *muc.Occupant, t *muc.Seat) { x.all.arrives(t.Real) }

// Joined implements muc.Joined.
func (x *breakoutRoom) Joined(_ *muc.Room, o *muc.Occupant) { x.all.joined(o) }

// Left implements muc.Left.
func (x *breakoutRoom) Left(_ *muc.Room, o *muc.Occupant, why muc.Departure) { x.all.left(o, why) }

// Ranked implements muc.Ranked.
func (x *breakoutRoom) Ranked(*muc.Room, *muc.Occupant, muc.Role, *muc.Occupant) { x.all.changed() }

// Filter implements muc.Filter.
func (x *breakoutRoom) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	return x.all.Filter(r, o, s)
}

// Form implements muc.Formed. The focus reads it, and LJM: it has its way back to
// the main room from here, and the lobby, in which moderators admit people from
// where they are.
func (x *breakoutRoom) Form(r *muc.Room, f *muc.Form) {
	f.Bool("muc#roominfo_isbreakout", true)
	f.Text("muc#roominfo_breakout_main_room", r.Main().JID().String())
	if lobby := r.Main().FormValue("muc#roominfo_lobbyroom"); lobby != "" {
		f.Text("muc#roominfo_lobbyroom", lobby)
	}
}

// Submit implements muc.Formed: all of it is for reading.
func (*breakoutRoom) Submit(*muc.Room, *muc.Occupant, *muc.Form) error { return nil }

// Ended implements muc.Ended.
func (x *breakoutRoom) Ended(*muc.Room) { x.all.changed() }
