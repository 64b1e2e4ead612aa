package forward

import (
	"sync"
	"sync/atomic"

	"confab/bridge/rtpx"
)

// Endpoint is one participant on the packet path: sender and receiver.
type Endpoint struct {
	p        *Pipeline
	id       string
	w        *worker
	feedback uint32 // SSRC of our RTCP to it
	media    atomic.Pointer[mediaTable]
	sending  atomic.Pointer[[]*source] // sources, for the ticker

	rtt        atomic.Int64 // nanoseconds, 0 while unknown
	mutedAudio atomic.Bool
	mutedVideo atomic.Bool
	loud       loudness
	stats      endpointCounters
	bw         bandwidth

	// Of control, guarded by p.mu.
	sources []*source
	subs    map[string]*sub
	slots   map[Kind]*slotTable // nil: SSRCs are those of the senders
	// subscription is what audio it wants, nil: all.
	subscription *Subscription
	closed       bool

	released sync.Once // by the worker

	mu sync.Mutex // guards in and the ingress state of the sources' streams
	in ingress

	eg egress // of the worker
}

func newEndpoint(p *Pipeline, cfg EndpointConfig) *Endpoint {
	ep := &Endpoint{
		p: p, id: cfg.ID, feedback: cfg.FeedbackSSRC,
		w:    p.e.leastLoaded(),
		subs: make(map[string]*sub),
	}
	if s := cfg.Slots; s != nil {
		ep.slots = map[Kind]*slotTable{Audio: newSlotTable(Audio, s.Audio, s.Mids), Video: newSlotTable(Video, s.Video, s.Mids)}
	}
	ep.media.Store(newMediaTable(cfg.Media))
	ep.sending.Store(&[]*source{})
	ep.eg.init(ep)
	ep.w.receivers.Add(1)
	ep.w.post(func() { ep.w.egresses[ep] = struct{}{} })
	return ep
}

// ID is the endpoint's id.
func (ep *Endpoint) ID() string { return ep.id }

// SetSender gives the endpoint its way out, when its transport is ready to
// send, or takes it away with nil. When SetSender returns, the one before is not
// used any more.
func (ep *Endpoint) SetSender(s Sender) {
	ep.w.call(func() { ep.eg.sender = s })
}

// SetMedia replaces what the endpoint negotiated.
func (ep *Endpoint) SetMedia(m Media) { ep.media.Store(newMediaTable(m)) }

// SetSources replaces the sources that the endpoint sends. Sources that stay
// the same keep their state and their receivers. A source with an SSRC or name
// of another endpoint, with a zero or doubled SSRC, or beyond the limit is left
// out; the error names all of these, the others are set.
func (ep *Endpoint) SetSources(ds []Source) error {
	ep.p.mu.Lock()
	defer ep.p.mu.Unlock()
	if ep.closed {
		return ErrClosed
	}
	return ep.p.setSources(ep, ds)
}

// SetMuted drops all audio or video that the endpoint sends (force mute).
func (ep *Endpoint) SetMuted(audio, video bool) {
	ep.mutedAudio.Store(audio)
	ep.mutedVideo.Store(video)
}

// SetTargets says which layers of video sources this endpoint is to receive: the best
// that arrives and is not above the target. Sources that are not named are paused,
// unknown ones ignored. Pausing is at once; resuming and changing encodings waits for a
// key frame, which is asked for.
func (ep *Endpoint) SetTargets(targets map[string]rtpx.Layer) {
	ep.p.mu.Lock()
	defer ep.p.mu.Unlock()
	if ep.closed {
		return
	}
	for name, b := range ep.subs {
		if _, ok := targets[name]; !ok && b.src.Kind == Video {
			ep.setTarget(b.src, rtpx.NoLayer)
		}
	}
	for name, t := range targets {
		if src := ep.p.sources[name]; src != nil && src.ep != ep && src.Kind == Video {
			ep.setTarget(src, t)
		}
	}
}

// setTarget is SetTarget with p.mu held.
func (ep *Endpoint) setTarget(src *source, target rtpx.Layer) {
	target = max(target, rtpx.NoLayer)
	b := ep.subs[src.Name]
	switch {
	case b == nil:
		if target >= 0 {
			ep.subscribe(src, target)
		}
	case target < 0:
		if rtpx.Layer(b.target.Swap(int32(target))) >= 0 {
			b.paused.Store(true)
			src.subs.Store(src.subs.Load().without(b))
		}
	default:
		if rtpx.Layer(b.target.Swap(int32(target))) < 0 {
			src.subs.Store(src.subs.Load().with(b))
		}
	}
}

// subscribe adds a subscription. p.mu is held.
func (ep *Endpoint) subscribe(src *source, target rtpx.Layer) {
	if !src.isFor(ep) || ep.closed {
		return
	}
	b := newSub(ep, src, target)
	ep.subs[src.Name] = b
	ep.place(b)
	if target >= 0 {
		src.subs.Store(src.subs.Load().with(b))
	}
}

// unsubscribe takes a subscription away. p.mu is held.
func (ep *Endpoint) unsubscribe(b *sub) {
	if b.src.Kind == Audio {
		b.src.askFor(ep.subscription.named(b.src.Name), false)
	}
	delete(ep.subs, b.src.Name)
	b.target.Store(int32(rtpx.NoLayer))
	b.gone.Store(true)
	b.src.subs.Store(b.src.subs.Load().without(b))
}

// sendingFor is how long after its last packet an endpoint counts as sending.
const sendingFor = int64(2e9)

// Sending reports whether the endpoint sends audio and video now.
func (ep *Endpoint) Sending() (audio, video bool) {
	now := ep.p.e.cfg.Now()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for _, src := range *ep.sending.Load() {
		for _, st := range src.streams {
			if st.in.recv.any && now-st.in.recv.at < sendingFor {
				audio, video = audio || src.Kind == Audio, video || src.Kind == Video
			}
		}
	}
	return audio, video
}

// RTT is the round-trip time to the endpoint in nanoseconds, 0 while unknown.
func (ep *Endpoint) RTT() int64 { return ep.rtt.Load() }

// Detach takes the endpoint off its conference: its sources and its id are free
// again at once, it receives no more. It does not wait; Close is to follow.
func (ep *Endpoint) Detach() {
	p := ep.p
	p.mu.Lock()
	if ep.closed {
		p.mu.Unlock()
		return
	}
	_ = p.setSources(ep, nil)
	for _, b := range ep.subs {
		ep.unsubscribe(b)
	}
	ep.closed = true
	delete(p.endpoints, ep.id)
	p.e.retire(ep, p.relist)
	p.mu.Unlock()
	p.dominant.CompareAndSwap(ep, nil)
}

// Close detaches the endpoint and waits for its worker. When Close returns, its
// Sender is not used any more. RTP and RTCP may still be called; what they bring
// is dropped.
func (ep *Endpoint) Close() {
	ep.Detach()
	ep.released.Do(func() {
		ep.w.receivers.Add(-1)
		ep.w.call(func() {
			delete(ep.w.egresses, ep)
			ep.eg.release()
		})
	})
}
