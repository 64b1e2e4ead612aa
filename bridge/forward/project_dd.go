package forward

import "confab/bridge/rtpx"

// ddState filters layers by decode targets, as the dependency descriptor tells
// them: AV1, and H264 with a descriptor (bridge.md §11.5).
type ddState struct {
	template uint8 // what is added to template ids
	target   int   // decode target that is forwarded, -1 none
	spatial  int   // its spatial layer
	want     int
	since    int64  // since when want differs from target
	active   uint32 // decode targets that the sender produces

	below int // frames of lower spatial layers since one of ours
	reach int // highest spatial layer among them
	limit int // highest spatial layer that the sender is known to produce
	// Of the last decision: the decode target, and whether the picture is above the
	// temporal limit.
	aim  int
	skip bool

	moved  bool
	movedN uint16 // frame at which the decode target changed
}

func newDDState() ddState {
	return ddState{target: -1, active: ^uint32(0), limit: 7}
}

// accept decides about a frame by what it means to the decode target. A late
// frame changes nothing.
func (s *ddState) accept(p *projection, in *rtpx.Info, spatial, temporal int, late bool, now int64) bool {
	d := &in.DD
	if !in.HasDD {
		p.needKey = true // its structure was lost
		return false
	}
	if late {
		return s.late(p, in)
	}
	if d.HasActive {
		s.active = d.Active
	}
	if sp := int(d.Spatial); sp > s.limit {
		s.limit = 7
	}
	want := max(d.Structure.Target(min(spatial, s.limit), temporal, s.active), 0)
	if in.Key || s.target < 0 || s.target >= int(d.Structure.Targets) {
		s.move(d, want)
		s.since = now
	}
	if s.want != want {
		s.want, s.since = want, now
	}
	forwarded := s.refersToForwarded(p, d, true)
	down := false
	if want != s.target {
		to, from := d.Structure.TargetSpatial[want], d.Structure.TargetSpatial[s.target]
		switch {
		case d.DTIs[want] == rtpx.Switch && s.refersToForwarded(p, d, false) && (to <= from || p.beside(in) == nil):
			s.move(d, want)
		case to == from: // a temporal layer: its frame comes
		case now-s.since > pendingTarget, d.Spatial == to && d.DTIs[want] >= rtpx.Switch && !forwarded:
			// JVB waits for a structure that can; this one refers to what we left out.
			p.needKey = true
		}
		down = want < s.target
	}
	if int(d.Spatial) < s.spatial {
		s.below++
		s.reach = max(s.reach, int(d.Spatial))
		if s.below > staleFrames*s.spatial {
			p.needKey = true // ours dried up: go on with what there is
			s.limit = s.reach
		}
	} else {
		s.below, s.reach = 0, 0
	}
	s.aim = s.target
	s.skip = down && d.Temporal > d.Structure.TargetTemporal[want]
	switch dti := d.DTIs[s.target]; {
	case dti == rtpx.NotPresent, s.skip:
		return false
	case !forwarded:
		// A receiver would wait for what it refers to.
		p.needKey = p.needKey || dti >= rtpx.Switch
		return false
	}
	return true
}

// late decides about a frame of which later ones were sent already, by what held
// for its picture.
func (s *ddState) late(p *projection, in *rtpx.Info) bool {
	d := &in.DD
	n := int(d.Structure.Targets)
	if s.target < 0 || s.target >= n {
		return false
	}
	s.aim = s.target
	s.skip = s.want < s.target && s.want < n && d.Temporal > d.Structure.TargetTemporal[s.want]
	if f := p.beside(in); f != nil && f.aim < n {
		s.aim, s.skip = f.aim, f.skip
	}
	return !s.skip && d.DTIs[s.aim] != rtpx.NotPresent && s.refersToForwarded(p, d, true)
}

// move changes the decode target.
func (s *ddState) move(d *rtpx.DD, target int) {
	s.moved = s.moved || s.target != target
	s.target, s.want = target, target
	s.spatial = int(d.Structure.TargetSpatial[target])
	s.below, s.reach = 0, 0
	s.movedN = d.Frame
}

func (s *ddState) refersToForwarded(p *projection, d *rtpx.DD, otherwise bool) bool {
	for _, diff := range d.Diffs[:d.NDiffs] {
		if !p.accepted(d.Frame-diff, otherwise) {
			return false
		}
	}
	return true
}

// top says whether the frame decided about last is of the highest spatial layer of
// its decode target.
func (s *ddState) top(in *rtpx.Info) bool {
	return in.HasDD && s.aim < int(in.DD.Structure.Targets) && in.DD.Spatial == in.DD.Structure.TargetSpatial[s.aim]
}

// announce is the mask of active decode targets that goes with a frame: at key
// frames, and where the decode target or the sender's mask changes, those that
// need no more than ours. It is 0 when there is nothing to say.
func (s *ddState) announce(in *rtpx.Info) uint32 {
	d := &in.DD
	if !in.HasDD || s.target < 0 || s.target >= int(d.Structure.Targets) {
		return 0
	}
	if !d.HasActive && !(s.moved && s.movedN == d.Frame) {
		return 0
	}
	s.moved = false
	st := d.Structure
	var mask uint32
	for i := range int(st.Targets) {
		if st.TargetSpatial[i] <= st.TargetSpatial[s.target] && st.TargetTemporal[i] <= st.TargetTemporal[s.target] {
			mask |= 1 << i
		}
	}
	mask &= s.active
	all := uint32(uint64(1)<<st.Targets - 1)
	if mask == all && d.HasStructure {
		return 0 // what a structure means without a mask
	}
	return mask
}
