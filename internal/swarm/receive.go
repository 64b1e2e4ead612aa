package swarm

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/pion/rtp"
)

const (
	// seenWindow is how many packets back a duplicate is known.
	seenWindow = 2048
	// Freezes are those of libwebrtc: a frame that comes later than three times the
	// mean, and by 150 ms at least.
	freezeFactor = 3
	freezeExtra  = int64(150 * time.Millisecond)
)

// Stats is what was received of a stream.
type Stats struct {
	SSRC      uint32
	Kind      Kind
	Packets   uint64 // each once, retransmitted ones included
	Bytes     uint64 // of the datagrams
	Lost      uint64 // never came
	Recovered uint64 // came by RTX
	Duplicate uint64

	Sampled uint64 // packets that were decrypted and read
	Broken  uint64 // that could not be

	Frames    uint64 // with a marker, or every packet of audio
	KeyFrames uint64 // among the packets read
	Width     int    // of the last key frame read
	Height    int
	Encodings [4]uint64 // packets read, by the sender's encoding
	Sender    uint32    // number of the sender, from a packet read; 0: none

	Freezes  uint64
	Frozen   time.Duration
	Longest  time.Duration // between two frames
	First    int64         // Unix ns of the first packet, and of the last
	Last     int64
	Switches uint64 // samples with another encoding than the one before
}

// Incoming is a stream that is received.
type Incoming struct {
	l     *Leg
	stats Stats

	first, highest int64 // extended sequence numbers
	seen           [seenWindow / 64]uint64
	counted        uint64 // different numbers since first
	missing        []gap

	key      bool // a key frame was seen
	asked    int64
	lastTS   uint32
	frameAt  int64
	mean     int64 // between frames
	withheld bool  // the server has said that it sends none of it now
	encoding int

	lastSR     uint32
	lastSRAt   int64
	reportBase [2]uint64 // expected and counted at the last report
}

type gap struct {
	seq   int64
	asked int64
	tries int
}

// media takes a packet of SRTP or SRTCP.
func (l *Leg) media(b []byte, at int64) {
	if l.keys == nil || len(b) < 12 {
		return // a browser drops what comes before the handshake's end, too
	}
	pt := b[1]
	if pt >= 192 && pt <= 223 { // RFC 5761 §4
		l.rtcp(b, at)
		return
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	if l.formats.TWCC != 0 {
		if n, ok := extension(b, l.formats.TWCC); ok {
			l.feedback.twcc.Record(n, at)
			l.feedback.heard = true
		}
	}
	kind := l.formats.Kinds[pt&127]
	if kind == RTX {
		l.retransmitted(b, ssrc, at)
		return
	}
	if kind == None {
		return
	}
	in := l.in[ssrc]
	if in == nil {
		in = &Incoming{l: l, encoding: -1}
		in.stats.SSRC, in.stats.Kind = ssrc, kind
		l.in[ssrc] = in
		l.order = append(l.order, in)
	}
	seq := binary.BigEndian.Uint16(b[2:])
	if in.number(seq, at) {
		in.stats.Bytes += uint64(len(b))
		in.frame(b, at)
		if kind == Video && !in.key || (int(seq)+l.index)%SampleEvery == 0 {
			in.read(b, at)
		}
	}
}

// extension finds an extension of two bytes (RFC 8285), in clear as all headers.
func extension(b []byte, id uint8) (v uint16, ok bool) {
	if b[0]&0x10 == 0 {
		return 0, false
	}
	at := 12 + 4*int(b[0]&15)
	if len(b) < at+4 {
		return 0, false
	}
	profile, end := binary.BigEndian.Uint16(b[at:]), at+4+4*int(binary.BigEndian.Uint16(b[at+2:]))
	if end > len(b) {
		return 0, false
	}
	for at += 4; at < end; {
		var got uint8
		var n int
		switch {
		case b[at] == 0:
			at++
			continue
		case profile == 0xBEDE:
			got, n = b[at]>>4, int(b[at]&15)+1
			at++
		case profile&0xFFF0 == 0x1000:
			if at+2 > end {
				return 0, false
			}
			got, n = b[at], int(b[at+1])
			at += 2
		default:
			return 0, false
		}
		if got == id && n >= 2 && at+2 <= end {
			return binary.BigEndian.Uint16(b[at:]), true
		}
		at += n
	}
	return 0, false
}

// number notes a sequence number; it is false for a duplicate.
func (in *Incoming) number(seq uint16, at int64) bool {
	st := &in.stats
	if st.First == 0 {
		in.first = 1<<16 + int64(seq)
		in.highest, st.First = in.first, at
		in.mark(in.first)
		st.Last = at
		return true
	}
	n := in.highest + int64(int16(seq-uint16(in.highest)))
	switch {
	case n > in.highest:
		if n-in.highest > seenWindow { // too much to ask for
			clear(in.seen[:])
			in.highest, in.missing, in.key = n-1, in.missing[:0], false
		}
		for i := in.highest + 1; i < n; i++ {
			in.seen[i%seenWindow/64] &^= 1 << (i % 64)
			if len(in.missing) < 512 {
				in.missing = append(in.missing, gap{seq: i})
			}
		}
		in.seen[n%seenWindow/64] &^= 1 << (n % 64)
		in.highest = n
	case n < in.first || n <= in.highest-seenWindow || in.seen[n%seenWindow/64]&(1<<(n%64)) != 0:
		st.Duplicate++
		return false
	default:
		in.found(n)
	}
	in.mark(n)
	st.Last = at
	return true
}

func (in *Incoming) mark(n int64) {
	in.seen[n%seenWindow/64] |= 1 << (n % 64)
	in.counted++
	in.stats.Packets++
}

func (in *Incoming) found(n int64) {
	for i := range in.missing {
		if in.missing[i].seq == n {
			in.missing = append(in.missing[:i], in.missing[i+1:]...)
			return
		}
	}
}

// frame counts frames by their markers, and how long none came.
func (in *Incoming) frame(b []byte, at int64) {
	st := &in.stats
	if st.Kind == Video && b[1]&0x80 == 0 {
		return
	}
	ts := binary.BigEndian.Uint32(b[4:])
	if in.frameAt != 0 {
		if int32(ts-in.lastTS) <= 0 {
			return
		}
		d := at - in.frameAt
		st.Longest = max(st.Longest, time.Duration(d))
		if st.Kind == Video && in.mean > 0 && d > freezeFactor*in.mean && d > in.mean+freezeExtra {
			st.Freezes++
			st.Frozen += time.Duration(d - in.mean)
		} else if in.mean == 0 {
			in.mean = d
		} else {
			in.mean += (d - in.mean) / 16
		}
	}
	st.Frames++
	in.frameAt, in.lastTS = at, ts
	if in.withheld {
		in.frameAt = 0 // how long until the next says nothing
	}
}

// Withhold notes which videos the server says it sends, by SSRC, and so which it does
// not: one that is withheld, or has ended, is not frozen.
func (l *Leg) Withhold(sent []uint32) {
	l.s.post(func() {
		for _, in := range l.order {
			if in.stats.Kind == Video {
				if in.withheld = !slices.Contains(sent, in.stats.SSRC); in.withheld {
					in.frameAt = 0
				}
			}
		}
	})
}

// read decrypts a packet and looks at what it carries.
func (in *Incoming) read(b []byte, at int64) {
	l := in.l
	plain, err := l.keys.in.DecryptRTP(l.feedback.scratch[:0], b, &l.feedback.header)
	if err != nil {
		in.stats.Broken++
		return
	}
	in.payload(plain, &l.feedback.header, at, false)
}

func (in *Incoming) payload(plain []byte, h *rtp.Header, at int64, again bool) {
	st := &in.stats
	payload := plain[h.MarshalSize():]
	if h.Padding && len(payload) > 0 {
		payload = payload[:max(0, len(payload)-int(payload[len(payload)-1]))]
	}
	t, ok := readTag(payload)
	if !ok {
		if len(payload) > 0 {
			st.Broken++
		}
		return
	}
	st.Sampled++
	if !again {
		in.l.s.late.Add(time.Duration(at - t.sent))
	}
	st.Sender = t.sender
	st.Encodings[t.encoding&3]++
	if in.encoding >= 0 && in.encoding != int(t.encoding) {
		st.Switches++
	}
	in.encoding = int(t.encoding)
	if st.Kind != Video {
		return
	}
	if w, ht, key := keyFrame(payload); key {
		in.key = true
		st.KeyFrames++
		st.Width, st.Height = w, ht
	}
}

// retransmitted takes a packet of RTX (RFC 4588): it belongs to the stream that
// misses it. A probe is only padding.
func (l *Leg) retransmitted(b []byte, ssrc uint32, at int64) {
	plain, err := l.keys.in.DecryptRTP(l.feedback.scratch[:0], b, &l.feedback.header)
	h := &l.feedback.header
	if err != nil {
		return
	}
	payload := plain[h.MarshalSize():]
	if h.Padding && len(payload) > 0 {
		payload = payload[:max(0, len(payload)-int(payload[len(payload)-1]))]
	}
	if len(payload) < 3 {
		l.feedback.probes++
		return
	}
	seq := binary.BigEndian.Uint16(payload)
	t, ok := readTag(payload)
	for _, in := range l.order {
		// Which stream an SSRC of RTX repairs is in the signalling; the sender's
		// number says it as well.
		if in.stats.Kind != Video || ok && in.stats.Sender != 0 && in.stats.Sender != t.sender {
			continue
		}
		n := in.highest + int64(int16(seq-uint16(in.highest)))
		for i := range in.missing {
			if in.missing[i].seq == n && in.number(seq, at) {
				in.stats.Recovered++
				return
			}
		}
	}
}

// Received lists what a leg has got.
func (l *Leg) Received() (out []Stats) {
	l.s.Do(func() { out = l.stats() })
	return out
}

func (l *Leg) stats() (out []Stats) {
	for _, in := range l.order {
		st := in.stats
		st.Lost = uint64(max(in.highest-in.first+1-int64(in.counted), 0))
		out = append(out, st)
	}
	return out
}

// Restart forgets the freezes and gaps so far, for a measurement.
func (l *Leg) restart() {
	for _, in := range l.order {
		in.stats.Longest, in.stats.Freezes, in.stats.Frozen = 0, 0, 0
	}
}

// Restart makes all legs forget freezes and gaps so far, and the swarm its
// latencies: a measurement begins.
func (s *Swarm) Restart() {
	s.Do(func() {
		for _, l := range s.legs {
			if l != nil {
				l.restart()
			}
		}
		s.late = Histogram{}
	})
}

// Sum adds up what all legs received of a kind; streams are those that are not withheld.
func (s *Swarm) Sum(kind Kind) (total Stats, streams int) {
	s.Do(func() {
		for _, l := range s.legs {
			if l == nil {
				continue
			}
			for _, in := range l.order {
				if in.stats.Kind != kind {
					continue
				}
				st := &in.stats
				if !in.withheld {
					streams++
				}
				total.Packets += st.Packets
				total.Bytes += st.Bytes
				total.Lost += uint64(max(in.highest-in.first+1-int64(in.counted), 0))
				total.Recovered += st.Recovered
				total.Duplicate += st.Duplicate
				total.Sampled += st.Sampled
				total.Broken += st.Broken
				total.Frames += st.Frames
				total.KeyFrames += st.KeyFrames
				total.Freezes += st.Freezes
				total.Frozen += st.Frozen
				total.Longest = max(total.Longest, st.Longest)
				total.Switches += st.Switches
				for i, n := range st.Encodings {
					total.Encodings[i] += n
				}
			}
		}
	})
	return total, streams
}
