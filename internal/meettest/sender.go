package meettest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// outStream is one SSRC that is sent.
type outStream struct {
	ssrc, rtxSSRC uint32
	seq, rtxSeq   uint16
	timestamp     uint32
	packets       uint32
	octets        uint32
	enc           *encoder
	history       [rtxHistory]sentPacket
}

type sentPacket struct {
	header  rtp.Header
	payload []byte
}

// sender makes and sends the media of one session.
type sender struct {
	l      *localMedia
	t      *transport
	f      Formats
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu    sync.Mutex
	twcc  uint16
	audio *outStream
	video []*outStream // encodings of the camera

	screen *outStream // nil until it was shared
	sent   uint64
	paced  []pacedPacket // of recorded video, waiting
	at     int           // in the recorded audio
}

// pacedPacket waits for its turn.
type pacedPacket struct {
	o       *outStream
	header  rtp.Header
	payload []byte
}

// Recorded video is sent at a multiple of its rate, as libwebrtc's pacer does
// (kDefaultPaceMultiplier), in portions of this length.
const (
	paceTick   = 5 * time.Millisecond
	paceFactor = 2.5
)

func newSender(l *localMedia, t *transport, f Formats) *sender {
	ctx, cancel := context.WithCancel(t.ctx)
	s := &sender{l: l, t: t, f: f, ctx: ctx, cancel: cancel}
	// Low initial sequence numbers: a receiver that misses the wrap guesses the
	// wrong roll-over counter.
	if l.hasAudio() && f.Audio {
		s.audio = &outStream{ssrc: l.audioSSRC, seq: uint16(rand.Uint32N(1 << 15)), timestamp: rand.Uint32()}
	}
	if l.hasVideo() && f.Video {
		for i, ssrc := range l.videoSSRCs {
			s.video = append(s.video, &outStream{
				ssrc: ssrc, rtxSSRC: l.rtxSSRCs[i], seq: uint16(rand.Uint32N(1 << 15)), rtxSeq: uint16(rand.Uint32N(1 << 15)),
				timestamp: rand.Uint32(), enc: newEncoder(l.videoName, i, l.media.Layers[i]),
			})
			if l.media.Recorded != nil {
				s.video[i].enc.recorded = l.media.Recorded[i]
			}
		}
	}
	if l.screenShown.Load() && f.Video {
		s.share()
	}
	return s
}

// screenLayer is the size of a shared screen.
var screenLayer = Layer{1920, 1080, 200_000}

// share adds the stream of the screen.
func (s *sender) share() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.screen = &outStream{
		ssrc: s.l.screenSSRC, rtxSSRC: s.l.screenRTX, seq: uint16(rand.Uint32N(1 << 15)), rtxSeq: uint16(rand.Uint32N(1 << 15)),
		timestamp: rand.Uint32(), enc: newEncoder(s.l.screenName, 0, screenLayer),
	}
}

// films are the streams of video. Called with s.mu held.
func (s *sender) films() []*outStream {
	if s.screen == nil {
		return s.video
	}
	return append(s.video[:len(s.video):len(s.video)], s.screen)
}

func (s *sender) start() {
	if s.audio != nil {
		s.every(audioTick, s.sendAudio)
	}
	if len(s.video) > 0 {
		s.every(time.Second/time.Duration(s.l.media.FPS), s.sendVideo)
		if s.l.media.Recorded != nil {
			s.every(paceTick, s.pace)
		}
	}
	if s.audio != nil || len(s.video) > 0 {
		s.every(reportTick, s.report)
	}
}

func (s *sender) every(d time.Duration, f func(elapsed time.Duration)) {
	s.wg.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-tick.C:
				// A tick's own time may be behind that of the one before, and two late
				// ones come at once: no two frames have the same time.
				elapsed := max(time.Since(last).Round(d), d)
				f(elapsed)
				last = last.Add(elapsed)
			case <-s.ctx.Done():
				return
			}
		}
	})
}

func (s *sender) stop() { s.cancel() }

func (s *sender) wait() { s.wg.Wait() }

// sendAudio sends 20 ms of opus; muted tracks send silence, as browsers do.
func (s *sender) sendAudio(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.audio
	a.timestamp += 960
	if s.l.elsewhere.Load() {
		return
	}
	level := byte(s.l.audioLevel.Load())
	if s.l.audioMuted.Load() {
		level = 127
	}
	h := rtp.Header{Version: 2, SSRC: a.ssrc, PayloadType: s.f.Opus, Timestamp: a.timestamp}
	if s.f.AudioLevel != 0 {
		v := level & 0x7f
		if level < 127 {
			v |= 0x80 // RFC 6464 §3: voice
		}
		_ = h.SetExtension(s.f.AudioLevel, []byte{v})
	}
	payload := make([]byte, 60)
	payload[0] = 0x78 // CELT fullband, 20 ms, mono, one frame
	binary.BigEndian.PutUint32(payload[audioTag:], sourceTag(s.l.audioName))
	copy(payload[audioTag+4:], frameMagic)
	if recorded := s.l.media.Opus; recorded != nil {
		payload = recorded[s.at]
		s.at = (s.at + 1) % len(recorded)
	}
	s.send(a, &h, payload)
}

func (s *sender) sendVideo(elapsed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range s.films() {
		v.timestamp += uint32(elapsed * 90000 / time.Second)
		if s.l.elsewhere.Load() {
			v.enc.keyWanted = true
			continue
		}
		on := v == s.screen && !s.l.screenOff.Load() && s.l.screenHeight.Load() != 0
		if v != s.screen && !s.l.active(i) || v == s.screen && !on {
			v.enc.keyWanted = true // an encoding that starts again begins with a key frame
			continue
		}
		packets, _ := v.enc.next(s.l.media.FPS, maxPayload)
		for k, payload := range packets {
			h := rtp.Header{Version: 2, SSRC: v.ssrc, PayloadType: s.f.VP8, Timestamp: v.timestamp, Marker: k == len(packets)-1}
			if v.enc.recorded != nil {
				s.paced = append(s.paced, pacedPacket{v, h, payload})
				continue
			}
			s.send(v, &h, payload)
		}
	}
}

// pace sends what the time since the last call has room for, and one packet at least.
func (s *sender) pace(elapsed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rate := 0
	for _, v := range s.video {
		rate += v.enc.layer.Bitrate
	}
	n, budget := 0, int(paceFactor*float64(rate)/8*elapsed.Seconds())
	for ; n < len(s.paced) && budget > 0; n++ {
		p := &s.paced[n]
		budget -= len(p.payload)
		s.send(p.o, &p.header, p.payload)
	}
	s.paced = append(s.paced[:0], s.paced[n:]...)
}

// send completes the header and keeps the packet. Called with s.mu held.
func (s *sender) send(o *outStream, h *rtp.Header, payload []byte) {
	o.seq++
	h.SequenceNumber = o.seq
	o.history[o.seq%rtxHistory] = sentPacket{*h, payload}
	o.packets++
	o.octets += uint32(len(payload))
	s.transmit(h, payload)
}

// transmit adds the extensions of the transport. Called with s.mu held.
func (s *sender) transmit(h *rtp.Header, payload []byte) {
	if s.f.TWCC != 0 {
		s.twcc++
		_ = h.SetExtension(s.f.TWCC, binary.BigEndian.AppendUint16(nil, s.twcc))
	}
	if s.f.AbsTime != 0 && h.PayloadType != s.f.Opus {
		ext, err := rtp.NewAbsSendTimeExtension(time.Now()).Marshal()
		if err == nil {
			_ = h.SetExtension(s.f.AbsTime, ext)
		}
	}
	s.sent++
	s.t.sendRTP(h, payload)
}

// report sends sender reports.
func (s *sender) report(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	ntp := uint64(now.Unix()+2208988800)<<32 | uint64(now.Nanosecond())<<32/1e9
	for _, o := range append([]*outStream{s.audio}, s.films()...) {
		if o == nil || o.packets == 0 {
			continue
		}
		b, err := rtcp.Marshal([]rtcp.Packet{
			&rtcp.SenderReport{SSRC: o.ssrc, NTPTime: ntp, RTPTime: o.timestamp, PacketCount: o.packets, OctetCount: o.octets},
			&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: o.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "go"}}}}},
		})
		if err == nil {
			s.t.sendRTCP(b)
		}
	}
}

// keyFrame answers a PLI or FIR: Chromium makes key frames on all encodings.
func (s *sender) keyFrame(ssrc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen != nil && s.screen.ssrc == ssrc {
		s.screen.enc.keyWanted = true
		return
	}
	for _, v := range s.video {
		if v.ssrc == ssrc {
			for _, all := range s.video {
				all.enc.keyWanted = true
			}
			return
		}
	}
}

// retransmit answers a NACK by RTX (RFC 4588 §4).
func (s *sender) retransmit(ssrc uint32, seqs []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.films() {
		if v.ssrc != ssrc {
			continue
		}
		for _, seq := range seqs {
			p := v.history[seq%rtxHistory]
			if p.payload == nil || p.header.SequenceNumber != seq {
				continue
			}
			v.rtxSeq++
			h := rtp.Header{Version: 2, SSRC: v.rtxSSRC, PayloadType: s.f.VP8RTX, SequenceNumber: v.rtxSeq, Timestamp: p.header.Timestamp, Marker: p.header.Marker}
			s.transmit(&h, append(binary.BigEndian.AppendUint16(nil, seq), p.payload...))
		}
	}
}

// rtcp handles what the bridge reports.
func (s *session) rtcp(b []byte) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.PictureLossIndication:
			s.sender.keyFrame(p.MediaSSRC)
		case *rtcp.FullIntraRequest:
			for _, e := range p.FIR {
				s.sender.keyFrame(e.SSRC)
			}
		case *rtcp.TransportLayerNack:
			var seqs []uint16
			for _, pair := range p.Nacks {
				seqs = append(seqs, pair.PacketList()...)
			}
			s.sender.retransmit(p.MediaSSRC, seqs)
		}
		s.receiver.heardRTCP(p)
	}
}

// Sent counts the RTP packets sent in the present session.
func (c *Client) Sent() uint64 {
	s := c.currentSession()
	if s == nil {
		return 0
	}
	s.sender.mu.Lock()
	defer s.sender.mu.Unlock()
	return s.sender.sent
}
