package forward

import "confab/bridge/rtpx"

// audio takes an audio packet of one of this endpoint's sources. ep.mu is held.
func (ep *Endpoint) audio(st *stream, pkt *rtpx.Packet, m *mediaTable, now int64) {
	in, s := &pkt.Info, &st.in
	if !m.known[in.PT] || m.pt[in.PT].Kind != Audio {
		ep.stats.unknown.Add(1)
		return
	}
	pt := &m.pt[in.PT]
	in.Codec = pt.Codec
	s.recv.note(in.Seq, in.TS, now, pt.ClockRate)

	// Muted by force it is dropped whether it says how loud it is or not.
	drop := ep.mutedAudio.Load() || in.PayloadLen() == 0
	if !drop && !ep.mayTalk(len(pkt.Bytes()), now) {
		// Audio goes to everybody unasked, so one sender could fill all their networks.
		ep.stats.excess.Add(1)
		drop = true
	}
	if e, ok := in.Ext(pkt.Bytes(), m.ext.AudioLevel); ok && !drop {
		if level, _, ok := rtpx.AudioLevel(e); ok {
			in.HasLevel, in.Level = true, e[0]
			drop = !ep.heard(st, 127-level, now)
		}
	}
	// The gap that a dropped packet leaves is closed, so that receivers don't
	// conceal what was never to be heard.
	pos := s.number.Unwrap(in.Seq)
	again := s.arrivals.note(pos)
	n, ok := s.gaps.place(pos, drop)
	if !ok {
		ep.stats.discarded.Add(1)
		return
	}
	if s.silence == 0 {
		st.src.heardAt.Store(now)
	}
	in.Number = uint16(n)
	in.Start, in.End = true, true
	if again {
		in.For = rtpx.ForRED
	}
	if pt.red {
		ep.recover(st, pkt, m, pos)
	}
	st.fanOut(pkt)
}

// mayTalk takes a packet of n bytes off what an endpoint may send. ep.mu is held.
func (ep *Endpoint) mayTalk(n int, now int64) bool {
	cfg := &ep.p.e.cfg
	packets, bits := int64(cfg.AudioPackets), cfg.AudioBitrate
	return ep.in.audioPackets.take(1, packets, packets, now) && ep.in.audioBits.take(8*int64(n), bits, bits, now)
}

// levelGap is the least time between two levels of an endpoint that count: half of
// Opus' shortest usual packet. Who sends more of them is not louder for it.
const levelGap = int64(5e6)

// heard notes how loud a packet is, 0 silence to 127 loudest, and says whether it
// is to be forwarded. ep.mu is held.
func (ep *Endpoint) heard(st *stream, level uint8, now int64) bool {
	s, in, cfg := &st.in, &ep.in, &ep.p.e.cfg
	if in.nLevels < levelSlots && now-in.levelAt >= levelGap {
		in.levelAt = now
		in.levels[in.nLevels] = levelAt{level: level, at: now}
		in.nLevels++
	}
	s.energy.add(level)
	if level == 0 {
		s.silence++
	} else {
		s.silence = 0
	}
	// JVB discard-silence: a muted microphone costs nobody anything.
	if n := cfg.SilencePackets; n >= 0 && s.silence > n {
		return false
	}
	if ep.loudEnough(st, level, now) {
		return true
	}
	ep.stats.tooQuiet(s.energy.value)
	return false
}
