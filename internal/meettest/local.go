package meettest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

const (
	iqPatience = 15 * time.Second // LJM's IQ_TIMEOUT
	maxPayload = 1100
	// rtxHistory is how many packets of an encoding can be retransmitted.
	rtxHistory = 256
	reportTick = time.Second
	audioTick  = 20 * time.Millisecond
)

// Where the tag of the source is in a packet of audio, behind it frameMagic.
const (
	audioTag    = 1
	audioTagEnd = audioTag + 4 + len(frameMagic)
)

// localMedia is what the client sends: one microphone, one camera and, once it was
// shared, a screen. It outlives sessions; its SSRCs stay.
type localMedia struct {
	media      *Media
	audioName  string
	videoName  string
	audioSSRC  uint32
	videoSSRCs []uint32 // by encoding
	rtxSSRCs   []uint32

	screenName             string
	screenSSRC, screenRTX  uint32
	screenShown, screenOff atomic.Bool // signalled; not shared now
	screenHeight           atomic.Int64

	audioLevel atomic.Uint32
	audioMuted atomic.Bool
	videoMuted atomic.Bool
	elsewhere  atomic.Bool  // peer-to-peer
	maxHeight  atomic.Int64 // of SenderSourceConstraints; -1 = no limit
}

func newLocalMedia(m *Media) *localMedia {
	l := &localMedia{media: m}
	if m == nil {
		return l
	}
	ssrc := func() uint32 { return rand.Uint32N(1<<31) + 1 }
	if m.Audio {
		l.audioSSRC = ssrc()
	}
	l.screenSSRC, l.screenRTX = ssrc(), ssrc()
	for range m.Layers {
		l.videoSSRCs = append(l.videoSSRCs, ssrc())
		l.rtxSSRCs = append(l.rtxSSRCs, ssrc())
	}
	return l
}

func (l *localMedia) name(nick string) {
	l.audioName, l.videoName, l.screenName = nick+"-a0", nick+"-v0", nick+"-v1"
	l.maxHeight.Store(-1)
	l.screenHeight.Store(-1)
	if l.media != nil {
		l.audioLevel.Store(uint32(l.media.Level))
	}
}

func (l *localMedia) hasAudio() bool { return l.audioSSRC != 0 }
func (l *localMedia) hasVideo() bool { return len(l.videoSSRCs) > 0 }

// signal are the sources and groups of a medium in the order of LJM.
func (l *localMedia) signal(media string) (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	switch {
	case media == jingle.Audio && l.hasAudio():
		return []jingle.Source{{SSRC: l.audioSSRC, Name: l.audioName, MSID: l.msid("audio")}}, nil
	case media == jingle.Video && l.hasVideo():
		for i, ssrc := range l.videoSSRCs {
			for _, v := range []uint32{ssrc, l.rtxSSRCs[i]} {
				srcs = append(srcs, jingle.Source{SSRC: v, Name: l.videoName, VideoType: jingle.Camera, MSID: l.msid("video")})
			}
			groups = append(groups, jingle.SSRCGroup{Semantics: jingle.FID, SSRCs: []uint32{ssrc, l.rtxSSRCs[i]}})
			if i == 0 && len(l.videoSSRCs) > 1 {
				groups = append(groups, jingle.SSRCGroup{Semantics: jingle.SIM, SSRCs: l.videoSSRCs})
			}
		}
	}
	if media == jingle.Video && l.screenShown.Load() {
		s, g := l.screen()
		srcs, groups = append(srcs, s...), append(groups, g...)
	}
	return srcs, groups
}

// screen is how a shared screen is signalled.
func (l *localMedia) screen() (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	for _, v := range []uint32{l.screenSSRC, l.screenRTX} {
		srcs = append(srcs, jingle.Source{SSRC: v, Name: l.screenName, VideoType: jingle.Desktop, MSID: l.msid("desktop")})
	}
	return srcs, []jingle.SSRCGroup{{Semantics: jingle.FID, SSRCs: []uint32{l.screenSSRC, l.screenRTX}}}
}

func (l *localMedia) msid(media string) string {
	nick := l.audioName[:len(l.audioName)-len("-a0")]
	return nick + "-" + media + "-0-1 " + media + "-track-" + nick + "-1"
}

func (l *localMedia) muteStates() map[string]bool {
	out := map[string]bool{}
	if l.hasAudio() {
		out[l.audioName] = l.audioMuted.Load()
	}
	if l.hasVideo() {
		out[l.videoName] = l.videoMuted.Load()
	}
	if l.screenShown.Load() {
		out[l.screenName] = l.screenOff.Load()
	}
	return out
}

// activeVideo are the types of the video that is on, by source.
func (l *localMedia) activeVideo() map[string]string {
	out := map[string]string{}
	if l.hasVideo() && !l.videoMuted.Load() {
		out[l.videoName] = "camera"
	}
	if l.screenShown.Load() && !l.screenOff.Load() {
		out[l.screenName] = "desktop"
	}
	return out
}

func (l *localMedia) constrain(source string, maxHeight int) {
	switch source {
	case l.videoName:
		l.maxHeight.Store(int64(maxHeight))
	case l.screenName:
		l.screenHeight.Store(int64(maxHeight))
	}
}

// ShareScreen begins to share a screen, or stops it: as LJM does, with a second
// source the first time, later by its video type alone.
func (c *Client) ShareScreen(ctx context.Context, on bool) error {
	l, s := c.local, c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	l.screenOff.Store(!on)
	if on && !l.screenShown.Swap(true) {
		srcs, groups := l.screen()
		j := jingle.Jingle{Action: jingle.SourceAdd, SID: s.sid, Initiator: s.peer, Contents: []jingle.Content{{
			Creator: "responder", Name: jingle.Video, Senders: "both",
			Description: &jingle.Description{Media: jingle.Video, Sources: srcs, Groups: groups},
		}}}
		if _, err := c.IQ(ctx, xmpp.TypeSet, s.peer, j.String()); err != nil {
			return fmt.Errorf("source-add: %w", err)
		}
		s.sender.share()
	}
	typ := "none"
	if on {
		typ = "desktop"
	}
	s.channel.sendJSON(map[string]string{"colibriClass": "SourceVideoTypeMessage", "sourceName": l.screenName, "videoType": typ})
	c.updatePresence()
	return nil
}

// active reports whether encoding i is sent: those up to the wanted height, and
// the lowest whenever anything is wanted.
func (l *localMedia) active(i int) bool {
	limit := l.maxHeight.Load()
	if l.videoMuted.Load() || limit == 0 {
		return false
	}
	return i == 0 || limit < 0 || int64(l.media.Layers[i].Height) <= limit
}

// SetAudioLevel says how loud the microphone is from now on, in -dBov.
func (c *Client) SetAudioLevel(level uint8) { c.local.audioLevel.Store(uint32(level)) }

// SetMuted mutes or unmutes "audio" or "video" and tells the room.
func (c *Client) SetMuted(media string, muted bool) {
	if media == "video" {
		c.local.videoMuted.Store(muted)
	} else {
		c.local.audioMuted.Store(muted)
	}
	c.updatePresence()
}

// Elsewhere has the client send nothing to the bridge, as one does that is
// peer-to-peer: its tracks go on, over another connection.
func (c *Client) Elsewhere(on bool) { c.local.elsewhere.Store(on) }

// Muted reports the own state of "audio" or "video".
func (c *Client) Muted(media string) bool {
	if media == "video" {
		return c.local.videoMuted.Load()
	}
	return c.local.audioMuted.Load()
}

// SendHeight is the maxHeight that the bridge asked of the camera, -1 without
// limit.
func (c *Client) SendHeight() int { return int(c.local.maxHeight.Load()) }

// SendForeign sends n packets under an SSRC that was never signalled.
func (c *Client) SendForeign(ssrc uint32, n int) {
	s := c.currentSession()
	if s == nil {
		return
	}
	for i := range n {
		h := rtp.Header{Version: 2, SSRC: ssrc, PayloadType: s.formats.vp8, SequenceNumber: uint16(i + 1), Timestamp: uint32(i) * 3000, Marker: true}
		enc := newEncoder("", 0, Layer{640, 360, 8000})
		packets, _ := enc.next(15, maxPayload)
		s.transport.sendRTP(&h, packets[0])
	}
}

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
	f      formats
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

func newSender(l *localMedia, t *transport, f formats) *sender {
	ctx, cancel := context.WithCancel(t.ctx)
	s := &sender{l: l, t: t, f: f, ctx: ctx, cancel: cancel}
	// Low initial sequence numbers: a receiver that misses the wrap guesses the
	// wrong roll-over counter.
	if l.hasAudio() && f.audio {
		s.audio = &outStream{ssrc: l.audioSSRC, seq: uint16(rand.Uint32N(1 << 15)), timestamp: rand.Uint32()}
	}
	if l.hasVideo() && f.video {
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
	if l.screenShown.Load() && f.video {
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
			case now := <-tick.C:
				f(now.Sub(last))
				last = now
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
	h := rtp.Header{Version: 2, SSRC: a.ssrc, PayloadType: s.f.opus, Timestamp: a.timestamp}
	if s.f.audioLevel != 0 {
		v := level & 0x7f
		if level < 127 {
			v |= 0x80 // RFC 6464 §3: voice
		}
		_ = h.SetExtension(s.f.audioLevel, []byte{v})
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
			h := rtp.Header{Version: 2, SSRC: v.ssrc, PayloadType: s.f.vp8, Timestamp: v.timestamp, Marker: k == len(packets)-1}
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
	if s.f.twcc != 0 {
		s.twcc++
		_ = h.SetExtension(s.f.twcc, binary.BigEndian.AppendUint16(nil, s.twcc))
	}
	if s.f.absTime != 0 && h.PayloadType != s.f.opus {
		ext, err := rtp.NewAbsSendTimeExtension(time.Now()).Marshal()
		if err == nil {
			_ = h.SetExtension(s.f.absTime, ext)
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
			h := rtp.Header{Version: 2, SSRC: v.rtxSSRC, PayloadType: s.f.vp8rtx, SequenceNumber: v.rtxSeq, Timestamp: p.header.Timestamp, Marker: p.header.Marker}
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
