package swarm

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtp"

	"confab/bridge/rtpx"
)

const (
	twccEvery = 100 * time.Millisecond // libwebrtc: 50 to 250 ms
	rrEvery   = time.Second
	srEvery   = time.Second
	pliEvery  = 300 * time.Millisecond
	nackAfter = 20 * time.Millisecond // reordering within is none of a network's business
	nackEvery = 60 * time.Millisecond
	nackTries = 10
)

// feedback is what a leg reports.
type feedback struct {
	ssrc   uint32
	twcc   rtpx.TWCCRecorder
	heard  bool
	twccAt int64
	rrAt   int64
	srAt   int64
	probes uint64
	sent   uint16 // last transport-wide number

	scratch [2048]byte
	header  rtp.Header
	rtcp    [1400]byte
	seqs    []uint16
	blocks  []rtpx.ReportBlock
}

func (l *Leg) sendRTCP(plain []byte) {
	if len(plain) == 0 {
		return
	}
	b, err := l.keys.out.EncryptRTCP(l.s.sock.room(), plain, nil)
	if err == nil {
		l.s.sock.commit(len(b), l.addr, l.remote)
	}
}

func (l *Leg) reporter() uint32 {
	if l.feedback.ssrc != 0 {
		return l.feedback.ssrc
	}
	if len(l.out) > 0 {
		return l.out[0].ssrc
	}
	return 1
}

// report sends what is due, in compounds that begin with a receiver report as
// RFC 3550 §6.1 wants.
func (l *Leg) report(now int64) {
	f := &l.feedback
	me := l.reporter()
	if f.rrAt == 0 { // not all at once
		f.rrAt, f.srAt = now-int64(l.index%20)*int64(rrEvery)/20, now-int64(l.index%20)*int64(srEvery)/20
	}
	begin := func() []byte { return rtpx.AppendRR(f.rtcp[:0], me, nil) }
	if f.heard && now-f.twccAt >= int64(twccEvery) {
		for f.twccAt = now; f.twcc.Pending(); {
			media := uint32(0)
			if len(l.order) > 0 {
				media = l.order[0].stats.SSRC
			}
			l.sendRTCP(f.twcc.Append(begin(), me, media))
		}
	}
	for _, in := range l.order {
		if in.stats.Kind != Video {
			in.missing = in.missing[:0]
			continue
		}
		if len(in.missing) > 0 {
			if seqs := in.nack(now); len(seqs) > 0 && !l.formats.NoNACK {
				l.sendRTCP(rtpx.AppendNACK(begin(), me, in.stats.SSRC, seqs))
			}
		}
		if !in.key && now-in.asked >= int64(pliEvery) {
			in.asked = now
			l.sendRTCP(rtpx.AppendPLI(begin(), me, in.stats.SSRC))
		}
	}
	if now-f.rrAt >= int64(rrEvery) {
		f.rrAt = now
		f.blocks = f.blocks[:0]
		for _, in := range l.order {
			if now-in.stats.Last > int64(5*time.Second) {
				continue
			}
			f.blocks = append(f.blocks, in.block(now))
			if len(f.blocks) == 31 {
				l.sendRTCP(rtpx.AppendRR(f.rtcp[:0], me, f.blocks))
				f.blocks = f.blocks[:0]
			}
		}
		if len(f.blocks) > 0 {
			l.sendRTCP(rtpx.AppendRR(f.rtcp[:0], me, f.blocks))
		}
	}
	if len(l.out) > 0 && now-f.srAt >= int64(srEvery) {
		f.srAt = now
		for _, o := range l.out {
			o.report(now)
		}
	}
}

// nack lists what is to be asked for, in order. What was asked for often enough is
// given up; a decoder then needs a key frame.
func (in *Incoming) nack(now int64) []uint16 {
	seqs := in.l.feedback.seqs[:0]
	keep := in.missing[:0]
	for _, g := range in.missing {
		switch {
		case g.tries == 0 && g.asked == 0:
			g.asked = now - int64(nackEvery) + int64(nackAfter)
		case now-g.asked < int64(nackEvery):
		case g.tries >= nackTries || in.highest-g.seq >= seenWindow-64:
			in.key = false
			continue
		case len(seqs) < 200:
			g.tries++
			g.asked = now
			seqs = append(seqs, uint16(g.seq))
		}
		keep = append(keep, g)
	}
	in.missing = keep
	in.l.feedback.seqs = seqs
	return seqs
}

// block is the reception report of a stream (RFC 3550 §6.4.1).
func (in *Incoming) block(now int64) rtpx.ReportBlock {
	expected := uint64(in.highest - in.first + 1)
	r := rtpx.ReportBlock{SSRC: in.stats.SSRC, Highest: uint32(in.highest - 1<<16), Lost: int32(int64(expected) - int64(in.counted)), LSR: in.lastSR}
	if e := expected - in.reportBase[0]; e > 0 {
		if got := in.counted - in.reportBase[1]; got < e {
			r.Fraction = uint8(min((e-got)*256/e, 255))
		}
	}
	in.reportBase = [2]uint64{expected, in.counted}
	if in.lastSRAt != 0 {
		r.DLSR = uint32((now - in.lastSRAt) * 65536 / 1e9)
	}
	return r
}

// rtcp takes what the server reports.
func (l *Leg) rtcp(b []byte, at int64) {
	plain, err := l.keys.in.DecryptRTCP(l.feedback.scratch[:0], b, nil)
	if err != nil {
		return
	}
	for rest := plain; ; {
		p, next, ok := rtpx.NextRTCP(rest)
		if !ok {
			return
		}
		rest = next
		switch {
		case p.Type == rtpx.TypeSR:
			if s, ok := p.SenderInfo(); ok {
				if in := l.in[p.Sender()]; in != nil {
					in.lastSR, in.lastSRAt = uint32(s.NTP>>16), at
				}
			}
		case p.Is(rtpx.TypePSFB, rtpx.FormatPLI):
			l.keyFrame(p.Media())
		case p.Is(rtpx.TypePSFB, rtpx.FormatFIR):
			for i := 0; ; i++ {
				ssrc, _, ok := p.FIR(i)
				if !ok {
					break
				}
				l.keyFrame(ssrc)
			}
		case p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK):
			for i := 0; ; i++ {
				pid, mask, ok := p.NACK(i)
				if !ok {
					break
				}
				l.retransmit(p.Media(), pid, mask)
			}
		}
	}
}

// keyFrame makes the next frames of the source key frames, on all encodings as
// Chromium does.
func (l *Leg) keyFrame(ssrc uint32) {
	for _, o := range l.out {
		if o.ssrc != ssrc {
			continue
		}
		for _, other := range l.out {
			if other.source == o.source {
				other.wantKey = true
			}
		}
		return
	}
}

func (l *Leg) retransmit(ssrc uint32, pid, mask uint16) {
	for _, o := range l.out {
		if o.ssrc == ssrc {
			o.again(pid)
			for i := range 16 {
				if mask&(1<<i) != 0 {
					o.again(pid + 1 + uint16(i))
				}
			}
		}
	}
}

func ntp(now int64) uint64 {
	const epoch = 2208988800
	return uint64(now/1e9+epoch)<<32 | uint64(now%1e9)<<32/1e9
}

func put16(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }
func put32(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }
