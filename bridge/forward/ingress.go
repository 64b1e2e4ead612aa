package forward

import (
	"fmt"
	"runtime/debug"

	"confab/bridge/rtpx"
)

// ingress is the state of one sender as a whole. It is guarded by Endpoint.mu.
type ingress struct {
	twcc     rtpx.TWCCRecorder
	twccAt   int64 // time of the last feedback, 0 before the first packet
	twccSSRC uint32

	reportAt int64

	remb *incoming // nil unless it is told by REMB

	control      allowance // RTCP; the transport delivers one at a time
	audioPackets allowance
	audioBits    allowance

	levels  [levelSlots]levelAt
	nLevels int
	levelAt int64 // when the last one came

	seqs [maxMissing]uint16 // scratch for NACKs
}

// levelSlots holds about a second of audio levels between two drains.
const levelSlots = 64

type levelAt struct {
	level uint8 // 0 silence to 127 loudest
	at    int64
}

// ingressStream is the ingress state of one stream. It is guarded by the
// endpoint's mu.
type ingressStream struct {
	gaps   gapMap
	number rtpx.Unwrapper
	losses losses
	recv   reception

	dd            rtpx.DDParser
	parameterSets bool // H264: seen in the stream
	structure     structure
	keys          keyMemory
	encoding      int

	silence  int // packets of silence in a row
	energy   energy
	keyTS    uint32   // timestamp of the last key frame, plus one
	arrivals arrivals // audio only
}

func (in *ingressStream) init(kind Kind, encoding int) {
	in.encoding = encoding
	if kind == Video {
		in.structure.init(encoding)
	}
}

// RTP takes a decrypted RTP packet that came from this endpoint. It runs on the
// goroutine that read the packet, does not wait, and does not take over the
// caller's reference.
func (ep *Endpoint) RTP(pkt *rtpx.Packet) {
	defer ep.guard()
	now := pkt.Arrived
	if now == 0 {
		now = ep.p.e.cfg.Now()
	}
	ep.stats.received.Add(1)
	ep.stats.bytes.Add(uint64(len(pkt.Bytes())))

	in := &pkt.Info
	*in = rtpx.Info{}
	if !in.Parse(pkt.Bytes()) {
		ep.stats.malformed.Add(1)
		return
	}
	m := ep.media.Load()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.recordTransport(in, pkt.Bytes(), m, now)

	r, ok := ep.p.table.Load().bySSRC[in.SSRC]
	if !ok {
		ep.stats.unknown.Add(1)
		return
	}
	if r.st.src.ep != ep || r.st.src.Synthetic {
		// bridge.md §22: an SSRC is good only for the endpoint that signalled it.
		ep.stats.foreign.Add(1)
		return
	}
	if r.st.src.Kind == Audio {
		ep.audio(r.st, pkt, m, now)
	} else {
		ep.video(r, pkt, m, now)
	}
}

// guard keeps a panic about one packet from taking the socket reader, and with
// it all conferences, down (architecture D21).
func (ep *Endpoint) guard() {
	if r := recover(); r != nil {
		ep.stats.panics.Add(1)
		ep.p.e.cfg.Log.Error("ingress panic", "endpoint", ep.id, "conf", ep.p.name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
}

// recordTransport notes the arrival for transport-wide feedback and answers
// when it is time. Packets of unknown streams count too: probes come before
// media. ep.mu is held.
func (ep *Endpoint) recordTransport(in *rtpx.Info, b []byte, m *mediaTable, now int64) {
	if !m.transportCC {
		ep.recordSendTime(in, b, m, now)
		return
	}
	e, ok := in.Ext(b, m.ext.TransportCC)
	if !ok {
		return
	}
	seq, ok := rtpx.TransportSeq(e)
	if !ok {
		return
	}
	s := &ep.in
	s.twcc.Record(seq, now)
	s.twccSSRC = in.SSRC
	if s.twccAt == 0 {
		s.twccAt = now // never on the first packet
		return
	}
	since := now - s.twccAt
	cfg := &ep.p.e.cfg
	if since >= int64(cfg.FeedbackInterval) || in.Marker && since >= int64(cfg.FeedbackFrameInterval) {
		ep.sendTransportFeedback(now)
	}
}

// sendTransportFeedback answers what arrived. ep.mu is held.
func (ep *Endpoint) sendTransportFeedback(now int64) {
	s := &ep.in
	s.twccAt = now
	for s.twcc.Pending() {
		pkt := ep.p.e.cfg.Pool.Get()
		b := s.twcc.Append(pkt.Space()[:0], ep.feedback, s.twccSSRC)
		pkt.SetLen(len(b))
		ep.sendRTCP(pkt)
	}
}

// sendRTCP hands RTCP of our own to the endpoint's worker and takes over the
// caller's reference.
func (ep *Endpoint) sendRTCP(pkt *rtpx.Packet) {
	if len(pkt.Bytes()) == 0 || !ep.w.push(job{kind: jobRTCP, pkt: pkt, ep: ep}) {
		pkt.Release()
	}
}

// fanOut hands a packet that is finished to every worker with receivers for it.
// ep.mu of the sender is held.
func (st *stream) fanOut(pkt *rtpx.Packet) {
	if st.src.Kind == Audio && !st.src.Synthetic {
		st.listened(pkt)
	}
	ws := st.src.ep.p.e.workers
	for i, subs := range st.src.subs.Load().byWorker {
		if len(subs) == 0 {
			continue
		}
		w := ws[i]
		if st.src.Kind == Video {
			// Behind: drop whole frames, key frames last.
			if st.skipping[i] || !pkt.Info.Key && w.busy() {
				st.skipping[i] = !pkt.Info.Marker
				w.dropped.Add(1)
				continue
			}
		}
		pkt.Retain()
		if !w.push(job{kind: jobRTP, pkt: pkt, st: st}) {
			pkt.Release()
			st.skipping[i] = st.src.Kind == Video && !pkt.Info.Marker
		}
	}
}

// RTCP takes a decrypted RTCP compound that came from this endpoint, on the
// same terms as RTP.
func (ep *Endpoint) RTCP(pkt *rtpx.Packet) {
	defer ep.guard()
	now := pkt.Arrived
	if now == 0 {
		now = ep.p.e.cfg.Now()
	}
	if !ep.in.control.take(1, maxControl, maxControl, now) {
		ep.stats.excess.Add(1)
		return
	}
	rest := pkt.Bytes()
	feedback, any, ignored := false, false, uint64(0)
	for {
		p, r, ok := rtpx.NextRTCP(rest)
		if !ok {
			break
		}
		rest, any = r, true
		switch p.Type {
		case rtpx.TypeSR:
			ep.senderReport(&p, now)
			feedback = feedback || p.Count > 0
		case rtpx.TypeRR, rtpx.TypeRTPFB, rtpx.TypePSFB:
			feedback = true
		case rtpx.TypeSDES, rtpx.TypeBYE: // end here: signalling says who is there
		default:
			ignored++ // XR, APP and what is to come
		}
	}
	if ignored > 0 {
		ep.stats.ignored.Add(ignored)
	}
	if !any {
		ep.stats.malformed.Add(1)
		return
	}
	if feedback {
		// What it says about streams to this endpoint is for its worker.
		pkt.Retain()
		if !ep.w.push(job{kind: jobFeedback, pkt: pkt, ep: ep}) {
			pkt.Release()
		}
	}
}

// senderReport keeps a sender report for our receiver reports and passes its
// clock mapping to the workers.
func (ep *Endpoint) senderReport(p *rtpx.RTCP, now int64) {
	s, ok := p.SenderInfo()
	if !ok {
		return
	}
	r, ok := ep.p.table.Load().bySSRC[p.Sender()]
	if !ok || r.rtx {
		return
	}
	st := r.st
	if st.src.ep != ep {
		ep.stats.foreign.Add(1)
		return
	}
	ep.mu.Lock()
	taken := st.in.recv.senderReport(s.NTP, now)
	ep.mu.Unlock()
	if !taken {
		return
	}
	// Workers without receivers of it keep the mapping for those to come.
	for _, w := range ep.p.e.workers {
		w.push(job{kind: jobSR, st: st, sr: senderReport{ntp: s.NTP, ts: s.TS, set: true}})
	}
}

// tick does what is due without a packet.
func (ep *Endpoint) tick(now int64) {
	cfg := &ep.p.e.cfg
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if s := &ep.in; s.twcc.Pending() && now-s.twccAt >= int64(cfg.FeedbackInterval) {
		ep.sendTransportFeedback(now)
	}
	for _, src := range *ep.sending.Load() {
		if src.Kind == Video {
			for _, st := range src.streams {
				ep.askLost(st, now)
				ep.settle(st, now)
			}
		}
	}
	if now-ep.in.reportAt >= int64(cfg.ReportInterval) {
		ep.in.reportAt = now
		ep.report(now)
	}
}

// report tells the sender how its streams arrive. ep.mu is held.
func (ep *Endpoint) report(now int64) {
	var blocks [31]rtpx.ReportBlock
	n := 0
	for _, src := range *ep.sending.Load() {
		for _, st := range src.streams {
			b, ok := st.in.recv.report(st.SSRC, now)
			if !ok {
				continue
			}
			ep.stats.inExpected.Add(uint64(st.in.recv.expected))
			ep.stats.inLost.Add(uint64(st.in.recv.lost))
			if src.Kind == Video {
				ep.stats.videoTime.Add(uint64(st.in.recv.active))
			}
			st.in.recv.active = 0
			blocks[n] = b
			n++
			if n == len(blocks) {
				ep.sendReports(blocks[:n], now)
				n = 0
			}
		}
	}
	ep.sendReports(blocks[:n], now)
}

// sendReports sends a receiver report, and what else is told as often. It goes without
// SDES, as JVB's. ep.mu is held.
func (ep *Endpoint) sendReports(blocks []rtpx.ReportBlock, now int64) {
	pkt := ep.p.e.cfg.Pool.Get()
	b := pkt.Space()[:0]
	if len(blocks) > 0 {
		b = rtpx.AppendRR(b, ep.feedback, blocks)
	}
	b = ep.appendREMB(b, now)
	pkt.SetLen(len(b))
	ep.sendRTCP(pkt)
}

// settle notices that layers fell silent, and forgets key frames of the past.
// ep.mu is held.
func (ep *Endpoint) settle(st *stream, now int64) {
	if st.in.structure.settle(now) {
		ep.p.layersChanged(st.src.Name)
	}
	if k := &st.in.keys; len(k.pkts) > 0 && now-k.pkts[len(k.pkts)-1].Arrived > keyMemoryAge {
		k.clear()
		st.keyAt.Store(0)
	}
}

// layersOf lists the layers of a video source of this endpoint.
func (ep *Endpoint) layersOf(src *source, now int64) []rtpx.LayerInfo {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	layered := false // one encoding carries several sizes
	for _, st := range src.streams {
		s := &st.in.structure
		layered = layered || s.spatial > 1 && s.live(now)
	}
	var ls []rtpx.LayerInfo
	for i, st := range src.streams {
		// Encodings that a sender does not use beside its layers have no place
		// among them, because what they would be like is not known.
		if s := &st.in.structure; !layered || s.live(now) {
			ls = s.append(ls, i, now)
		}
	}
	return ls
}

// takeLevels moves the collected audio levels to buf and returns how many.
func (ep *Endpoint) takeLevels(buf *[levelSlots]levelAt) int {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	n := copy(buf[:], ep.in.levels[:ep.in.nLevels])
	ep.in.nLevels = 0
	return n
}
