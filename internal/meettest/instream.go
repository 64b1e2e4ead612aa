package meettest

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pion/rtcp"
)

const (
	// window is how many packets may be waiting behind a missing one.
	window = 512
	// patience is how long a missing packet is waited for.
	patience = 500 * time.Millisecond
	// clockSlack is how far timestamps may be from the time between arrivals. Busy machines
	// stop processes for seconds; a wrong offset is off by hours.
	clockSlack = 20 * time.Second
)

// inStream puts the packets of one SSRC into order and judges their frames.
// Guarded by receiver.mu.
type inStream struct {
	ssrc  uint32
	audio bool
	tag   uint32 // of the source that it is said to carry, 0 while unknown
	stats SourceStats

	started  bool
	next     int64 // extended sequence number to process
	highest  int64
	gapSince time.Time // when next was found missing
	ring     [window]inPacket
	lastTS   uint32 // audio

	needKey bool
	lastPLI time.Time

	// The frame under way.
	inFrame bool
	first   vp8Packet
	frameTS uint32

	// The frame before.
	complete  bool // there is one, and nothing was lost since
	abandoned bool // its end will not come: a key frame has to be next
	lastFrame vp8Packet
	lastTL0   int
	prevTS    uint32
	prevAt    time.Time
	encoding  int // of the last key frame
	decoded   [64]uint32

	reports  int
	lastSR   uint32
	lastSRAt time.Time
}

type inPacket struct {
	source    uint32 // of audio, 0 while unknown
	seq       int64
	valid     bool
	timestamp uint32
	marker    bool
	empty     bool
	good      bool
	vp8       vp8Packet
	arrived   time.Time
}

// remap begins to count for another source; what follows must go on as if it were
// the same, but from a key frame.
func (s *inStream) remap(tag uint32) {
	s.tag, s.stats, s.needKey = tag, SourceStats{}, !s.audio
}

func (s *inStream) packet(seq uint16, ts uint32, marker bool, payload []byte, recovered bool, now time.Time) {
	var ext int64
	if !s.started {
		if recovered {
			return
		}
		s.started, s.needKey, s.encoding = true, !s.audio, -1
		ext = int64(seq) + 1<<16
		s.next, s.highest = ext, ext
	} else {
		ext = s.highest + int64(int16(seq-uint16(s.highest)))
	}
	p := &s.ring[uint64(ext)%window]
	if ext < s.next || p.valid && p.seq == ext {
		s.stats.Duplicate++
		return
	}
	s.stats.Packets++
	s.stats.Bytes += uint64(len(payload))
	if recovered {
		s.stats.Recovered++
	}
	s.highest = max(s.highest, ext)
	for s.highest-s.next >= window { // far ahead: what is missing is given up
		s.skip()
	}
	*p = inPacket{seq: ext, valid: true, timestamp: ts, marker: marker, empty: len(payload) == 0, arrived: now}
	if !s.audio && !p.empty {
		p.vp8, p.good = parseVP8(payload)
	} else if s.audio && len(payload) >= audioTagEnd && string(payload[audioTag+4:audioTagEnd]) == frameMagic {
		p.source = binary.BigEndian.Uint32(payload[audioTag:])
	}
	s.advance(now)
}

// advance processes what is in order.
func (s *inStream) advance(now time.Time) {
	for s.next <= s.highest {
		p := &s.ring[uint64(s.next)%window]
		if !p.valid || p.seq != s.next {
			if s.gapSince.IsZero() {
				s.gapSince = now
			}
			return
		}
		s.gapSince = time.Time{}
		s.process(p)
		p.valid = false
		s.next++
	}
}

// skip gives the next packet up, or processes it if it came.
func (s *inStream) skip() {
	p := &s.ring[uint64(s.next)%window]
	if p.valid && p.seq == s.next {
		s.process(p)
		p.valid = false
	} else {
		s.stats.Lost++
		s.inFrame, s.complete, s.abandoned = false, false, false
		if !s.audio {
			s.needKey = true
		}
	}
	s.next++
}

// tick gives up what is missing for too long and lists the rest, for a NACK.
func (s *inStream) tick(now time.Time) (missing []uint16) {
	if s.gapSince.IsZero() {
		return nil
	}
	if now.Sub(s.gapSince) > patience {
		for s.next <= s.highest {
			if p := &s.ring[uint64(s.next)%window]; p.valid && p.seq == s.next {
				break
			}
			s.skip()
		}
		s.gapSince = time.Time{}
		s.advance(now)
	}
	for seq := s.next; seq <= s.highest && len(missing) < 64; seq++ {
		if p := &s.ring[uint64(seq)%window]; !p.valid || p.seq != seq {
			missing = append(missing, uint16(seq))
		}
	}
	return missing
}

func (s *inStream) process(p *inPacket) {
	if s.audio {
		if s.lastTS != 0 && int32(p.timestamp-s.lastTS) <= 0 {
			s.jump("audio timestamp %d after %d", p.timestamp, s.lastTS)
		}
		s.lastTS = p.timestamp
		if s.tag != 0 && p.source != 0 && p.source != s.tag {
			s.stats.Foreign++
			return
		}
		s.stats.Frames++
		return
	}
	if p.empty {
		if s.inFrame {
			s.abandon(p.arrived)
		}
		return
	}
	if !p.good {
		s.jump("payload that is no VP8")
		s.inFrame = false
		return
	}
	if p.vp8.start {
		if s.inFrame {
			s.jump("frame %d without a marker", s.first.pictureID)
		}
		s.inFrame, s.first, s.frameTS = true, p.vp8, p.timestamp
	}
	if !s.inFrame {
		return // the rest of a frame whose beginning is lost
	}
	if p.timestamp != s.frameTS || p.vp8.pictureID != s.first.pictureID {
		s.jump("packets of two frames (timestamps %d, %d) between start and marker", s.frameTS, p.timestamp)
		s.inFrame = false
		return
	}
	if p.marker {
		s.inFrame = false
		s.frame(p.arrived)
	}
}

// abandon takes note of a frame whose rest the bridge has let go because another
// picture took over: an empty packet keeps its beginning apart from what follows.
func (s *inStream) abandon(at time.Time) {
	if s.complete {
		s.continuity(s.first, at)
	}
	s.inFrame, s.abandoned = false, true
	s.lastFrame, s.lastTL0, s.prevTS, s.prevAt = s.first, s.first.tl0, s.frameTS, at
}

// frame judges a complete frame.
func (s *inStream) frame(at time.Time) {
	f := s.first
	if s.complete {
		s.continuity(f, at)
	}
	if s.abandoned && !f.key {
		s.jump("frame %d goes on behind half a frame", f.pictureID)
	}
	s.complete, s.abandoned = true, false
	s.lastFrame, s.prevTS, s.prevAt = f, s.frameTS, at
	s.lastTL0 = f.tl0 // upper layers carry that of their base
	if f.tagged && s.tag != 0 && f.tag.source != s.tag {
		s.stats.Foreign++
		return
	}
	if f.key {
		if s.stats.KeyFrames > 0 && f.height != s.stats.Height {
			s.stats.Switches++
		}
		s.stats.KeyFrames++
		s.stats.Width, s.stats.Height = f.width, f.height
		s.needKey = false
		s.encoding = int(f.tag.encoding)
		s.decoded = [64]uint32{}
	} else if s.stats.KeyFrames == 0 {
		s.needKey = true
		return // a decoder has not begun
	} else if f.tagged {
		has := s.decoded[f.tag.references%64] == f.tag.references
		if int(f.tag.encoding) != s.encoding || !has {
			s.stats.Broken++
			s.needKey = true
			return
		}
	}
	if f.tagged {
		s.decoded[f.tag.number%64] = f.tag.number
	}
	s.stats.Frames++
}

// continuity compares with the frame before.
func (s *inStream) continuity(f vp8Packet, at time.Time) {
	delta := time.Duration(int32(s.frameTS-s.prevTS)) * time.Second / 90000
	passed := at.Sub(s.prevAt)
	switch {
	case delta <= 0:
		s.jump("timestamp %d after %d", s.frameTS, s.prevTS)
	case delta > passed+clockSlack || passed > delta+clockSlack:
		s.jump("timestamp advances %v while %v pass", delta, passed)
	}
	if f.pictureID >= 0 && s.lastFrame.pictureID >= 0 && f.pictureID != (s.lastFrame.pictureID+1)&0x7fff {
		s.jump("picture id %d after %d", f.pictureID, s.lastFrame.pictureID)
	}
	if f.tl0 >= 0 && s.lastTL0 >= 0 {
		want := s.lastTL0
		if f.tid == 0 {
			want = (want + 1) & 0xff
		}
		if f.tl0 != want {
			s.jump("TL0PICIDX %d of layer %d after %d", f.tl0, f.tid, s.lastTL0)
		}
	}
}

func (s *inStream) jump(format string, args ...any) {
	s.stats.Jumps++
	s.stats.JumpNote = fmt.Sprintf(format, args...)
}

func (s *inStream) report(now time.Time) rtcp.ReceptionReport {
	rr := rtcp.ReceptionReport{SSRC: s.ssrc, TotalLost: uint32(s.stats.Lost) & 0xffffff, LastSequenceNumber: uint32(s.highest - 1<<16)}
	if !s.lastSRAt.IsZero() {
		rr.LastSenderReport = s.lastSR
		rr.Delay = uint32(now.Sub(s.lastSRAt).Seconds() * 65536)
	}
	return rr
}
