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
	id := ""
	if c := j.Client.Claims; c != nil {
		id = c.User["id"]
	}
	if aff := r.Policy().Standing(bare, id); aff > old {
		r.SetAffiliation(bare, aff)
	}
	return muc.Pass
}
