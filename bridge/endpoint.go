package bridge

import (
	"errors"
	"sync/atomic"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/channel"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"

	"golang.org/x/time/rate"
)

// endpoint is one participant. All but the transport's callbacks belongs to the
// conference's goroutine.
type endpoint struct {
	c       *Conference
	id      string
	visitor bool
	// rewriting says that the client learns of sources, and of the SSRCs under which
	// it gets them, from us (slots.go).
	rewriting bool
	mapped    mapped
	unmapped  bool // there was no slot for video that it wants
	created   time.Time
	password  string // of its channel URL; LJM dials the same URL again and again

	transport *transport.Transport
	fwd       *forward.Endpoint

	media      forward.Media
	sources    []source                   // as signalled
	videoTypes map[string]alloc.VideoType // what the client said of them, maybe before they were signalled

	ws        *channel.Conn
	sctp      bool
	overWS    bool // the last message came over the WebSocket
	endpoints bool // it speaks of endpoints: a client of December 2021

	want      alloc.Constraints
	oldHeight int  // SelectedHeight of an old client, 0 while unsaid
	heard     bool // it has said what it wants
	alloc     allocation
	told      map[string]told      // own source: the last SenderSourceConstraints
	unwanted  map[string]time.Time // own source: since when nobody wants it, which it was not told yet
	inactive  bool                 // others were told that it is not reachable
	behind    bool                 // a message found its channel full
	connected time.Time            // when it did first
	missed    bool                 // it was looked whether it has a channel
	estimated time.Time            // when it was last told what its network carries

	outExpected, outLost uint64 // of the last census

	waiting    atomic.Int32  // messages in the mailbox
	messages   *rate.Limiter // from the client
	broadcasts *rate.Limiter // of them to everybody
	held       held          // of these
}

// source is a signalled source with what the control needs to know of it.
type source struct {
	forward.Source
	videoType alloc.VideoType // of signalling
}

// The methods below make an endpoint the transport.Handler.

// RTP runs on a socket reader.
func (ep *endpoint) RTP(p *rtpx.Packet) { ep.fwd.RTP(p) }

// RTCP runs on a socket reader.
func (ep *endpoint) RTCP(p *rtpx.Packet) { ep.fwd.RTCP(p) }

// State runs on a goroutine of the transport.
func (ep *endpoint) State(s transport.State) { _ = ep.c.put(evState{ep, s}) }

// ChannelOpen runs on a goroutine of the transport.
func (ep *endpoint) ChannelOpen() { _ = ep.c.put(evChannel{ep: ep}) }

// Message takes a message of the data channel.
func (ep *endpoint) Message(b []byte) { ep.received(b, false) }

// received parses on the channel's own goroutine, so that garbage costs its
// sender and not the conference.
func (ep *endpoint) received(b []byte, ws bool) {
	n := &ep.c.s.counters
	if ws {
		n.socketIn.Add(1)
	} else {
		n.dataIn.Add(1)
	}
	if !ep.messages.Allow() {
		n.messagesDropped.Add(1)
		return
	}
	m, err := channel.Parse(b)
	if err != nil {
		n.messagesDropped.Add(1)
		ep.c.log.Debug("bridge channel message dropped", "endpoint", ep.id, "err", err)
		return
	}
	// The last quarter of the mailbox is not for clients.
	if int(ep.waiting.Add(1)) > ep.c.s.cfg.MaxMessages || ep.c.box.Len() > mailboxLimit*3/4 {
		ep.waiting.Add(-1)
		n.queueFull.Add(1)
		n.messagesDropped.Add(1)
		return
	}
	if ep.c.put(evMessage{ep, ws, m}) != nil {
		ep.waiting.Add(-1)
	}
}

// send writes to the channel that the client used last, else to the one that is
// open. Without any the message is lost: all state is sent when one opens, and
// again when a full one has room.
func (ep *endpoint) send(b []byte) {
	n := &ep.c.s.counters
	if ep.sctp && (ep.ws == nil || !ep.overWS) {
		err := ep.transport.SendMessage(b)
		if err == nil {
			n.dataOut.Add(1)
			return
		}
		ep.behind = ep.behind || errors.Is(err, transport.ErrChannelFull)
	}
	if ep.ws == nil {
		n.messagesDropped.Add(1)
		return
	}
	ep.ws.Send(b)
	n.socketOut.Add(1)
}

// estimateInterval separates what a client is told of its network, for people to see
// (JVB connection-stats.interval).
const estimateInterval = 10 * time.Second

// estimateNews is the message about it, nil when it is not time or nothing is known.
func (ep *endpoint) estimateNews(at time.Time) []byte {
	if at.Sub(ep.estimated) < estimateInterval {
		return nil
	}
	b := ep.fwd.Bandwidth()
	if !b.Trusted || b.State.Estimate == 0 { // the estimator knows nothing before something was sent
		return nil
	}
	ep.estimated = at
	return channel.ConnectionStats(b.Estimate)
}

// videoType is what the client says of a source, else what was signalled.
func (ep *endpoint) videoType(s source) alloc.VideoType {
	if t, ok := ep.videoTypes[s.Name]; ok {
		return t
	}
	return s.videoType
}

// sender lets the packet path write to a transport.
type sender struct{ t *transport.Transport }

// WriteRTP queues a packet on the batch of the calling worker.
func (s sender) WriteRTP(b forward.Batch, p []byte) error {
	return b.(*Batch).Batch.Add(s.t, p)
}

// WriteRTCP queues a compound packet there.
func (s sender) WriteRTCP(b forward.Batch, p []byte) error {
	return b.(*Batch).Batch.AddRTCP(s.t, p)
}

// Batch is a worker's queue towards the sockets.
type Batch struct{ *transport.Batch }

// Flush sends what is queued. What the kernel did not take is lost and counted.
func (b *Batch) Flush() error {
	b.Batch.Flush()
	return nil
}

// NewBatches returns what makes the batch of each worker, for forward.Config.
func NewBatches(s *transport.Sockets) func() forward.Batch {
	var n atomic.Int32
	return func() forward.Batch { return &Batch{s.NewBatch(int(n.Add(1)) - 1)} }
}

// setMedia adds what was signalled; payload types and extensions are additive
// (bridge.md §3.2).
func (ep *endpoint) setMedia(list []colibri2.Media) {
	if len(list) == 0 {
		return
	}
	byPT := map[uint8]int{}
	for i, p := range ep.media.Payloads {
		byPT[p.PT] = i
	}
	for _, m := range list {
		kind := forward.Audio
		if m.Type == "video" {
			kind = forward.Video
		}
		for i := range m.PayloadTypes {
			p, ok := payload(&m.PayloadTypes[i], kind)
			if !ok {
				continue
			}
			if at, known := byPT[p.PT]; known {
				ep.media.Payloads[at] = p
			} else {
				byPT[p.PT] = len(ep.media.Payloads)
				ep.media.Payloads = append(ep.media.Payloads, p)
			}
		}
		for _, x := range m.HdrExts {
			ep.media.Extensions.Set(x.URI, uint8(x.ID))
		}
	}
	ep.fwd.SetMedia(ep.media)
}

// payload translates a payload type; an rtx without a usable apt is skipped.
func payload(pt *jingle.PayloadType, kind forward.Kind) (forward.Payload, bool) {
	p := forward.Payload{PT: pt.ID, Name: pt.Name, Codec: rtpx.CodecNamed(pt.Name), Kind: kind, ClockRate: uint32(pt.ClockRate)}
	if pt.Name == "rtx" {
		apt, ok := parsePT(pt.Get("apt"))
		if !ok {
			return p, false
		}
		p.RTX, p.Apt = true, apt
	}
	for _, f := range pt.Feedback {
		switch {
		case f.Type == "nack" && f.Subtype == "":
			p.NACK = true
		case f.Type == "nack" && f.Subtype == "pli":
			p.PLI = true
		case f.Type == "ccm" && f.Subtype == "fir":
			p.FIR = true
		case f.Type == "transport-cc":
			p.TransportCC = true
		case f.Type == "goog-remb":
			p.REMB = true
		}
	}
	return p, true
}

func parsePT(s string) (uint8, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 12 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint8(n), s != "" && n < 128
}

// describe translates the sources of colibri2: in a SIM group the order is low to
// high, in FID groups the second SSRC retransmits the first.
func describe(list []colibri2.MediaSource) []source {
	var out []source
	for _, ms := range list {
		kind := forward.Audio
		if ms.Type == "video" {
			kind = forward.Video
		}
		rtx := map[uint32]uint32{}
		isRTX := map[uint32]bool{}
		var sim []uint32
		for _, g := range ms.Groups {
			switch {
			case g.Semantics == jingle.FID && len(g.SSRCs) == 2:
				rtx[g.SSRCs[0]] = g.SSRCs[1]
				isRTX[g.SSRCs[1]] = true
			case g.Semantics == jingle.SIM && len(g.SSRCs) > 1:
				sim = g.SSRCs
			}
		}
		s := source{Source: forward.Source{Name: ms.ID, Kind: kind, Synthetic: ms.Synthetic && kind == forward.Audio}, videoType: alloc.Camera}
		for _, src := range ms.Sources {
			if s.Name == "" {
				s.Name = src.Name
			}
			if src.VideoType != "" {
				s.videoType = alloc.ParseVideoType(src.VideoType)
				break
			}
		}
		if sim == nil {
			for _, src := range ms.Sources {
				if !isRTX[src.SSRC] && src.SSRC != 0 {
					sim = []uint32{src.SSRC}
					break
				}
			}
		}
		for _, ssrc := range sim {
			s.Encodings = append(s.Encodings, forward.Encoding{SSRC: ssrc, RTX: rtx[ssrc]})
		}
		if len(s.Encodings) > 0 {
			out = append(out, s)
		}
	}
	return out
}
