package forward

import (
	"strings"
	"sync/atomic"

	"confab/bridge/rtpx"
)

// table says which stream an SSRC belongs to. It is immutable.
type table struct {
	bySSRC map[uint32]route
}

// route is what an SSRC means.
type route struct {
	st  *stream
	rtx bool // the SSRC is the retransmission stream of st
}

// source is a signalled source while it lives. What changes per packet is in
// its streams; subs is replaced whole by control.
type source struct {
	Source
	ep      *Endpoint
	streams []*stream
	subs    atomic.Pointer[subTable]

	heardAt atomic.Int64 // audio: when something other than silence was last forwarded
	wished  wishes       // audio
	asked   atomic.Int32 // audio: who ask for it by name
	packets allowance    // of a service; guarded by ep.mu, as is bits
	bits    allowance

	lastKeyframe atomic.Int64 // time of the last request, for all receivers
	firSeq       atomic.Uint32
}

// subTable lists the subscriptions of a source by worker.
type subTable struct {
	byWorker [][]*sub
}

// stream is one incoming RTP stream. Its fields below mu of the endpoint are
// touched with that lock held.
type stream struct {
	src *source
	enc uint8
	Encoding

	in ingressStream // guarded by src.ep.mu
	// keyAt is when the key frame came that in.keys begins with, 0 without.
	keyAt atomic.Int64

	// reports is the newest sender report, one copy per worker.
	reports []senderReport
	// skipping[w] says that worker w's ring was full: drop to the end of the frame.
	skipping []bool // guarded by src.ep.mu
}

// senderReport maps a sender's wall clock to its RTP clock.
type senderReport struct {
	ntp uint64
	ts  uint32
	set bool
}

// newSource makes the running state of a source for a number of workers.
func newSource(ep *Endpoint, d Source, workers int) *source {
	d.Encodings = append([]Encoding(nil), d.Encodings...)
	s := &source{Source: d, ep: ep}
	s.lastKeyframe.Store(-1 << 62)
	s.subs.Store(&subTable{byWorker: make([][]*sub, workers)})
	for i, e := range d.Encodings {
		st := &stream{
			src: s, enc: uint8(i), Encoding: e,
			reports:  make([]senderReport, workers),
			skipping: make([]bool, workers),
		}
		st.in.init(s.Kind, i)
		s.streams = append(s.streams, st)
	}
	return s
}

// forget lets go of what the streams have kept of a source that is gone.
func (s *source) forget() {
	s.ep.mu.Lock()
	defer s.ep.mu.Unlock()
	for _, st := range s.streams {
		st.in.keys.clear()
		st.keyAt.Store(0)
	}
}

// same says whether a description means this very source.
func (s *source) same(d Source) bool {
	if s.Name != d.Name || s.Kind != d.Kind || s.Synthetic != d.Synthetic || len(s.Encodings) != len(d.Encodings) {
		return false
	}
	for i, e := range d.Encodings {
		if s.Encodings[i] != e {
			return false
		}
	}
	return true
}

// with returns the list with b added to its worker's group.
func (t *subTable) with(b *sub) *subTable {
	n := t.without(b)
	w := b.ep.w.index
	n.byWorker[w] = append(n.byWorker[w], b)
	return n
}

// without returns the list without b.
func (t *subTable) without(b *sub) *subTable {
	n := &subTable{byWorker: make([][]*sub, len(t.byWorker))}
	copy(n.byWorker, t.byWorker)
	w := b.ep.w.index
	n.byWorker[w] = make([]*sub, 0, len(t.byWorker[w])+1)
	for _, o := range t.byWorker[w] {
		if o != b {
			n.byWorker[w] = append(n.byWorker[w], o)
		}
	}
	return n
}

// payloadType is Payload prepared for the packet path.
type payloadType struct {
	Payload
	red bool // redundant audio, RFC 2198
}

// mediaTable is Media prepared for the packet path. It is immutable.
type mediaTable struct {
	known [128]bool
	pt    [128]payloadType
	rtx   [128]uint8 // retransmission type of a payload type, 0 when none
	ext   Extensions

	any         bool // at least one payload type is known
	red         bool // redundant audio is
	transportCC bool
	remb        bool
	anyRTX      bool
	anyVideo    bool
	videoPT     uint8 // the first one, with anyVideo
	nack        bool
	pli, fir    bool
}

func newMediaTable(m Media) *mediaTable {
	t := &mediaTable{ext: m.Extensions}
	for _, p := range m.Payloads {
		if p.PT > 127 {
			continue
		}
		if p.Codec == rtpx.CodecOther && !p.RTX {
			p.Codec = rtpx.CodecNamed(p.Name)
		}
		if p.ClockRate == 0 {
			p.ClockRate = 90000
			if p.Kind == Audio {
				p.ClockRate = 48000
			}
		}
		t.pt[p.PT] = payloadType{Payload: p, red: p.Kind == Audio && strings.EqualFold(p.Name, "red")}
		t.known[p.PT], t.any = true, true
		t.red = t.red || t.pt[p.PT].red
		t.transportCC = t.transportCC || p.TransportCC
		t.remb = t.remb || p.REMB
		t.nack = t.nack || p.NACK
		t.pli, t.fir = t.pli || p.PLI, t.fir || p.FIR
		if p.RTX && p.Apt < 128 {
			t.rtx[p.Apt] = p.PT
			t.anyRTX = true
		}
		if p.Kind == Video && !p.RTX && !t.anyVideo {
			t.anyVideo, t.videoPT = true, p.PT
		}
	}
	t.transportCC = t.transportCC && m.Extensions.TransportCC != 0
	return t
}

// outgoing finds under which payload type the receiver takes what the sender
// calls p: the same number if it means the same, else the first of that codec.
// A receiver that named no payload types at all takes everything as it is.
func (t *mediaTable) outgoing(p *payloadType) (uint8, bool) {
	if !t.any {
		return p.PT, true
	}
	if o := &t.pt[p.PT]; t.known[p.PT] && o.Codec == p.Codec && !o.RTX && (p.Codec != rtpx.CodecOther || o.Name == p.Name) {
		return p.PT, true
	}
	for i := range t.pt {
		if o := &t.pt[i]; t.known[i] && !o.RTX && o.Codec == p.Codec && o.Kind == p.Kind && (p.Codec != rtpx.CodecOther || o.Name == p.Name) {
			return o.PT, true
		}
	}
	return 0, false
}
