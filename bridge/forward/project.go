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
	// frameTime is the least by which the timestamp grows where encodings change.
	frameTime = int64(33_333_333)
)

// maxClosed is the longest gap that is closed: larger ones are jumps.
const maxClosed = 256

// frameMemory is how many frames a projection remembers its decisions about.
const frameMemory = 128

// projection turns the encodings of one video source into one continuous stream
// for one receiver. It decides once per frame (of VP9 and AV1: once per layer
// frame), so that all packets of a frame share its fate; it changes encodings
// and codecs at key frames only. Its worker alone touches it.
//
// What it leaves out leaves no gap in sequence numbers and VP8 picture ids;
// what has not arrived yet keeps its place. What turns out too late to be of no
// use gives its place to an empty packet, so that the receiver doesn't ask for
// it for ever.
type projection struct {
	cur   int        // encoding that is forwarded, -1 none
	codec rtpx.Codec // of the current encoding
	// needKey asks for a key frame; missedKey says that one that has passed by
	// lately would do.
	needKey, missedKey bool
	// switched tells the egress that another encoding took over.
	switched bool
	// replay says that packets come out of the memory of key frames.
	replay bool
	tried  [maxEncodings]int64 // the remembered key frame that was looked at

	numbers  rtpx.Unwrapper // of the current encoding
	seq      gapMap
	first    int64  // position where the current encoding began
	firstOut uint16 // its number
	tsOff    uint32
	squeeze  bool   // frames from the memory are sent in less time than they took
	shown    uint32 // newest timestamp that was sent
	tl0Off   uint8
	idOff    uint16 // picture id (VP9), frame number (AV1)
	pids     gapMap // picture id (VP8)
	pidLast  int64

	keyAt  int64 // last key frame that was taken
	curAt  int64 // last packet of the current encoding
	missed int   // frames of lower encodings since
	seenAt [maxEncodings]int64

	vp8 temporalState
	vp9 vp9State
	dd  ddState

	frames   [frameMemory]frame
	nFrames  int    // since the current encoding began
	newestTS uint32 // of any of them

	newest       *frame // frame of the newest packet
	newestEnd    bool   // that packet was its last one
	newestMarker bool   // and the last one of its picture
}

// frame is a decision.
type frame struct {
	ts       uint32
	shown    uint32 // timestamp as it goes
	id       uint16 // picture id or frame number as it came
	out      uint16 // VP8: picture id as it goes
	spatial  uint8
	temporal uint8
	tl0      uint8 // TL0PICIDX as it came
	accept   bool
	top      bool // the last one of its picture that is forwarded
	// aim is what was forwarded when it was decided: the spatial layer of VP9, the
	// decode target of AV1. skip says that its whole picture was above the limit of
	// temporal layers.
	aim    int
	skip   bool
	active uint32 // decode targets to announce, 0: nothing to say
}

// codecState is where an outgoing stream stands in the numbers of each codec. It
// survives changes of encoding, source and codec: the frame numbers of AV1 must
// go on when VP8 was sent in between (bridge.md §11.2).
type codecState struct {
	vp8, vp9 struct {
		set bool
		id  uint16 // newest picture id
		tl0 uint8
	}
	dd struct {
		set      bool
		frame    uint16 // newest frame number
		template uint8  // first template id that is free
	}
}

func newProjection() *projection { return &projection{cur: -1, keyAt: -1 << 62} }

// suspend makes the next packet wait for a key frame.
func (p *projection) suspend() {
	p.cur = -1
	p.tried = [maxEncodings]int64{}
}

// project decides about a packet; o is where the outgoing stream stands. ok is
// false when the packet is not for this receiver now.
func (p *projection) project(in *rtpx.Info, o *outStream, target rtpx.Layer, now int64) (rw rewrite, ok bool) {
	p.needKey, p.missedKey = false, false
	if target < 0 {
		p.suspend()
		return rw, false
	}
	enc := int(in.Encoding)
	if enc >= maxEncodings {
		return rw, false
	}
	if enc == p.cur && p.numbers.Peek(in.Number) < p.first {
		return rw, false // from before the switch
	}
	if in.Empty {
		if enc != p.cur {
			return rw, false
		}
		n, ok := p.seq.place(p.numbers.Unwrap(in.Number), false)
		return rewrite{seq: uint16(n), ts: p.shown, empty: true}, ok
	}
	p.seenAt[enc] = now

	var f *frame
	late := false
	if p.current(in) {
		p.curAt, p.missed = now, 0
		f = p.find(in)
		late = p.numbers.Peek(in.Number) < p.seq.last
	}
	if f == nil {
		accept := p.decide(in, o, target, late, now)
		if !p.current(in) {
			return rw, false
		}
		f = p.remember(in, accept)
	}

	pos := p.numbers.Unwrap(in.Number)
	p.closeGap(in, f, pos)
	held := pos <= p.seq.last
	n, ok := p.seq.place(pos, !f.accept)
	if !held {
		p.newest, p.newestEnd, p.newestMarker = f, in.End, in.Marker
	}
	if !ok {
		if held && !f.accept {
			// Its place was kept for it; it turned out to be of no use.
			n, ok = p.seq.place(pos, false)
		}
		return rewrite{seq: uint16(n), ts: f.shown, empty: true}, ok
	}
	rw = rewrite{seq: uint16(n), ts: f.shown, marker: in.Marker}
	switch {
	case in.Codec == rtpx.CodecVP8:
		rw.pictureID, rw.tl0 = f.out, in.VP8.TL0+p.tl0Off
		if c := &o.codec.vp8; !c.set || after15(rw.pictureID, c.id) {
			c.set, c.id, c.tl0 = true, rw.pictureID, rw.tl0
		}
	case in.Codec == rtpx.CodecVP9:
		rw.pictureID, rw.tl0 = (in.VP9.PictureID+p.idOff)&0x7FFF, in.VP9.TL0+p.tl0Off
		rw.marker = in.Marker || in.End && f.top
		if c := &o.codec.vp9; !c.set || after15(rw.pictureID, c.id) {
			c.set, c.id, c.tl0 = true, rw.pictureID, rw.tl0
		}
	case in.HasDD:
		rw.pictureID, rw.template, rw.active = in.DD.Frame+p.idOff, p.dd.template, f.active
		rw.marker = in.Marker || in.End && f.top
		c := &o.codec.dd
		if !c.set || rtpx.SeqNewer(rw.pictureID, c.frame) {
			c.set, c.frame = true, rw.pictureID
		}
		if in.DD.HasStructure {
			s := in.DD.Structure
			c.template = s.Offset + rw.template + uint8(s.Templates())
		}
	}
	return rw, true
}

// current says whether a packet belongs to what is forwarded.
func (p *projection) current(in *rtpx.Info) bool {
	return int(in.Encoding) == p.cur && in.Codec == p.codec
}

// decide is asked once per frame. It may switch to the packet's encoding. late
// says that packets behind the frame were sent before it.
func (p *projection) decide(in *rtpx.Info, o *outStream, target rtpx.Layer, late bool, now int64) bool {
	enc, want := int(in.Encoding), target.Encoding()
	if key := in.Key && in.Start && !in.Stale || in.Codec == rtpx.CodecOther && p.cur < 0; key && !late {
		if !p.takeKey(in, want, now) {
			return false
		}
		if !p.current(in) {
			p.begin(in, o, now)
		}
		p.keyAt = now
	} else if !p.current(in) {
		p.watch(in, want, now)
		return false
	}

	// Inside the encoding: all layers while waiting to go up, the base while
	// waiting to go down.
	spatial, temporal := target.Spatial(), target.Temporal()
	switch {
	case p.cur < want:
		spatial, temporal = 7, 7
	case enc > want:
		spatial, temporal = 7, 0
	}
	switch in.Codec {
	case rtpx.CodecVP8:
		return p.vp8.accept(p, in, temporal, late)
	case rtpx.CodecVP9:
		return p.vp9.accept(p, in, spatial, temporal, late)
	default:
		if in.DDRaw != nil {
			return p.dd.accept(p, in, spatial, temporal, late, now)
		}
	}
	return true
}

// takeKey says whether to go on with a key frame when encoding want is the target.
func (p *projection) takeKey(in *rtpx.Info, want int, now int64) bool {
	enc := int(in.Encoding)
	switch {
	case enc > want:
		return false
	case p.cur < 0 || enc == p.cur:
		return true
	case in.Codec != p.codec:
		return true // the sender changed codecs and sends nothing of the old one
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

// watch looks at a frame of another encoding, or of another codec, and asks for a
// key frame if we would rather have that.
func (p *projection) watch(in *rtpx.Info, want int, now int64) {
	enc := int(in.Encoding)
	switch {
	case enc > want:
	case p.cur < 0, enc == p.cur:
		p.needKey, p.missedKey = true, true
	case enc > p.cur, want < p.cur:
		p.needKey, p.missedKey = now-p.keyAt > keyGroup, true
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
	o.rewind()
	p.switched = o.started
	p.cur, p.codec = int(in.Encoding), in.Codec
	p.curAt, p.missed = now, 0
	p.nFrames, p.newest = 0, nil
	p.numbers.Reset()
	pos := p.numbers.Unwrap(in.Number)
	p.first = pos

	seq, ts := uint16(1), in.TS
	p.squeeze, p.shown = false, ts
	if o.started {
		seq = o.last.seq + 1
		if !o.ended {
			seq++ // the receiver must not join the halves of two frames
		}
		// One frame of 33 ms, or as many as have passed. Frames from the memory of
		// key frames are of the past and must not shift the time of those to come.
		since := now - o.lastAt
		if p.squeeze = p.replay && since < frameTime; !p.squeeze {
			since = max(since, frameTime)
		}
		p.shown = o.last.ts
		ts = o.last.ts + uint32(since/100*9/1000)
	}
	p.seq.anchor(pos, 1<<16+int64(seq))
	p.firstOut = seq
	p.tsOff = ts - in.TS

	p.tl0Off, p.idOff = 0, 0
	p.dd = newDDState()
	switch {
	case in.Codec == rtpx.CodecVP8:
		p.pidLast = int64(in.VP8.PictureID)
		out := p.pidLast
		if c := &o.codec.vp8; c.set {
			out = int64(c.id) + 1
			p.tl0Off = c.tl0 + 1 - in.VP8.TL0
		}
		p.pids.anchor(p.pidLast, out)
		p.vp8 = temporalState{}
	case in.Codec == rtpx.CodecVP9:
		if c := &o.codec.vp9; c.set {
			p.idOff = c.id + 1 - in.VP9.PictureID
			p.tl0Off = c.tl0 + 1 - in.VP9.TL0
		}
		p.vp9 = vp9State{}
	case in.DDRaw != nil:
		if c := &o.codec.dd; c.set && in.HasDD {
			p.idOff = c.frame + 1 - in.DD.Frame
			p.dd.template = c.template - in.DD.Structure.Offset
		}
	}
}

// find returns the decision about the frame of a packet, nil if there is none.
func (p *projection) find(in *rtpx.Info) *frame {
	if p.nFrames == 0 || rtpx.TSNewer(in.TS, p.newestTS) {
		return nil
	}
	older := 0
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		f := &p.frames[i%frameMemory]
		if f.ts == in.TS && (f.spatial == in.Spatial || in.DDRaw != nil && f.id == in.DD.Frame) {
			return f
		}
		// The newest come last, but for a few that were late.
		if rtpx.TSNewer(in.TS, f.ts) {
			if older++; older == 8 {
				return nil
			}
		}
	}
	return nil
}

// remember notes a decision and numbers the frame.
func (p *projection) remember(in *rtpx.Info, accept bool) *frame {
	shown := in.TS + p.tsOff
	if p.squeeze {
		if last := &p.frames[(p.nFrames+frameMemory-1)%frameMemory]; p.nFrames > 0 && last.ts == in.TS {
			shown = last.shown
		} else if rtpx.TSNewer(shown, p.shown) {
			p.squeeze = false
		} else {
			shown = p.shown + 90 // 1 ms
		}
	}
	if p.nFrames > 0 && rtpx.TSNewer(p.newestTS, in.TS) {
		shown = p.between(in.TS, shown)
	}
	if rtpx.TSNewer(shown, p.shown) {
		p.shown = shown
	}
	if p.nFrames == 0 || rtpx.TSNewer(in.TS, p.newestTS) {
		p.newestTS = in.TS
	}
	f := &p.frames[p.nFrames%frameMemory]
	p.nFrames++
	*f = frame{ts: in.TS, shown: shown, spatial: in.Spatial, temporal: in.Temporal, accept: accept}
	switch {
	case in.Codec == rtpx.CodecVP8:
		f.id, f.tl0 = in.VP8.PictureID, in.VP8.TL0
		// The id is a line of 15 or 7 bits that frames we drop leave.
		size := in.VP8.IDs()
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
	case in.Codec == rtpx.CodecVP9:
		f.id, f.tl0 = in.VP9.PictureID, in.VP9.TL0
		f.aim, f.skip = p.vp9.aim, p.vp9.skip
		f.top = int(in.Spatial) == f.aim
	case in.DDRaw != nil:
		f.id = in.DD.Frame
		f.aim, f.skip = p.dd.aim, p.dd.skip
		f.top, f.active = p.dd.top(in), p.dd.announce(in)
	}
	return f
}

// between fits the timestamp of a late frame in between those of its neighbours,
// which were shown in less time than they took if they came out of the memory.
func (p *projection) between(ts, shown uint32) uint32 {
	var before, behind *frame
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		switch f := &p.frames[i%frameMemory]; {
		case f.ts == ts:
			return f.shown // another layer of its picture
		case rtpx.TSNewer(f.ts, ts):
			if behind == nil || rtpx.TSNewer(behind.ts, f.ts) {
				behind = f
			}
		case before == nil || rtpx.TSNewer(f.ts, before.ts):
			before = f
		}
	}
	if before != nil && !rtpx.TSNewer(shown, before.shown) {
		shown = before.shown + 1
	}
	if behind != nil && !rtpx.TSNewer(behind.shown, shown) {
		shown = behind.shown - 1
	}
	return shown
}

// closeGap takes numbers out of the line that are missing before a packet but
// certainly belong to a frame that is not forwarded. Without it the receiver
// would ask for them, and get nothing: when they arrive they are dropped.
func (p *projection) closeGap(in *rtpx.Info, f *frame, pos int64) {
	g := p.newest
	if n := pos - p.seq.last; g == nil || n <= 1 || n > maxClosed || f.accept && g.accept {
		return
	}
	drop := false
	switch {
	case f == g:
		drop = true
	case !p.follows(in, f, g): // frames that we know nothing of lie between
	case p.newestEnd:
		drop = !in.Start && !f.accept
	case in.Start:
		drop = !g.accept
	default:
		drop = !f.accept && !g.accept
	}
	if drop {
		p.seq.skip(pos)
	}
}

// follows says whether frame f, that of a packet, comes right behind frame g.
func (p *projection) follows(in *rtpx.Info, f, g *frame) bool {
	switch {
	case in.Codec == rtpx.CodecVP8:
		return in.VP8.HasPictureID && int64(f.id) == (int64(g.id)+1)%in.VP8.IDs()
	case in.Codec == rtpx.CodecVP9:
		if f.id == g.id {
			return f.spatial == g.spatial+1
		}
		return p.newestMarker && f.spatial == 0 && in.VP9.LongID && f.id == (g.id+1)&0x7FFF
	case in.HasDD:
		return f.id == g.id+1
	}
	return false
}

// accepted says whether a frame was forwarded, by its number; otherwise is the
// answer for frames that are not remembered.
func (p *projection) accepted(id uint16, otherwise bool) bool {
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		if f := &p.frames[i%frameMemory]; f.id == id {
			return f.accept
		}
	}
	return otherwise
}

// beside returns a decision about another frame of the same picture, if there is
// one: frames of a picture that come late go by what was said then.
func (p *projection) beside(in *rtpx.Info) *frame {
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		if f := &p.frames[i%frameMemory]; f.ts == in.TS {
			return f
		}
	}
	return nil
}

// joins says whether a late frame of VP8 or VP9 can be decoded: whether the newest
// frame before it, of its own or a lower temporal layer, was forwarded. Where the
// base frame that it builds on has not come yet, that one will fare as the base
// frame before it did.
func (p *projection) joins(in *rtpx.Info) bool {
	tl0, has := in.VP8.TL0, in.Codec == rtpx.CodecVP8 && in.VP8.HasTL0
	if in.Codec == rtpx.CodecVP9 {
		tl0, has = in.VP9.TL0, in.VP9.HasTL0
	}
	if in.Temporal == 0 {
		tl0--
	}
	var best, base *frame
	for i := p.nFrames - 1; i >= 0 && i >= p.nFrames-frameMemory; i-- {
		f := &p.frames[i%frameMemory]
		if f.spatial != in.Spatial || f.temporal > in.Temporal || !rtpx.TSNewer(in.TS, f.ts) {
			continue
		}
		if best == nil || rtpx.TSNewer(f.ts, best.ts) {
			best = f
		}
		if f.temporal == 0 && (base == nil || rtpx.TSNewer(f.ts, base.ts)) {
			base = f
		}
	}
	if best != nil && has && best.tl0 != tl0 && base != nil {
		best = base
	}
	return best != nil && best.accept
}

// dead says that a number that was not sent will never be: it lies before the
// place where the current encoding began.
func (p *projection) dead(seq uint16) bool {
	return p.cur >= 0 && rtpx.SeqNewer(p.firstOut, seq)
}

// after15 says whether a comes after b in the circle of 15-bit picture ids.
func after15(a, b uint16) bool { return a != b && (a-b)&0x7FFF < 0x4000 }
