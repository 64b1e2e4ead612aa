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
	"confab/xmpp/xep/jitmeet"
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
	Foreign   uint64 // frames of another source than the one that was signalled
	Remaps    uint64 // source maps that moved it to an SSRC which another source had
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
	f       Formats
	changes *notifier

	mu      sync.Mutex
	names   map[uint32]string // SSRC of media → source name
	mapped  map[uint32]mappedSource
	firstOf map[string]uint32       // SSRC that was new to the client when a source was mapped to it
	past    map[string]*SourceStats // of sources that were mapped elsewhere since
	rtxOf   map[uint32]uint32
	removed map[uint32]bool
	strange map[uint32]int
	streams map[uint32]*inStream
	twcc    *twcc.Recorder
	heard   bool // something with a TWCC number
	begun   time.Time
}

func newReceiver(t *transport, f Formats, changes *notifier) *receiver {
	return &receiver{
		t: t, f: f, changes: changes, names: map[uint32]string{}, mapped: map[uint32]mappedSource{}, firstOf: map[string]uint32{}, past: map[string]*SourceStats{}, rtxOf: map[uint32]uint32{}, removed: map[uint32]bool{},
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
		r.overtook(s.SSRC)
	}
	return ""
}

// mappedSource is an entry of the source maps of SSRC rewriting.
type mappedSource struct {
	Source    string `json:"source"`
	Owner     string `json:"owner"`
	SSRC      uint32 `json:"ssrc"`
	RTX       uint32 `json:"rtx"`
	VideoType string `json:"videoType"`
	Mid       string `json:"mid"`

	at time.Time // when the SSRC was heard of
}

// trackTime is how long a client may need for the track of a new SSRC.
const trackTime = 900 * time.Millisecond

// mapped takes a source map as LJM does; a known SSRC changes its owner. class is
// that of the message.
func (c *Client) mapped(list []mappedSource, class string) {
	s := c.currentSession()
	if s == nil {
		return
	}
	if !slices.Contains(c.opt.Features, jitmeet.FeatureSSRCRewriting) {
		c.fault("no "+class+" to a client without SSRC rewriting", fmt.Sprintf("%+v", list))
		return
	}
	r, audio := s.receiver, class == "AudioSourcesMap"
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range list {
		if rule := r.mapOne(m, audio); rule != "" {
			c.fault(rule, fmt.Sprintf("%s %+v", class, m))
			return
		}
	}
}

// mapOne returns the rule that is broken. r.mu is held.
func (r *receiver) mapOne(m mappedSource, audio bool) (rule string) {
	old, known := r.mapped[m.SSRC]
	kind, types := "-v", []string{"CAMERA", "DESKTOP", "DESKTOP_HIGH_FPS"}
	if audio {
		kind, types = "-a", []string{""}
	}
	switch {
	case m.SSRC == 0 || !audio && m.RTX == 0 || m.SSRC == m.RTX:
		return "ssrc, and rtx for video, in every mapping"
	case m.Owner == "" || !strings.HasPrefix(m.Source, m.Owner+kind):
		return "source and owner in every mapping, of the kind of the map"
	case !slices.Contains(types, m.VideoType):
		return "the videoType of LJM in upper case in every mapping of video"
	case known && (old.RTX != m.RTX || old.Mid != m.Mid):
		return "rtx and mid belong to the SSRC and stay"
	case r.f.MID != 0 && m.Mid == "":
		return "a mid in every mapping when they were negotiated"
	case r.f.MID == 0 && m.Mid != "":
		return "no mid that was not negotiated"
	}
	for ssrc, o := range r.mapped {
		if ssrc != m.SSRC && (o.RTX == m.SSRC || m.RTX != 0 && (ssrc == m.RTX || o.RTX == m.RTX)) || ssrc != m.SSRC && m.Mid != "" && o.Mid == m.Mid {
			return "an SSRC and a mid mean one slot"
		}
		if ssrc != m.SSRC && r.names[ssrc] == m.Source {
			delete(r.names, ssrc) // it moved here
			r.removed[ssrc] = true
			r.retire(ssrc, m.Source)
		}
	}
	if known && old.Source != m.Source && time.Since(old.at) < trackTime {
		return "no other source on an SSRC of which the client has just heard: it may still make its track"
	}
	if known {
		m.at = old.at
	} else {
		m.at = time.Now()
		r.overtook(m.SSRC)
		r.overtook(m.RTX)
		// With a new SSRC for a source LJM takes the one before away, even from whoever
		// has it now.
		if before, ok := r.firstOf[m.Source]; ok && r.names[before] != "" {
			delete(r.names, before)
			r.retire(before, r.mapped[before].Source)
		}
		r.firstOf[m.Source] = m.SSRC
	}
	was := r.names[m.SSRC]
	r.mapped[m.SSRC], r.names[m.SSRC] = m, m.Source
	if m.RTX != 0 {
		r.rtxOf[m.RTX] = m.SSRC
	}
	delete(r.removed, m.SSRC)
	if was == m.Source {
		return ""
	}
	if known && old.Source != m.Source {
		r.retire(m.SSRC, old.Source)
		r.of(m.Source).Remaps++
	}
	if st := r.streams[m.SSRC]; st != nil {
		st.remap(sourceTag(m.Source))
	}
	r.changes.changed()
	return ""
}

// overtaking is how many packets of an SSRC may come before the signalling of it:
// they take another way, and on a busy machine the client reads it later.
const overtaking = 50

// overtook forgives the packets that came before their signalling.
func (r *receiver) overtook(ssrc uint32) {
	if r.strange[ssrc] <= overtaking {
		delete(r.strange, ssrc)
	}
}

// retire keeps the statistics of a source that an SSRC no longer carries.
func (r *receiver) retire(ssrc uint32, source string) {
	if st := r.streams[ssrc]; st != nil {
		r.of(source).add(&st.stats)
		st.remap(st.tag)
	}
}

func (r *receiver) of(source string) *SourceStats {
	if r.past[source] == nil {
		r.past[source] = &SourceStats{}
	}
	return r.past[source]
}

// rtp takes a decrypted packet; payload is without padding.
func (r *receiver) rtp(h *rtp.Header, payload []byte) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f.TWCC != 0 {
		if ext := h.GetExtension(r.f.TWCC); len(ext) == 2 {
			r.twcc.Record(h.SSRC, binary.BigEndian.Uint16(ext), now.Sub(r.begun).Microseconds())
			r.heard = true
		}
	}
	seq, ssrc, recovered := h.SequenceNumber, h.SSRC, false
	if h.PayloadType == r.f.VP8RTX {
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
	if m, ok := r.mapped[ssrc]; ok && r.f.MID != 0 && string(h.GetExtension(r.f.MID)) != m.Mid {
		r.strange[ssrc]++ // a browser would take it for another
	}
	st := r.streams[ssrc]
	if st == nil {
		st = &inStream{ssrc: ssrc, audio: h.PayloadType == r.f.Opus}
		if name := r.names[ssrc]; name != "" && !strings.HasPrefix(name, "jvb-") {
			st.tag = sourceTag(name)
		}
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
	if p := r.past[source]; p != nil {
		out.add(p)
	}
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
	s.Foreign += o.Foreign
	s.Remaps += o.Remaps
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

// SSRCs are those that the bridge has mapped sources to, ever.
func (c *Client) SSRCs() (n int) {
	s := c.currentSession()
	if s == nil {
		return 0
	}
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	return len(s.receiver.mapped)
}

// Strange counts packets by SSRC that were never signalled, or long before: a browser
// would drop them.
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
