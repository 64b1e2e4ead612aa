package forward

import "confab/bridge/rtpx"

// temporalState filters the temporal layers of VP8 (bridge.md §11.3).
type temporalState struct {
	frames [maxTemporal]struct {
		id       uint16
		set      bool
		accepted bool
	}
}

// accept decides about a frame by its temporal layer. A frame above the base is
// of use only if the newest frame of its own or a lower layer was forwarded.
//
// A late frame holds a place in the line of picture ids, and receivers wait for
// it before they decode what follows in the same or a higher layer. So it is
// forwarded even above the limit, if it can be decoded.
func (t *temporalState) accept(p *projection, in *rtpx.Info, limit int, late bool) bool {
	v := &in.VP8
	tid := int(v.TID)
	if late {
		ok := in.Key || p.joins(in)
		if f := &t.frames[tid]; v.HasPictureID && after15(v.PictureID, f.id) {
			f.id, f.set, f.accepted = v.PictureID, true, ok
		}
		return ok
	}
	ok := tid <= limit
	if ok && tid > 0 && v.HasPictureID {
		newest := -1
		for i := 0; i <= tid; i++ {
			f := &t.frames[i]
			if f.set && (newest < 0 || after15(f.id, t.frames[newest].id)) {
				newest = i
			}
		}
		ok = newest < 0 || t.frames[newest].accepted || v.Sync && t.frames[0].accepted
	}
	if v.HasPictureID {
		if f := &t.frames[tid]; !f.set || after15(v.PictureID, f.id) {
			f.id, f.set, f.accepted = v.PictureID, true, ok
		}
	}
	return ok
}
