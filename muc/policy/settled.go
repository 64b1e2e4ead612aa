package policy

import "confab/muc"

// Settled gives people the standing that was settled before the room existed
// (muc.RoomPolicy).
type Settled struct{}

// Name implements muc.Stage.
func (Settled) Name() string { return "settled" }

// Join implements muc.Stage.
func (Settled) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	bare := j.Real.Bare()
	old := r.Affiliation(bare)
	if old == muc.AffOutcast || !j.Person(r) {
		return muc.Pass
	}
	// That all are moderators concerns those who have come past the lobby.
	p := *r.Policy()
	p.AllModerators = false
	if aff := p.Standing(bare, j.Client.ID()); aff > old {
		r.SetAffiliation(bare, aff)
	}
	return muc.Pass
}
