package policy

import "confab/muc"

// Flip lets somebody who is in the meeting come in from another device, which takes
// the place of the first one (mod_muc_flip). Who that is says its token alone.
type Flip struct{}

// flipFeature is what the token must allow.
const flipFeature = "flip"

// Name implements muc.Stage.
func (Flip) Name() string { return "flip" }

// Join implements muc.Stage. The tag itself never gets to anybody.
func (Flip) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	id, bare := j.Client.ID(), j.Real.Bare()
	if !j.Stanza.Has("", "flip_device") || id == "" || !j.Client.Features[flipFeature] || r.Affiliation(bare) == muc.AffOutcast {
		return muc.Pass
	}
	for _, o := range r.Occupants() {
		for _, t := range o.Seats {
			c := t.Client
			if c.ID() != id || c.Claims.Issuer != j.Client.Claims.Issuer || c.Claims.Scope != j.Client.Claims.Scope || o.Nick == j.Nick {
				continue
			}
			j.Replaces, j.Vouched = o, true
			if aff := max(o.Aff, muc.AffMember); aff > r.Affiliation(bare) {
				r.SetAffiliation(bare, aff)
			}
			return muc.Pass
		}
	}
	return muc.Pass
}
