package forward

import (
	"cmp"
	"slices"

	"confab/bridge/rtpx"
)

// audio takes an audio packet of one of this endpoint's sources. ep.mu is held.
func (ep *Endpoint) audio(st *stream, pkt *rtpx.Packet, m *mediaTable, now int64) {
	in, s := &pkt.Info, &st.in
	if !m.known[in.PT] {
		ep.stats.unknown.Add(1)
		return
	}
	pt := &m.pt[in.PT]
	in.Codec = pt.Codec
	s.recv.note(in.Seq, in.TS, now, pt.ClockRate)

	drop := ep.mutedAudio.Load() || in.PayloadLen() == 0
	if e, ok := in.Ext(pkt.Bytes(), m.ext.AudioLevel); ok && !ep.mutedAudio.Load() {
		level, _, ok := rtpx.AudioLevel(e)
		if ok {
			in.HasLevel, in.Level = true, e[0]
			if ep.in.nLevels < levelSlots {
				ep.in.levels[ep.in.nLevels] = levelAt{level: 127 - level, at: now}
				ep.in.nLevels++
			}
			s.energy.add(127-level, now)
			if level == 127 {
				s.silence++
			} else {
				s.silence = 0
			}
			// JVB discard-silence: a muted microphone costs nobody anything.
			if n := ep.p.e.cfg.SilencePackets; n >= 0 && s.silence > n {
				drop = true
			}
			if ep.p.e.cfg.LoudestN > 0 && !ep.loud.Load() && ep.p.dominant.Load() != ep {
				drop = true
			}
		}
	}
	// The gap that a dropped packet leaves is closed, so that receivers don't
	// conceal what was never to be heard.
	n, ok := s.gaps.place(s.number.Unwrap(in.Seq), drop)
	if !ok {
		ep.stats.discarded.Add(1)
		return
	}
	in.Number = uint16(n)
	in.Start, in.End = true, true
	st.fanOut(pkt)
}

// energy follows the loudness of one voice (bridge.md §16.3).
type energy struct {
	value int
	floor uint8 // quietest level lately, the noise floor
	count int
	at    int64
}

// floorWindow is after how many levels the noise floor may rise.
const floorWindow = 750

func (e *energy) add(level uint8, now int64) {
	if e.count == 0 || level < e.floor {
		e.floor = level
	}
	if e.count++; e.count > floorWindow {
		e.floor, e.count = level, 1
	}
	cooked := 0
	if int(level) >= int(e.floor)+10 {
		cooked = int(level)
	}
	e.value = (50*cooked + 50*e.value + 50) / 100
	e.at = now
}

// energyLife is how long a level counts for the ranking.
const energyLife = int64(150e6)

// rankVoices marks the endpoints that are among the loudest.
func (p *Pipeline) rankVoices(now int64) {
	type voice struct {
		ep    *Endpoint
		value int
	}
	var voices []voice
	for _, ep := range *p.list.Load() {
		best := 0
		ep.mu.Lock()
		for _, src := range *ep.sending.Load() {
			if src.Kind != Audio {
				continue
			}
			for _, st := range src.streams {
				if e := &st.in.energy; now-e.at <= energyLife {
					best = max(best, e.value)
				}
			}
		}
		ep.mu.Unlock()
		voices = append(voices, voice{ep, best})
	}
	slices.SortStableFunc(voices, func(a, b voice) int { return cmp.Compare(b.value, a.value) })
	for i, v := range voices {
		v.ep.loud.Store(i < p.e.cfg.LoudestN && v.value > 0)
	}
}
