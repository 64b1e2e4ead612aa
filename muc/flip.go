package muc

// flipped puts out the device that another one has taken the place of. The tag keeps
// its client and the others quiet about it (LJM ChatRoom.onPresenceUnavailable).
func (r *Room) flipped(old, by *Occupant) {
	if r.occ[old.Nick] != old || old == by {
		return
	}
	if old.bare != by.bare {
		r.SetAffiliation(old.bare, AffNone)
		old.Aff = AffNone
	}
	const tag = "<flip_device/>"
	for _, t := range old.Seats {
		for _, in := range r.Meeting() {
			// It may be in the lobby, too, to let others in.
			if o := in.Occupies(t.Real); in != r && o != nil {
				in.remove(o, payload{lead: tag}, change{codes: []int{307}}, r.sv.cfg.Linger)
			}
		}
	}
	r.remove(old, payload{lead: tag}, change{codes: []int{307}}, r.sv.cfg.Linger)
}
