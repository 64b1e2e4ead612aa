package forward

import (
	"errors"

	"confab/bridge/rtpx"
)

// MaxInjected is the longest payload that Inject takes: what a receiver's packet has
// room for beside its headers.
const MaxInjected = rtpx.BufferSize - 128

// Errors of Inject.
var (
	ErrNotSynthetic = errors.New("no source that a service makes")
	ErrNoFormat     = errors.New("the endpoint knows no opus")
	ErrTooLong      = errors.New("empty, or too long for a packet")
	ErrTooFast      = errors.New("more than an endpoint may send")
)

// Inject forwards a packet of Opus that a service made for a synthetic source
// (bridge.md §21). It takes no part in who speaks: neither in levels, nor in the
// ranking, nor does the listener get it. Inject does not wait.
func (p *Pipeline) Inject(name string, seq uint16, ts uint32, opus []byte) error {
	if len(opus) == 0 || len(opus) > MaxInjected {
		return ErrTooLong
	}
	p.mu.Lock()
	src := p.sources[name]
	p.mu.Unlock()
	if src == nil || !src.Synthetic {
		return ErrNotSynthetic
	}
	ep := src.ep
	m := ep.media.Load()
	pt, ok := m.opus()
	if !ok {
		return ErrNoFormat
	}
	st := src.streams[0]
	now := p.e.cfg.Now()
	pkt := p.e.cfg.Pool.Get()
	defer pkt.Release()
	pkt.Arrived = now
	b := pkt.Space()
	n := rtpx.PutHeader(b, pt, false, seq, ts, st.SSRC)
	pkt.SetLen(n + copy(b[n:], opus))

	in := &pkt.Info
	*in = rtpx.Info{}
	if !in.Parse(pkt.Bytes()) {
		return ErrTooLong
	}
	in.Codec = m.pt[pt].Codec
	in.Number, in.Start, in.End = seq, true, true
	ep.mu.Lock()
	defer ep.mu.Unlock()
	cfg := &p.e.cfg
	if n := int64(cfg.AudioPackets); !src.packets.take(1, n, n, now) || !src.bits.take(8*int64(len(pkt.Bytes())), cfg.AudioBitrate, cfg.AudioBitrate, now) {
		return ErrTooFast
	}
	src.heardAt.Store(now)
	st.fanOut(pkt)
	return nil
}

// HasSynthetic reports whether there is a source of that name which a service makes.
func (p *Pipeline) HasSynthetic(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	src := p.sources[name]
	return src != nil && src.Synthetic
}

// opus is the payload type of Opus.
func (t *mediaTable) opus() (pt uint8, ok bool) {
	for i := range t.pt {
		if p := &t.pt[i]; t.known[i] && p.Kind == Audio && p.Name == "opus" {
			return p.PT, true
		}
	}
	return 0, false
}
