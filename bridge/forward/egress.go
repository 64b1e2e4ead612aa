package forward

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"confab/bridge/rtpx"
)

// egress is the sending side of one receiver. Its worker alone touches it.
type egress struct {
	ep     *Endpoint
	sender Sender
	outs   map[uint32]*outStream // by SSRC on the wire
	past   map[uint32]past       // SSRCs that were

	due   []due // from dueAt on: what waits in this round of the worker
	dueAt int

	transportSeq uint16 // of the last packet; the first one has 1

	tokens   int64 // bytes of retransmission that are allowed now
	tokensAt int64
	asked    allowance // packets that the receiver asks for again

	link link
}

func (eg *egress) init(ep *Endpoint) {
	eg.ep = ep
	eg.outs, eg.past = make(map[uint32]*outStream), make(map[uint32]past)
}

// release lets go of the Sender and of all packets.
func (eg *egress) release() {
	eg.sender = nil
	eg.link.newest = nil
	eg.link.pace.clear()
	for _, o := range eg.outs {
		o.hist.clear()
	}
	clear(eg.outs)
}

// sub is one receiver's subscription to one source.
type sub struct {
	src *source
	ep  *Endpoint

	target atomic.Int32 // rtpx.Layer
	paused atomic.Bool  // was paused since the worker looked
	gone   atomic.Bool

	// addr is where it sends on the wire: under the sender's own first SSRCs, or in
	// a slot when SSRCs are rewritten; nil while it has no slot.
	addr atomic.Pointer[address]

	// Of the worker.
	out      *outStream
	at       *address    // of out
	proj     *projection // video only
	shift    audioShift  // audio only
	asker    asker
	wishedAt int64 // last time that a packet found no slot
}

func newSub(ep *Endpoint, src *source, target rtpx.Layer) *sub {
	b := &sub{src: src, ep: ep}
	b.target.Store(int32(target))
	if src.Kind == Video {
		b.proj = newProjection()
	}
	return b
}

// outStream is one SSRC on the wire to a receiver. It outlives subscriptions, so
// that sequence numbers go on and no SRTP packet index is used twice.
type outStream struct {
	ssrc  uint32
	video bool
	mid   []byte     // of the slot, nil: none is stamped
	sub   *sub       // who sends on it now, nil for a retransmission stream
	rtx   *outStream // where its retransmissions go, nil when there is none

	last    rewrite // of the newest packet
	codec   codecState
	numbers numberWindow // video only
	lastAt  int64
	started bool
	ended   bool // the newest packet was the last of its frame

	pt uint8 // of the last packet

	packets, octets uint32
	report          uint32 // middle NTP of the last sender report
	reportAt        int64

	// What the last reception report said.
	reported     uint32
	reportedLost int32
	reportSeen   bool

	hist history // video only

	pace *pacer // where packets may wait, nil: none ever did
	went went   // video only
}

// rewrite is what a receiver gets different from the sender's packet.
type rewrite struct {
	seq       uint16
	pictureID uint16 // VP8, VP9; the frame number of AV1
	ts        uint32
	transport uint16 // transport-wide number
	tl0       uint8
	template  uint8  // what is added to template ids of the dependency descriptor
	active    uint32 // decode targets to announce there, 0: as they came
	marker    bool
	empty     bool // no payload: it only takes its number's place
}

// idleHistory is after how long an unused stream gives its ring back (JVB: 15 s).
const idleHistory = int64(15e9)

// expire lets packets go that were sent before a time, and the ring of a stream
// that has not been used for long.
func (o *outStream) expire(before int64) {
	o.hist.expire(before)
	if o.hist.ring != nil && o.lastAt < before-idleHistory {
		o.hist = history{}
	}
}

// due is a packet that waits for its turn with one receiver.
type due struct {
	sub *sub
	st  *stream
	pkt *rtpx.Packet
}

// forward notes a packet for the receivers of its stream that this worker
// serves. forwardDue sends it.
func (w *worker) forward(st *stream, pkt *rtpx.Packet) {
	for _, b := range st.src.subs.Load().byWorker[w.index] {
		eg := &b.ep.eg
		if len(eg.due) == 0 {
			w.due = append(w.due, eg)
		}
		eg.due = append(eg.due, due{b, st, pkt})
		w.dues++
	}
}

// forwardDue sends what is noted, all of one receiver before the next: packets
// of one length to one address in a row cost a fraction of the same packets in
// the order of their arrival.
func (w *worker) forwardDue() {
	for w.dueAt < len(w.due) {
		w.forwardSome()
	}
	w.due, w.dueAt, w.dues = w.due[:0], 0, 0
}

// forwardSome does so up to the end or to a panic, which costs one packet.
func (w *worker) forwardSome() {
	defer w.guard()
	for w.dueAt < len(w.due) {
		eg := w.due[w.dueAt]
		w.now = w.e.cfg.Now()
		for eg.dueAt < len(eg.due) {
			d := eg.due[eg.dueAt]
			eg.dueAt++
			w.forwardTo(d.sub, d.st, d.pkt)
		}
		eg.due, eg.dueAt = eg.due[:0], 0
		w.dueAt++
	}
}

func (w *worker) forwardTo(b *sub, st *stream, pkt *rtpx.Packet) {
	w.forwardAt(b, st, pkt, w.now)
}

// forwardAt forwards a packet that came at a time.
func (w *worker) forwardAt(b *sub, st *stream, pkt *rtpx.Packet, at int64) {
	eg := &b.ep.eg
	if eg.sender == nil || b.gone.Load() {
		return
	}
	in := &pkt.Info
	a := b.addr.Load()
	if a == nil {
		b.wish(in, w.now)
		return
	}
	if w.now < a.from || b.at != a && !eg.open(b, a, w.e.cfg.MaxStreams) {
		return
	}
	o := b.out
	var rw rewrite
	if b.proj == nil {
		if b.paused.Load() && b.paused.Swap(false) {
			b.shift = audioShift{} // its numbers went on meanwhile
		}
		if b.target.Load() < 0 || in.For != rtpx.ForAll && !eg.ep.media.Load().passes(in.For, w.e.cfg.StripRED) {
			return
		}
		var ok bool
		if rw, ok = b.shift.apply(in, o, a.ssrc == st.SSRC, w.now); !ok {
			return
		}
	} else {
		if b.paused.Load() && b.paused.Swap(false) {
			b.proj.suspend()
		}
		target := rtpx.Layer(b.target.Load())
		var ok bool
		rw, ok = b.proj.project(in, o, target, at)
		if b.proj.missedKey && w.replay(b, target) {
			rw, ok = b.proj.project(in, o, target, at)
		}
		if b.proj.needKey && !b.proj.replay {
			b.asker.ask(b.src, w.now)
		}
		if !ok || !o.numbers.take(rw.seq) {
			return
		}
	}
	first := !o.started
	later := o.video && w.waits(eg, o, st, pkt, &rw)
	if !later && !w.send(eg, o, st, pkt, &rw, 0) {
		return
	}
	if !o.started || rtpx.SeqNewer(rw.seq, o.last.seq) {
		o.last, o.lastAt, o.ended, o.started = rw, w.now, in.End, true
	}
	if o.video && !later {
		o.goes(&rw, w.now, &o.codec, in.End)
		o.hist.add(pkt, st, rw, w.now, w.e.cfg.HistorySize)
	}
	if b.proj != nil && in.Overtaken && !in.Stale && in.Key && !b.proj.replay {
		w.recollect(b, st) // nobody knew what they were when they came
	}
	if first || b.proj != nil && b.proj.switched {
		if b.proj != nil {
			b.proj.switched = false
		}
		// Lip sync from the first frame on: don't wait for the next report.
		w.reportTo(b, st, st.reports[w.index])
	}
}

// open finds or makes the outgoing streams of a subscription at an address where
// it has not been, or not lately: somebody else may have sent there meanwhile.
func (eg *egress) open(b *sub, a *address, limit int) bool {
	o := eg.out(a.ssrc, limit)
	if o == nil {
		return false
	}
	if o.started && (o.sub == nil || o.sub.gone.Load()) {
		for _, p := range eg.outs {
			if p.rtx == o { // its numbers are those of media now
				p.rtx = nil
			}
		}
	}
	if x := o.rtx; x != nil && x.ssrc != a.rtx {
		o.rtx = nil
		if eg.over(x, math.MaxInt64) {
			eg.retire(x) // expire only finds those of a source
		}
	}
	if a.rtx != 0 {
		o.rtx = eg.out(a.rtx, limit)
	}
	o.rewind() // of whom it had before
	o.sub, o.mid, o.video = b, a.mid, b.src.Kind == Video
	b.shift = audioShift{}
	if b.proj != nil {
		b.proj.suspend()
	}
	b.out, b.at = o, a
	return true
}

// send writes one packet for a receiver: a fresh header, only extensions of our
// own, the payload with its descriptor rewritten. One that was first sent at a
// time goes out as a retransmission (RFC 4588) if that was negotiated; else byte
// for byte as it was, because it has the same packet index: other bytes under the
// same nonce would give the authentication key of GCM away (RFC 7714 §8.4).
func (w *worker) send(eg *egress, o *outStream, st *stream, pkt *rtpx.Packet, rw *rewrite, first int64) bool {
	in := &pkt.Info
	from := st.src.ep.media.Load()
	m := eg.ep.media.Load()
	payload := in.Payload(pkt.Bytes())
	if rw.empty {
		payload = nil
	}
	pt, ok := m.outgoing(&from.pt[in.PT])
	if from.pt[in.PT].red && (!ok || w.e.cfg.StripRED) {
		// A receiver that cannot read redundant audio gets the primary block.
		var inner uint8
		if inner, payload, ok = rtpx.REDPrimary(payload); ok {
			pt, ok = m.outgoing(&from.pt[inner])
		}
	}
	if !ok {
		return false
	}
	ssrc, seq := o.ssrc, rw.seq
	again := first != 0
	asRTX := again && o.rtx != nil && m.rtx[pt] != 0
	at := w.now
	if again && !asRTX {
		at = first
	}
	if asRTX {
		x := o.rtx
		x.last.seq++
		x.last.ts, x.lastAt, x.started, x.ended = rw.ts, w.now, true, true
		pt, ssrc, seq = m.rtx[pt], x.ssrc, x.last.seq
	}

	b := w.space()
	rtpx.PutHeader(b, pt, rw.marker, seq, rw.ts, ssrc)

	// bridge.md §9: what senders put into extensions stays here, except audio
	// level, orientation and the dependency descriptor of AV1.
	x := &w.exts
	x.Reset()
	dd := -1
	numbered := false
	if o.video {
		if in.HasOrientation && !rw.empty {
			w.ext1[0] = in.Orientation
			x.Add(m.ext.Orientation, w.ext1[:1])
		}
		if m.transportCC {
			number := rw.transport
			if numbered = !again || asRTX; numbered {
				eg.transportSeq++
				number = eg.transportSeq
			}
			if !again {
				rw.transport = number
			}
			binary.BigEndian.PutUint16(w.ext2[:], number)
			x.Add(m.ext.TransportCC, w.ext2[:2])
		} else {
			rtpx.PutAbsSendTime(w.ext2[:], at)
			x.Add(m.ext.AbsSendTime, w.ext2[:3])
		}
		if o.mid != nil {
			x.Add(m.ext.Mid, o.mid)
		}
		if in.HasDD && m.ext.Dependency != 0 && !rw.empty {
			e := in.DDRaw
			if rw.active != 0 || in.DD.HasStructure {
				e = w.dd[:in.DD.PutDD(w.dd[:len(e)+rtpx.DDGrowth], e, rw.pictureID, rw.template, rw.active)]
			} else {
				dd = x.Count()
			}
			x.Add(m.ext.Dependency, e)
		}
	} else {
		if in.HasLevel {
			w.ext1[0] = in.Level
			x.Add(m.ext.AudioLevel, w.ext1[:1])
		}
		if o.mid != nil {
			x.Add(m.ext.Mid, o.mid)
		}
	}
	n, offsets := x.Put(b)
	if dd >= 0 {
		rtpx.ShiftDD(b[offsets[dd]:], rw.pictureID, rw.template)
	}
	if asRTX {
		binary.BigEndian.PutUint16(b[n:], rw.seq)
		n += 2
	}
	if n+len(payload) > rtpx.BufferSize-64 {
		return false
	}
	copy(b[n:], payload)
	switch {
	case rw.empty:
	case in.Codec == rtpx.CodecVP8:
		in.VP8.Rewrite(b[n:], rw.pictureID, rw.tl0)
	case in.Codec == rtpx.CodecVP9:
		in.VP9.Rewrite(b[n:], rw.pictureID, rw.tl0)
	}
	n += len(payload)
	if eg.sender.WriteRTP(w.batch, b[:n]) != nil {
		return false
	}
	if !asRTX {
		o.packets++
		o.octets += uint32(len(payload))
		o.pt = pt
	}
	w.count(eg, n)
	l := &eg.link
	switch {
	case !o.video:
		l.audio.bytes += int64(n)
	case w.filling:
		l.padding.bytes += int64(n)
	case again:
		l.repair.bytes += int64(n)
		l.pace.credit -= int64(n)
	default:
		l.video.bytes += int64(n)
		l.pace.credit -= int64(n)
		if m.rtx[pt] != 0 {
			l.newest = o
		}
	}
	if numbered {
		w.numbered(eg, eg.transportSeq, n)
	}
	return true
}

// count counts a packet of n bytes that was sent.
func (w *worker) count(eg *egress, n int) {
	w.sent.Add(1)
	w.sentBytes.Add(uint64(n))
	eg.ep.stats.sent.Add(1)
	eg.ep.stats.sentBytes.Add(uint64(n))
}
