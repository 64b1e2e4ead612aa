package services

import (
	"confab/muc"
	"confab/xmpp"
)

// Everyone keeps everybody a moderator where all are (muc_allowners). policy.Moderators
// makes them that.
type Everyone struct{ here bool }

// NewEveryone makes the service of one room; in says whether everybody moderates it.
func NewEveryone(in func(*muc.Room) bool) func(*muc.Room) muc.RoomService {
	return func(r *muc.Room) muc.RoomService { return Everyone{in(r)} }
}

// Name implements muc.RoomService.
func (Everyone) Name() string { return "everyone" }

// Rule implements muc.Ruling: nobody takes the rank from anybody. The app asks for it
// when it makes all members on the way to a lobby, and takes no harm.
func (e Everyone) Rule(_ *muc.Room, _ *muc.Occupant, _ xmpp.JID, _, aff muc.Affiliation) error {
	if e.here && aff < muc.AffAdmin {
		return xmpp.Forbidden("")
	}
	return nil
}

// Left implements muc.Left. The rank comes anew with every joining, and there is no
// end to those who may come: what nobody needs is forgotten.
func (e Everyone) Left(r *muc.Room, o *muc.Occupant, why muc.Departure) {
	if !e.here || why.Switch || why.Banned || o.Admin() || r.Affiliation(o.Bare()) != muc.AffOwner {
		return
	}
	for _, in := range r.Meeting() {
		for _, other := range in.Occupants() {
			if other.Bare() == o.Bare() {
				return
			}
		}
	}
	aff := muc.AffNone
	if r.Main().MembersOnly() {
		aff = muc.AffMember // it needn't knock again
	}
	r.SetAffiliation(o.Bare(), aff)
}
