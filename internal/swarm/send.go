package swarm

import (
	"container/heap"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"confab/bridge/rtpx"
)

// libwebrtc's pacer sends at 2.5 times the rate, in bursts of at most 5 ms.
const (
	paceFactor = 2.5
	paceSlot   = 5 * time.Millisecond

	headSpace   = 64 // of header and extensions at most
	maxPacket   = 1200
	historySize = 512
)

// Encoding is one RTP stream of a camera.
type Encoding struct {
	Width, Height int
	Bitrate       int // bit/s of RTP packets
	// PacketSize makes all packets of that size, header included; 0 cuts frames as
	// an encoder does, into equal parts of at most 1,200 bytes.
	PacketSize int
}

// Track is a microphone or a camera.
type Track struct {
	Kind      Kind
	Encodings []Encoding // of video, smallest first; of audio one, with its rate
	Interval  time.Duration
	// KeyFactor is how many times larger key frames are; at most 1: not at all.
	KeyFactor      float64
	TemporalLayers int
	Level          uint8 // of audio, -dBov

	Number uint32 // of the sender, in the packets
	SSRCs  []uint32
	RTX    []uint32
	MID    string
}

var numbers atomic.Uint32

// NewAudio is a microphone that sends packets of a size at an interval.
func NewAudio(size int, interval time.Duration, level uint8) *Track {
	t := &Track{Kind: Audio, Interval: interval, Level: level, Encodings: []Encoding{{Bitrate: int(float64(size*8) / interval.Seconds()), PacketSize: size}}}
	return t.number()
}

// NewVideo is a camera.
func NewVideo(fps int, encodings ...Encoding) *Track {
	t := &Track{Kind: Video, Interval: time.Second / time.Duration(fps), Encodings: encodings, KeyFactor: 1, TemporalLayers: 1}
	return t.number()
}

func (t *Track) number() *Track {
	t.Number = numbers.Add(1)
	for range t.Encodings {
		t.SSRCs = append(t.SSRCs, rand.Uint32N(1<<31)+1)
		if t.Kind == Video {
			t.RTX = append(t.RTX, rand.Uint32N(1<<31)+1)
		}
	}
	return t
}

// Outgoing is a stream that is sent. It belongs to the swarm's goroutine.
type Outgoing struct {
	l      *Leg
	source *Track
	index  int // of the encoding
	e      Encoding
	ssrc   uint32
	enc    encoder

	on      bool
	due     int64
	at      int // in the heap, -1: not in it
	frame   int64
	credit  float64
	wantKey bool

	left, total, size int // packets of the frame
	key               bool
	pace              int64

	seq, rtxSeq     uint16
	timestamp       uint32
	packets, octets uint32
	history         [][]byte
}

// Send adds a track; it is sent once the leg is connected.
func (l *Leg) Send(t *Track) {
	l.s.Do(func() {
		for i, e := range t.Encodings {
			o := &Outgoing{l: l, source: t, index: i, e: e, ssrc: t.SSRCs[i], on: true, at: -1, wantKey: true}
			o.enc = encoder{width: e.Width, height: e.Height, layers: t.TemporalLayers, pictureID: uint16(rand.Uint32()) & 0x7fff}
			// Low numbers: a receiver that misses the wrap guesses the wrong roll-over
			// counter.
			o.seq, o.rtxSeq, o.timestamp = uint16(rand.Uint32N(1<<15)), uint16(rand.Uint32N(1<<15)), rand.Uint32()
			if t.Kind == Video {
				o.history = make([][]byte, historySize)
			}
			l.out = append(l.out, o)
			if l.keys != nil {
				o.begin()
			}
		}
	})
}

// Stop ends the sending of a track.
func (l *Leg) Stop(t *Track) {
	l.s.Do(func() {
		l.out = slices.DeleteFunc(l.out, func(o *Outgoing) bool {
			if o.source == t {
				o.stop()
			}
			return o.source == t
		})
	})
}

// Limit stops the encodings of a track that are higher than height, -1: none, 0:
// all, as SenderSourceConstraints ask. One that starts again begins with a key
// frame. The lowest is sent whenever anything is.
func (l *Leg) Limit(t *Track, height int) {
	l.s.post(func() {
		for _, o := range l.out {
			if o.source != t || t.Kind != Video {
				continue
			}
			on := height < 0 || height > 0 && (o.index == 0 || o.e.Height <= height)
			if on && !o.on {
				o.wantKey = true
			}
			o.on = on
		}
	})
}

// Sent counts the packets of all senders.
func (s *Swarm) Sent() (packets uint64) {
	s.Do(func() {
		for _, l := range s.legs {
			if l == nil {
				continue
			}
			for _, o := range l.out {
				packets += uint64(o.packets)
			}
		}
	})
	return packets
}

func (o *Outgoing) begin() {
	if o.at >= 0 {
		return
	}
	// Streams are not in step.
	o.due = time.Now().UnixNano() + rand.Int64N(int64(o.source.Interval))
	o.frame = o.due
	heap.Push((*schedule)(&o.l.s.queue), o)
}

func (o *Outgoing) stop() {
	if o.at >= 0 {
		heap.Remove((*schedule)(&o.l.s.queue), o.at)
	}
}

// sendDue sends what is due.
func (s *Swarm) sendDue(now int64) {
	rate := float64(s.rate.Load()) / 1000
	for len(s.queue) > 0 && s.queue[0].due <= now {
		o := s.queue[0]
		if o.source.Kind == Audio {
			o.audio(rate)
		} else {
			o.video(rate)
		}
		if now-o.due > int64(time.Second) { // we are too slow: no use in making up for it
			o.due, o.frame = now, now
		}
		heap.Fix((*schedule)(&s.queue), 0)
	}
}

func (o *Outgoing) audio(rate float64) {
	o.timestamp += uint32(48000 * o.source.Interval.Seconds())
	o.packet(o.e.PacketSize, false, false, false)
	o.due += int64(float64(o.source.Interval) / rate)
}

func (o *Outgoing) video(rate float64) {
	interval := int64(o.source.Interval)
	if o.left == 0 {
		o.begun(rate)
	}
	n := o.left
	if o.pace > 0 {
		n = min(n, int(o.pace))
	}
	for range n {
		start := o.left == o.total
		o.left--
		o.packet(o.size, start, o.left == 0, o.key && start)
	}
	if o.left > 0 {
		o.due += int64(paceSlot)
		return
	}
	o.frame += interval
	o.due = o.frame
}

// begun lays out a frame.
func (o *Outgoing) begun(rate float64) {
	interval := o.source.Interval
	o.timestamp += uint32(90000 * interval.Seconds())
	if !o.on {
		o.total = 0
		return
	}
	bytes := float64(o.e.Bitrate) / 8 * interval.Seconds() * rate
	key := o.wantKey
	if key && o.source.KeyFactor > 1 {
		bytes *= o.source.KeyFactor
	}
	if o.e.PacketSize > 0 {
		o.credit += bytes / float64(o.e.PacketSize)
		o.total, o.size = int(o.credit), o.e.PacketSize
		o.credit -= float64(o.total)
	} else {
		o.total = max(int(math.Ceil(bytes/maxPacket)), 1)
		o.size = max(int(bytes)/o.total, 96)
	}
	o.left = o.total
	if o.total == 0 {
		return
	}
	o.key, o.wantKey = key, false
	o.enc.next(key)
	o.pace = int64(burst(float64(o.total), interval))
}

func burst(packets float64, interval time.Duration) int {
	slots := max(float64(interval)/paceFactor/float64(paceSlot), 1)
	return max(int(math.Ceil(packets/slots)), 1)
}

// Burst is how many packets a sender of video sends in a row at a rate.
func Burst(rate float64, fps int) int {
	return burst(rate/float64(fps), time.Second/time.Duration(fps))
}

// packet sends one of size bytes.
func (o *Outgoing) packet(size int, start, marker, key bool) {
	l := o.l
	o.seq++
	pt := l.formats.VP8
	if o.source.Kind == Audio {
		pt = l.formats.Opus
	}
	plain := l.s.plain[:]
	n := l.header(plain, pt, marker, o.seq, o.timestamp, o.ssrc, o.source)
	body := n
	if o.source.Kind == Audio {
		plain[n] = 0x78 // CELT fullband, 20 ms, mono, one frame
		n++
	} else {
		n += o.enc.head(plain[n:], start, key)
	}
	size = min(max(size, n+tagSize), sendSize-64)
	tag{time.Now().UnixNano(), o.source.Number, uint8(o.index)}.put(plain[size-tagSize:])
	if o.history != nil {
		slot := &o.history[o.seq%historySize]
		*slot = append((*slot)[:0], plain[:size]...)
		*slot = append(*slot, byte(body))
	}
	o.packets++
	o.octets += uint32(size)
	l.encrypt(plain[:size])
}

func (l *Leg) encrypt(plain []byte) {
	s := l.s
	if s.loss > 0 && s.rng.Float64() < s.loss {
		// The server misses it; the cipher's counter has moved on all the same.
		_, _ = l.keys.out.EncryptRTP(s.sock.room(), plain, nil)
		return
	}
	b, err := l.keys.out.EncryptRTP(s.sock.room(), plain, nil)
	if err == nil {
		s.sock.commit(len(b), l.addr, l.remote)
	}
}

// header writes an RTP header with its extensions and returns its length.
func (l *Leg) header(b []byte, pt uint8, marker bool, seq uint16, ts, ssrc uint32, t *Track) int {
	f := &l.formats
	b[0], b[1] = 0x80, pt
	if marker {
		b[1] |= 0x80
	}
	put16(b[2:], seq)
	put32(b[4:], ts)
	put32(b[8:], ssrc)
	at := 16
	if f.MID != 0 && t.MID != "" {
		b[at] = f.MID<<4 | uint8(len(t.MID)-1)
		at += 1 + copy(b[at+1:], t.MID)
	}
	if f.AudioLevel != 0 && t.Kind == Audio {
		b[at] = f.AudioLevel << 4
		b[at+1] = t.Level & 0x7f
		if t.Level < 127 {
			b[at+1] |= 0x80 // RFC 6464 §3: voice
		}
		at += 2
	}
	if f.AbsSendTime != 0 && t.Kind == Video {
		now := ntp(time.Now().UnixNano()) >> 14 // 6.18 of the seconds
		b[at] = f.AbsSendTime<<4 | 2
		b[at+1], b[at+2], b[at+3] = byte(now>>16), byte(now>>8), byte(now)
		at += 4
	}
	if f.TWCC != 0 {
		l.feedback.sent++
		b[at] = f.TWCC<<4 | 1
		put16(b[at+1:], l.feedback.sent)
		at += 3
	}
	if at == 16 {
		return 12
	}
	b[0] |= 0x10
	for at%4 != 0 {
		b[at] = 0
		at++
	}
	binary.BigEndian.PutUint32(b[12:], 0xBEDE<<16|uint32(at-16)/4)
	return at
}

// again sends a packet of the history by RTX (RFC 4588 §4), or as it was if there
// is no RTX.
func (o *Outgoing) again(seq uint16) {
	if o.history == nil {
		return
	}
	p := o.history[seq%historySize]
	if len(p) == 0 || binary.BigEndian.Uint16(p[2:]) != seq {
		return
	}
	body := int(p[len(p)-1])
	p = p[:len(p)-1]
	l := o.l
	if l.formats.VP8RTX == 0 {
		l.encrypt(p)
		return
	}
	o.rtxSeq++
	plain := l.s.plain[:]
	n := l.header(plain, l.formats.VP8RTX, p[1]&0x80 != 0, o.rtxSeq, binary.BigEndian.Uint32(p[4:]), o.source.RTX[o.index], o.source)
	put16(plain[n:], seq)
	n += 2 + copy(plain[n+2:], p[body:])
	l.encrypt(plain[:n])
}

// report sends a sender report.
func (o *Outgoing) report(now int64) {
	if o.packets == 0 {
		return
	}
	o.l.sendRTCP(rtpx.AppendSR(o.l.feedback.rtcp[:0], o.ssrc, rtpx.SenderInfo{NTP: ntp(now), TS: o.timestamp, Packets: o.packets, Octets: o.octets}))
}

// schedule is a heap by time.
type schedule []*Outgoing

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due < s[j].due }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].at, s[j].at = i, j
}

func (s *schedule) Push(x any) {
	o := x.(*Outgoing)
	o.at = len(*s)
	*s = append(*s, o)
}

func (s *schedule) Pop() any {
	old := *s
	o := old[len(old)-1]
	*s = old[:len(old)-1]
	o.at = -1
	return o
}
