package forward

import "confab/bridge/rtpx"

// Times of the switching rules, in nanoseconds.
const (
	// keyGroup is how long after a first key frame those of the other encodings
	// belong to the same answer (JVB: switching window).
	keyGroup = int64(300e6)
	// staleAfter and staleFrames say when the current encoding has dried up:
	// others went on for so long and so many frames.
	staleAfter  = int64(300e6)
	staleFrames = 8
	// flowing is how recent a frame of an encoding must be to wait for its key frame.
	flowing = int64(500e6)
	// pendingTarget is how long a decode target may wait for a switch point.
	pendingTarget = int64(250e6)
)

// frameMemory is how many frames a projection remembers its decisions about.
const frameMemory = 128

// projection turns the encodings of one video source into one continuous stream
// for one receiver. It decides once per frame (of VP9 and AV1: once per layer
// frame), so that all packets of a frame share its fate; it changes encodings
// at key frames only. Its worker alone touches it.
//
// What it leaves out leaves no gap in sequence numbers and VP8 picture ids;
// what has not arrived yet keeps its place.
type projection struct {
	cur     int // encoding that is forwarded, -1 none
	needKey bool
	// switched tells the egress that another encoding took over.
	switched bool

	numbers rtpx.Unwrapper // of the current encoding
	seq     gapMap
	first   int64 // position where the current encoding began
	tsOff   uint32
	tl0Off  uint8
	idOff   uint16 // picture id (VP9), frame number (AV1)
	pids    gapMap // picture id (VP8)
	pidLast int64

	keyAt  int64 // last key frame that was taken
	curAt  int64 // last packet of the current encoding
	missed int   // frames of lower encodings since
	seenAt [maxEncodings]int64

	vp8 temporalState
	vp9 vp9State
	av1 av1State

	frames  [frameMemory]frame
	nFrames int // ever
}

// frame is a decision.
type frame struct {
	ts      uint32
	id      uint16 // picture id or frame number as it came
	out     uint16 // VP8: picture id as it goes
	spatial uint8
	accept  bool
}

func newProjection() *projection { return &projection{cur: -1, keyAt: -1 << 62} }

// suspend makes the next packet wait for a key frame.
func (p *projection) suspend() { p.cur = -1 }

// project decides about a packet; o is where the outgoing stream stands. ok is
// false when the packet is not for this receiver now.
func (p *projection) project(in *rtpx.Info, o *outStream, target rtpx.Layer, now int64) (rw rewrite, ok bool) {
	p.needKey = false
	if target < 0 {
		p.cur = -1
		return rw, false
	}
	enc := int(in.Encoding)
	if enc >= maxEncodings {
		return rw, false
	}
	p.seenAt[enc] = now

	var f *frame
	if enc == p.cur {
		p.curAt, p.missed = now, 0
		f = p.find(in)
	}
	if f == nil {
		accept := p.decide(in, o, target, now)
		if enc != p.cur {
			return rw, false
		}
		f = p.remember(in, accept)
	}

	pos := p.numbers.Unwrap(in.Number)
	if pos < p.first {
		return rw, false // from before the switch
	}
	n, ok := p.seq.place(pos, !f.accept)
	if !ok {
		return rw, false
	}
	rw = rewrite{seq: uint16(n), ts: in.TS + p.tsOff, marker: in.Marker}
	switch in.Codec {
	case rtpx.CodecVP8:
		rw.pictureID, rw.tl0 = f.out, in.VP8.TL0+p.tl0Off
	case rtpx.CodecVP9:
		rw.pictureID, rw.tl0 = (in.VP9.PictureID+p.idOff)&0x7FFF, in.VP9.TL0+p.tl0Off
		rw.marker = in.Marker || in.End && p.vp9.top(in)
	case rtpx.CodecAV1:
		if in.HasDD {
			rw.pictureID = in.DD.Frame + p.idOff
			rw.marker = in.Marker || in.End && p.av1.top(in)
		}
	}
	return rw, true
}

// decide is asked once per frame. It may switch to the packet's encoding.
func (p *projection) decide(in *rtpx.Info, o *outStream, target rtpx.Layer, now int64) bool {
	enc, want := int(in.Encoding), target.Encoding()
	if key := in.Key && in.Start || in.Codec == rtpx.CodecOther && p.cur < 0; key {
		if !p.takeKey(enc, want, now) {
			return false
		}
		if enc != p.cur {
			p.begin(in, o, now)
		}
		p.keyAt = now
	} else if enc != p.cur {
		p.watch(in, want, now)
		return false
	}

	// Inside the encoding: all layers while waiting to go up, the base while
	// waiting to go down.
	spatial, temporal := target.Spatial(), target.Temporal()
	switch {
	case p.cur < want:
		spatial, temporal = 7, 7
	case p.cur > want:
		spatial, temporal = 7, 0
	}
	switch in.Codec {
	case rtpx.CodecVP8:
		return p.vp8.accept(in, temporal)
	case rtpx.CodecVP9:
		return p.vp9.accept(in, spatial, temporal, &p.needKey)
	case rtpx.CodecAV1:
		if in.DDRaw != nil {
			return p.av1.accept(p, in, spatial, temporal, now)
		}
	}
	return true
}

// takeKey says whether to go on with a key frame of encoding enc when want is
// the target.
func (p *projection) takeKey(enc, want int, now int64) bool {
	switch {
	case enc > want:
		return false
	case p.cur < 0 || enc == p.cur:
		return true
	case want > p.cur:
		// Up, but not by an intermediate step when the better one flows.
		if enc < p.cur {
			return p.stale(now)
		}
		for better := enc + 1; better <= want && better < maxEncodings; better++ {
			if p.seenAt[better] != 0 && now-p.seenAt[better] < flowing {
				return false
			}
		}
		return true
	case want < p.cur:
		return true
	}
	return p.stale(now) // at the target, a lower encoding: only if ours dried up
}

// watch looks at a frame of another encoding and asks for a key frame if we
// would rather have that encoding.
func (p *projection) watch(in *rtpx.Info, want int, now int64) {
	enc := int(in.Encoding)
	switch {
	case enc > want:
	case p.cur < 0:
		p.needKey = true
	case enc > p.cur, want < p.cur:
		p.needKey = now-p.keyAt > keyGroup
	default:
		if in.End {
			p.missed++
		}
		p.needKey = p.stale(now)
	}
}

// stale says that the current encoding has dried up while others go on.
func (p *projection) stale(now int64) bool {
	return p.missed >= staleFrames && now-p.curAt >= staleAfter
}

// begin makes the packet's encoding the current one, behind what was sent
// before (bridge.md §11.3).
func (p *projection) begin(in *rtpx.Info, o *outStream, now int64) {
	p.switched = o.started
	p.cur = int(in.Encoding)
	p.curAt, p.missed = now, 0
	p.nFrames = 0
	p.numbers.Reset()
	pos := p.numbers.Unwrap(in.Number)
	p.first = pos

	seq, ts := uint16(1), in.TS
	if o.started {
		seq = o.last.seq + 1
		if !o.ended {
			seq++ // the receiver must not join the halves of two frames
		}
		// One frame of 33 ms, or as many as have passed.
		ts = o.last.ts + uint32(max(now-o.lastAt, int64(33_333_333))/100*9/1000)
	}
	p.seq.anchor(pos, 1<<16+int64(seq))
	p.tsOff = ts - in.TS

	p.tl0Off, p.idOff = 0, 0
	switch in.Codec {
	case rtpx.CodecVP8:
		p.pidLast = int64(in.VP8.PictureID)
		out := p.pidLast
		if o.started {
			out = int64(o.last.pictureID) + 1
			p.tl0Off = o.last.tl0 + 1 - in.VP8.TL0
		}
		p.pids.anchor(p.pidLast, out)
		p.vp8 = temporalState{}
	case rtpx.CodecVP9:
		if o.started {
			p.idOff = o.last.pictureID + 1 - in.VP9.PictureID
			p.tl0Off = o.last.tl0 + 1 - in.VP9.TL0
		}
		p.vp9 = vp9State{}
	case rtpx.CodecAV1:
		if o.started && in.HasDD {
			p.idOff = o.last.pictureID + 1 - in.DD.Frame
		}
		p.av1 = av1State{target: -1, active: ^uint32(0)}
	}
}

// find returns the decision about the frame of a packet, nil if there is none.
func (p *projection) find(in *rtpx.Info) *frame {
	older := 0
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		f := &p.frames[i%frameMemory]
		if f.ts == in.TS && f.spatial == in.Spatial {
			return f
		}
		// The newest come last, but for a few that were late.
		if rtpx.TSNewer(in.TS, f.ts) {
			if older++; i == p.nFrames-1 || older == 8 {
				return nil
			}
		}
	}
	return nil
}

// remember notes a decision and numbers the frame.
func (p *projection) remember(in *rtpx.Info, accept bool) *frame {
	f := &p.frames[p.nFrames%frameMemory]
	p.nFrames++
	*f = frame{ts: in.TS, spatial: in.Spatial, accept: accept}
	switch in.Codec {
	case rtpx.CodecVP8:
		f.id = in.VP8.PictureID
		// The id is a line of 15 or 7 bits that frames we drop leave.
		size := int64(1 << 7)
		if in.VP8.LongID {
			size = 1 << 15
		}
		d := (int64(f.id) - p.pidLast) % size
		if d < -size/2 {
			d += size
		} else if d >= size/2 {
			d -= size
		}
		pos := p.pidLast + d
		p.pidLast = max(p.pidLast, pos)
		out, _ := p.pids.place(pos, !accept)
		f.out = uint16(out) & 0x7FFF
	case rtpx.CodecVP9:
		f.id = in.VP9.PictureID
	case rtpx.CodecAV1:
		f.id = in.DD.Frame
	}
	return f
}

// accepted says whether a frame was forwarded, by its number; frames that are
// not remembered count as forwarded.
func (p *projection) accepted(id uint16) bool {
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		if f := &p.frames[i%frameMemory]; f.id == id {
			return f.accept
		}
	}
	return true
}

// temporalState filters the temporal layers of VP8.
type temporalState struct {
	frames [maxTemporal]struct {
		id       uint16
		set      bool
		accepted bool
	}
}

// accept decides about a frame by its temporal layer. A frame above the base is
// of use only if the newest frame of its own or a lower layer was forwarded.
func (t *temporalState) accept(in *rtpx.Info, limit int) bool {
	v := &in.VP8
	tid := int(v.TID)
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

// after15 says whether a comes after b in the circle of 15-bit picture ids.
func after15(a, b uint16) bool { return a != b && (a-b)&0x7FFF < 0x4000 }

// vp9State filters the layers of VP9.
type vp9State struct {
	spatial   int  // spatial layer that is forwarded
	temporal  int  // temporal limit in force
	layers    int  // spatial layers that the sender has
	below     int  // frames of lower layers since one of ours
	forwarded uint // bit per spatial layer: its newest frame was forwarded
	keyTS     uint32
	keyTop    int // top layer expected in the key picture
}

// accept decides about a layer frame. Going up needs a frame that depends on
// nothing we left out; going down as well, because in K-SVC the lower layers
// were not forwarded (bridge.md §11.4).
func (s *vp9State) accept(in *rtpx.Info, spatial, temporal int, needKey *bool) bool {
	v := &in.VP9
	sid := int(v.SID)
	if v.HasSS {
		s.layers = int(v.Layers)
	}
	if s.layers > 0 {
		spatial = min(spatial, s.layers-1)
	}
	if in.Key {
		s.spatial, s.temporal, s.forwarded = 0, temporal, 0
		s.keyTS, s.keyTop = in.TS, spatial
	}
	bit := uint(1) << sid
	usable := (!v.InterPicture || s.forwarded&bit != 0) &&
		(!v.InterLayer || sid == 0 || s.forwarded&(bit>>1) != 0)

	s.temporal = min(s.temporal, temporal)
	if int(v.TID) > s.temporal {
		if int(v.TID) > temporal || !v.SwitchUp {
			return false
		}
		s.temporal = int(v.TID)
	}
	ok := false
	switch {
	case sid == s.spatial:
		s.below = 0
		ok = usable
		*needKey = !ok
	case sid < s.spatial:
		s.below++
		switch {
		case sid == spatial && usable:
			s.spatial, ok = sid, true // down, without a key frame
		default:
			// Ours dried up, or the lower one cannot be joined here.
			*needKey = sid == spatial || s.below > staleFrames*s.spatial
			ok = usable && !v.NotUpperRef
		}
	case sid <= spatial:
		ok = usable
		*needKey = !ok
		if ok {
			s.spatial, s.below = sid, 0
		}
	}
	if ok {
		s.forwarded |= bit
	} else {
		s.forwarded &^= bit
	}
	return ok
}

// top says whether a frame is the last one of its picture that is forwarded.
func (s *vp9State) top(in *rtpx.Info) bool {
	if in.TS == s.keyTS {
		return int(in.Spatial) == s.keyTop
	}
	return int(in.Spatial) == s.spatial
}

// av1State filters the layers of AV1 by its decode targets.
type av1State struct {
	target  int // decode target that is forwarded, -1 none
	spatial int // its spatial layer
	want    int
	since   int64  // since when want differs from target
	active  uint32 // decode targets that the sender produces
	below   int    // frames of lower spatial layers since one of ours
}

// accept decides about a frame by what it means to the decode target
// (bridge.md §11.5).
func (s *av1State) accept(p *projection, in *rtpx.Info, spatial, temporal int, now int64) bool {
	d := &in.DD
	if !in.HasDD {
		p.needKey = true // its structure was lost
		return false
	}
	if d.HasActive {
		s.active = d.Active
	}
	want := d.Structure.Target(spatial, temporal, s.active)
	if want < 0 {
		want = 0
	}
	if in.Key || s.target < 0 || s.target >= int(d.Structure.Targets) {
		s.target = want
	}
	if s.want != want {
		s.want, s.since = want, now
	}
	down := false
	if want != s.target {
		if d.DTIs[want] == rtpx.Switch && s.refersToForwarded(p, d) {
			s.target = want
		} else if d.Structure.TargetSpatial[want] != d.Structure.TargetSpatial[s.target] && now-s.since > pendingTarget {
			p.needKey = true
		}
		down = want < s.target
	}
	s.spatial = int(d.Structure.TargetSpatial[s.target])
	if int(d.Spatial) < s.spatial {
		if s.below++; s.below > staleFrames*s.spatial {
			p.needKey = true // ours dried up
		}
	} else {
		s.below = 0
	}
	dti := d.DTIs[s.target]
	return dti >= rtpx.Switch || dti == rtpx.Discardable && !down
}

func (s *av1State) refersToForwarded(p *projection, d *rtpx.DD) bool {
	for _, diff := range d.Diffs[:d.NDiffs] {
		if !p.accepted(d.Frame - diff) {
			return false
		}
	}
	return true
}

// top says whether a frame is of the highest spatial layer of the decode target.
func (s *av1State) top(in *rtpx.Info) bool { return int(in.Spatial) == s.spatial }
