package meettest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"confab/xmpp/xep/jingle"
)

const (
	feedbackTick = 50 * time.Millisecond
	pliInterval  = 300 * time.Millisecond
	// feedbackSSRC is what libwebrtc sends feedback from when it sends no media.
	feedbackSSRC = 1
)

// SourceStats is what was received of a source since its first packet.
type SourceStats struct {
	SSRCs     []uint32 // those that carried packets
	Packets   uint64   // media packets, retransmitted ones included
	Bytes     uint64   // of payload
	Lost      uint64   // sequence numbers that never came
	Recovered uint64   // came by RTX
	Duplicate uint64

	Frames    uint64 // complete and decodable; packets, of audio
	KeyFrames uint64
	Broken    uint64 // complete, but what they refer to was not received
	Switches  uint64 // key frames with another size than the one before
	Width     int    // of the last key frame
	Height    int

	// Jumps counts frames whose timestamp, picture id or TL0PICIDX does not
	// continue the frame before, without a loss between. JumpNote describes the
	// last one.
	Jumps    uint64
	JumpNote string
}

// receiver sorts and counts what the bridge sends in one session.
type receiver struct {
	t       *transport
	f       formats
	changes *notifier

	mu      sync.Mutex
	names   map[uint32]string // SSRC of media → source name
	rtxOf   map[uint32]uint32
	removed map[uint32]bool
	strange map[uint32]int
	streams map[uint32]*inStream
	twcc    *twcc.Recorder
	heard   bool // something with a TWCC number
	begun   time.Time
}

func newReceiver(t *transport, f formats, changes *notifier) *receiver {
	return &receiver{
		t: t, f: f, changes: changes, names: map[uint32]string{}, rtxOf: map[uint32]uint32{}, removed: map[uint32]bool{},
		strange: map[uint32]int{}, streams: map[uint32]*inStream{}, twcc: twcc.NewRecorder(feedbackSSRC), begun: time.Now(),
	}
}

// signalled takes sources of Jingle, in whichever form; it returns the rule that
// they break, or "".
func (r *receiver) signalled(j *jingle.Jingle, add bool) (rule string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for owner, es := range j.Sources {
		if rule = r.take(es.Video, es.VideoGroups, owner, add); rule != "" {
			return rule
		}
		if rule = r.take(es.Audio, es.AudioGroups, owner, add); rule != "" {
			return rule
		}
	}
	for _, c := range j.Contents {
		if c.Description == nil {
			continue
		}
		if rule = r.take(c.Description.Sources, c.Description.Groups, "", add); rule != "" {
			return rule
		}
	}
	r.changes.changed()
	return ""
}

// forget drops the sources of somebody who left.
func (r *receiver) forget(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ssrc, name := range r.names {
		if strings.HasPrefix(name, owner+"-") {
			r.removed[ssrc] = true
			delete(r.names, ssrc)
		}
	}
	for rtx, ssrc := range r.rtxOf {
		if r.removed[ssrc] {
			r.removed[rtx] = true
			delete(r.rtxOf, rtx)
		}
	}
}

func (r *receiver) take(srcs []jingle.Source, groups []jingle.SSRCGroup, owner string, add bool) (rule string) {
	rtx := map[uint32]uint32{}
	for _, g := range groups {
		if g.Semantics == jingle.FID && len(g.SSRCs) == 2 {
			rtx[g.SSRCs[1]] = g.SSRCs[0]
		}
	}
	for _, s := range srcs {
		switch {
		case s.SSRC == 0:
			return "an SSRC in every source"
		case add && s.Name == "":
			return "a name on every source"
		case add && s.Owner == "" && owner == "":
			return "the owner of every source"
		case add && s.MSID == "":
			return "an msid on every source"
		case !add:
			r.removed[s.SSRC] = true
			delete(r.names, s.SSRC)
			delete(r.rtxOf, s.SSRC)
			continue
		}
		_, media := r.names[s.SSRC]
		_, again := r.rtxOf[s.SSRC]
		if media || again {
			return fmt.Sprintf("no source signalled twice (%d): Duplicate a=msid lines", s.SSRC)
		}
		if primary, ok := rtx[s.SSRC]; ok {
			r.rtxOf[s.SSRC] = primary
		} else {
			r.names[s.SSRC] = s.Name
		}
		delete(r.removed, s.SSRC)
	}
	return ""
}

// mappedSource is an entry of the source maps of SSRC rewriting.
type mappedSource struct {
	Source string `json:"source"`
	Owner  string `json:"owner"`
	SSRC   uint32 `json:"ssrc"`
	RTX    uint32 `json:"rtx"`
}

// mapped takes a source map; a known SSRC changes its owner.
func (c *Client) mapped(list []mappedSource, audio bool) {
	s := c.currentSession()
	if s == nil {
		return
	}
	r := s.receiver
	for _, m := range list {
		if m.Source == "" || m.Owner == "" || m.SSRC == 0 || !audio && m.RTX == 0 {
			c.fault("source, owner, ssrc and rtx in every mapping", fmt.Sprintf("%+v", m))
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range list {
		r.names[m.SSRC] = m.Source
		if m.RTX != 0 {
			r.rtxOf[m.RTX] = m.SSRC
		}
	}
}

// rtp takes a decrypted packet; payload is without padding.
func (r *receiver) rtp(h *rtp.Header, payload []byte) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f.twcc != 0 {
		if ext := h.GetExtension(r.f.twcc); len(ext) == 2 {
			r.twcc.Record(h.SSRC, binary.BigEndian.Uint16(ext), now.Sub(r.begun).Microseconds())
			r.heard = true
		}
	}
	seq, ssrc, recovered := h.SequenceNumber, h.SSRC, false
	if h.PayloadType == r.f.vp8rtx {
		primary, ok := r.rtxOf[ssrc]
		if !ok || len(payload) < 2 {
			if !ok && len(payload) >= 2 {
				r.note(ssrc)
			}
			return // a probe
		}
		ssrc, seq, recovered = primary, binary.BigEndian.Uint16(payload), true
		payload = payload[2:]
	}
	if _, ok := r.names[ssrc]; !ok {
		r.note(ssrc)
	}
	st := r.streams[ssrc]
	if st == nil {
		st = &inStream{ssrc: ssrc, audio: h.PayloadType == r.f.opus}
		r.streams[ssrc] = st
	}
	st.packet(seq, h.Timestamp, h.Marker, payload, recovered, now)
	r.changes.changed()
}

func (r *receiver) note(ssrc uint32) {
	if !r.removed[ssrc] {
		r.strange[ssrc]++
	}
}

// heardRTCP remembers sender reports.
func (r *receiver) heardRTCP(p rtcp.Packet) {
	sr, ok := p.(*rtcp.SenderReport)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.streams[sr.SSRC]; st != nil {
		st.lastSR, st.lastSRAt = uint32(sr.NTPTime>>16), time.Now()
		st.reports++
	}
}

// feedback sends what a browser reports: NACK, PLI, transport-wide feedback,
// receiver reports.
func (r *receiver) feedback() {
	tick := time.NewTicker(feedbackTick)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-tick.C:
			for _, b := range r.reports(now, n) {
				r.t.sendRTCP(b)
			}
		case <-r.t.ctx.Done():
			return
		}
	}
}

func (r *receiver) reports(now time.Time, n int) (out [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rr := &rtcp.ReceiverReport{SSRC: feedbackSSRC}
	add := func(p ...rtcp.Packet) {
		if b, err := rtcp.Marshal(append([]rtcp.Packet{rr}, p...)); err == nil {
			out = append(out, b)
		}
	}
	for _, st := range r.streams {
		missing := st.tick(now)
		if len(missing) > 0 && !st.audio {
			add(&rtcp.TransportLayerNack{SenderSSRC: feedbackSSRC, MediaSSRC: st.ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(missing)})
		}
		if st.needKey && !st.audio && now.Sub(st.lastPLI) > pliInterval {
			st.lastPLI = now
			add(&rtcp.PictureLossIndication{SenderSSRC: feedbackSSRC, MediaSSRC: st.ssrc})
		}
	}
	if r.heard && n%2 == 0 {
		for _, p := range r.twcc.BuildFeedbackPacket() {
			add(p)
		}
	}
	if n%20 == 0 {
		for _, st := range r.streams {
			rr.Reports = append(rr.Reports, st.report(now))
			if len(rr.Reports) == 31 {
				break
			}
		}
		if len(rr.Reports) > 0 {
			add()
		}
	}
	return out
}

// Stats is what was received of a source, abcd1234-v0.
func (c *Client) Stats(source string) SourceStats {
	var out SourceStats
	s := c.currentSession()
	if s == nil {
		return out
	}
	r := s.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	for ssrc, name := range r.names {
		if st := r.streams[ssrc]; name == source && st != nil {
			out.add(&st.stats)
			out.SSRCs = append(out.SSRCs, ssrc)
		}
	}
	slices.Sort(out.SSRCs)
	return out
}

func (s *SourceStats) add(o *SourceStats) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Lost += o.Lost
	s.Recovered += o.Recovered
	s.Duplicate += o.Duplicate
	s.Frames += o.Frames
	s.KeyFrames += o.KeyFrames
	s.Broken += o.Broken
	s.Switches += o.Switches
	s.Jumps += o.Jumps
	if o.JumpNote != "" {
		s.JumpNote = o.JumpNote
	}
	if o.Height > 0 {
		s.Width, s.Height = o.Width, o.Height
	}
}

// Sources are the names of all signalled sources but the bridge's placeholders.
func (c *Client) Sources() (out []string) {
	s := c.currentSession()
	if s == nil {
		return nil
	}
	r := s.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.names {
		if !strings.HasPrefix(name, "jvb-") && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Strange counts packets by SSRC that were never signalled: a browser would drop
// them.
func (c *Client) Strange() map[uint32]int {
	out := map[uint32]int{}
	if s := c.currentSession(); s != nil {
		s.receiver.mu.Lock()
		defer s.receiver.mu.Unlock()
		for k, v := range s.receiver.strange {
			out[k] = v
		}
	}
	return out
}

// Received sums the media packets of all sources.
func (c *Client) Received() (packets, lost uint64) {
	s := c.currentSession()
	if s == nil {
		return 0, 0
	}
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	for _, st := range s.receiver.streams {
		packets += st.stats.Packets
		lost += st.stats.Lost
	}
	return packets, lost
}
