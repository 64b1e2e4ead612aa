package forward

import "confab/bridge/rtpx"

// vp9State filters the layers of VP9 (bridge.md §11.4).
type vp9State struct {
	spatial   int  // spatial layer that is forwarded
	temporal  int  // temporal limit in force
	layers    int  // spatial layers that the sender has
	below     int  // frames of lower layers since one of ours
	forwarded uint // bit per spatial layer: its newest frame was forwarded
	keyTS     uint32
	keyTop    int // top layer expected in the key picture

	// Of the last decision: the top layer of the picture, and whether the picture
	// is above the temporal limit.
	aim  int
	skip bool
}

// accept decides about a layer frame. Going up needs a frame that depends on
// nothing we left out, in a key picture, so that the layers below are known not to
// be the top; going down needs one as well, because in K-SVC the lower layers
// were not forwarded.
func (s *vp9State) accept(p *projection, in *rtpx.Info, spatial, temporal int, late bool) bool {
	if late {
		return s.late(p, in)
	}
	v := &in.VP9
	sid := int(v.SID)
	bit := uint(1) << sid
	if v.HasSS {
		s.layers = int(v.Layers)
	}
	if s.layers > 0 {
		spatial = min(spatial, s.layers-1)
	}
	if v.Key() || !v.InterPicture && v.TID == 0 && p.beside(in) == nil {
		// A key picture, or one of which the base is missing. Of the layers up to the top nothing is known yet: one that is missing when
		// the next comes is awaited, as it is in every other picture.
		s.spatial, s.forwarded = 0, 1<<(spatial+1)-1
		if v.Key() {
			s.temporal = temporal
		}
		s.keyTS, s.keyTop = in.TS, spatial
	}
	usable := (!v.InterPicture || s.forwarded&bit != 0) &&
		(!v.InterLayer || sid == 0 || s.forwarded&(bit>>1) != 0)

	s.temporal = min(s.temporal, temporal)
	s.skip = false
	if int(v.TID) > s.temporal {
		if int(v.TID) > temporal || !v.SwitchUp {
			s.skip = true
			return false
		}
		s.temporal = int(v.TID)
	}
	key := in.TS == s.keyTS
	ok := false
	switch {
	case sid == s.spatial:
		s.below = 0
		ok = usable
		p.needKey = !ok
	case sid < s.spatial:
		s.below++
		switch {
		case sid == spatial && usable && !key:
			s.spatial, ok = sid, true // down, without a key frame
		default:
			// Ours dried up, or the lower one cannot be joined here.
			p.needKey = sid == spatial || s.below > staleFrames*s.spatial
			ok = usable && !v.NotUpperRef
		}
	case sid <= spatial:
		ok = usable && key
		p.needKey = !ok
		if ok {
			s.spatial, s.below = sid, 0
		}
	}
	if ok {
		s.forwarded |= bit
	} else {
		s.forwarded &^= bit
	}
	if s.aim = s.spatial; key {
		s.aim = s.keyTop
	}
	return ok
}

// late decides about a layer frame of which later ones were sent already, by what
// held for its picture.
func (s *vp9State) late(p *projection, in *rtpx.Info) bool {
	v := &in.VP9
	sid := int(v.SID)
	s.aim, s.skip = s.spatial, int(v.TID) > s.temporal
	if f := p.beside(in); f != nil {
		s.aim, s.skip = f.aim, f.skip
	}
	if s.skip || sid > s.aim || sid < s.aim && v.NotUpperRef {
		return false
	}
	if v.InterLayer && sid > 0 && !p.hasLayer(in, sid-1) {
		return false
	}
	if v.InterPicture {
		return p.joins(in)
	}
	if in.TS == s.keyTS && sid > s.spatial && in.TS == p.newestTS {
		s.spatial = sid
		s.forwarded |= 1 << sid
	}
	return true
}

// hasLayer says whether a layer of the picture of a packet was forwarded, or may be
// when it comes.
func (p *projection) hasLayer(in *rtpx.Info, sid int) bool {
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		if f := &p.frames[i%frameMemory]; f.ts == in.TS && int(f.spatial) == sid {
			return f.accept
		}
	}
	return true
}
