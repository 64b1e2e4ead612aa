package forward

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"confab/bridge/rtpx"
)

// Pipeline is the packet path of one conference.
type Pipeline struct {
	e    *Engine
	name string

	table    atomic.Pointer[table]
	list     atomic.Pointer[[]*Endpoint] // for the ticker
	dominant atomic.Pointer[Endpoint]
	listener atomic.Pointer[Listener] // of the audio

	ranked    atomic.Bool  // so large that only the loudest are forwarded
	threshold atomic.Int32 // energy of the quietest of them
	ranks     []rank       // of the ticker

	changed chan struct{} // one slot
	evMu    sync.Mutex
	layers  map[string]struct{}
	news    map[string]struct{} // endpoints

	mu        sync.Mutex
	endpoints map[string]*Endpoint
	sources   map[string]*source
	closed    bool
}

func newPipeline(e *Engine, name string) *Pipeline {
	p := &Pipeline{
		e: e, name: name,
		changed:   make(chan struct{}, 1),
		layers:    make(map[string]struct{}),
		news:      make(map[string]struct{}),
		endpoints: make(map[string]*Endpoint),
		sources:   make(map[string]*source),
	}
	p.table.Store(&table{})
	p.list.Store(&[]*Endpoint{})
	return p
}

// EndpointConfig says who is attached.
type EndpointConfig struct {
	ID string
	// Media is what the endpoint negotiated, for both directions.
	Media Media
	// FeedbackSSRC is the sender SSRC of RTCP that the bridge originates: the
	// conference's jvb-v0.
	FeedbackSSRC uint32
	// Slots turns SSRC rewriting on: sources reach the endpoint in slots that Assign
	// gives them, and not at all before.
	Slots *Slots
}

// Attach adds an endpoint. It receives all audio of the others at once and
// video when SetTarget says so, as soon as it has a Sender.
func (p *Pipeline) Attach(cfg EndpointConfig) (*Endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if _, ok := p.endpoints[cfg.ID]; ok {
		return nil, fmt.Errorf("endpoint %s: attached already", cfg.ID)
	}
	ep := newEndpoint(p, cfg)
	p.endpoints[cfg.ID] = ep
	p.relist()
	for _, src := range p.sources {
		if src.Kind == Audio {
			ep.hear(src)
		}
	}
	return ep, nil
}

// Endpoint returns an attached endpoint, or nil.
func (p *Pipeline) Endpoint(id string) *Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endpoints[id]
}

// SetDominant names the dominant speaker, which loudest-N routing never drops;
// an unknown id means nobody.
func (p *Pipeline) SetDominant(id string) { p.dominant.Store(p.Endpoint(id)) }

// Changed has a value when TakeEvents has something. One goroutine listens.
func (p *Pipeline) Changed() <-chan struct{} { return p.changed }

// Events is what happened on the packet path since the last TakeEvents.
type Events struct {
	// Layers names the sources of which layers became active or inactive, or
	// changed size: allocate anew.
	Layers []string
	// Estimates has the ids of the endpoints of whose network something else is
	// known than what was decided on (Endpoint.SetDemand): allocate anew for them.
	Estimates []string
}

// TakeEvents returns what is new and forgets it.
func (p *Pipeline) TakeEvents() Events {
	p.evMu.Lock()
	defer p.evMu.Unlock()
	var ev Events
	for name := range p.layers {
		ev.Layers = append(ev.Layers, name)
	}
	clear(p.layers)
	for id := range p.news {
		ev.Estimates = append(ev.Estimates, id)
	}
	clear(p.news)
	return ev
}

// estimateChanged notes that there is news about the network to an endpoint.
func (p *Pipeline) estimateChanged(id string) {
	p.evMu.Lock()
	p.news[id] = struct{}{}
	p.evMu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// layersChanged notes an event; a source that goes on changing costs one entry.
func (p *Pipeline) layersChanged(name string) {
	p.e.layerChanges.Add(1)
	p.evMu.Lock()
	p.layers[name] = struct{}{}
	p.evMu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// DrainLevels calls f for every audio level that arrived since the last call,
// per endpoint in order of arrival; level is 0 (silence) to 127 (loudest), at
// the packet clock. f runs without a lock held. Levels are kept for about a
// second; call it every 20 to 100 ms.
func (p *Pipeline) DrainLevels(f func(endpoint string, level uint8, at int64)) {
	var buf [levelSlots]levelAt
	for _, ep := range *p.list.Load() {
		for _, l := range buf[:ep.takeLevels(&buf)] {
			f(ep.id, l.level, l.at)
		}
	}
}

// Layers returns the layers of a video source, lowest first: as signalled until
// packets tell more, with the measured bitrates of the last second. ok is false
// when there is no such video source.
func (p *Pipeline) Layers(source string) (ls []rtpx.LayerInfo, ok bool) {
	p.mu.Lock()
	src := p.sources[source]
	p.mu.Unlock()
	if src == nil || src.Kind != Video {
		return nil, false
	}
	return src.ep.layersOf(src, p.e.cfg.Now()), true
}

// Close detaches all endpoints and waits for the workers to let go of them.
func (p *Pipeline) Close() {
	p.mu.Lock()
	var eps []*Endpoint
	for _, ep := range p.endpoints {
		eps = append(eps, ep)
	}
	p.closed = true
	p.mu.Unlock()
	for _, ep := range eps {
		ep.Close()
	}
	p.e.forget(p)
}

// setSources replaces the sources of ep. p.mu is held.
func (p *Pipeline) setSources(ep *Endpoint, ds []Source) error {
	var errs []error
	keep := make([]*source, 0, len(ds))
	old := make(map[string]*source, len(ep.sources))
	for _, s := range ep.sources {
		old[s.Name] = s
	}
	ssrcs := make(map[uint32]bool)
	if len(ds) > p.e.cfg.MaxSources {
		errs = append(errs, fmt.Errorf("endpoint %s: %d sources, at most %d", ep.id, len(ds), p.e.cfg.MaxSources))
		ds = ds[:p.e.cfg.MaxSources]
	}
	for _, d := range ds {
		if err := p.admissible(ep, d, ssrcs); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, e := range d.Encodings {
			ssrcs[e.SSRC] = true
			if e.RTX != 0 {
				ssrcs[e.RTX] = true
			}
		}
		s := old[d.Name]
		if s != nil && s.same(d) {
			delete(old, d.Name)
		} else {
			s = newSource(ep, d, len(p.e.workers))
		}
		keep = append(keep, s)
	}

	// Subscriptions to a source that changed its SSRCs pass to the new one.
	prev := ep.sources
	ep.sources = keep
	ep.sending.Store(&keep)
	byName := make(map[string]*source, len(keep))
	for _, s := range keep {
		byName[s.Name] = s
		p.sources[s.Name] = s
	}
	targets := make(map[*source]map[*Endpoint]rtpx.Layer)
	for _, s := range prev {
		n := byName[s.Name]
		if n == s {
			continue
		}
		if n == nil {
			delete(p.sources, s.Name)
		}
		for _, r := range p.endpoints {
			r.vacate(s)
			if b := r.subs[s.Name]; b != nil && b.src == s {
				if n != nil && n.Kind == s.Kind {
					if targets[n] == nil {
						targets[n] = make(map[*Endpoint]rtpx.Layer)
					}
					targets[n][r] = rtpx.Layer(b.target.Load())
				}
				r.unsubscribe(b)
			}
		}
	}
	p.rebuild()
	for _, s := range prev {
		if byName[s.Name] != s {
			s.forget()
		}
	}
	for _, s := range keep {
		for _, r := range p.endpoints {
			if !s.isFor(r) || r.subs[s.Name] != nil {
				continue
			}
			if t, ok := targets[s][r]; ok && s.Kind == Video {
				r.subscribe(s, t)
			} else if s.Kind == Audio {
				r.hear(s)
			}
		}
	}
	return errors.Join(errs...)
}

// admissible checks a source that ep wants to have. The old owner keeps an SSRC
// or a name that is claimed twice. p.mu is held.
func (p *Pipeline) admissible(ep *Endpoint, d Source, own map[uint32]bool) error {
	if d.Name == "" || len(d.Encodings) == 0 || len(d.Encodings) > maxEncodings {
		return fmt.Errorf("source %q: %d encodings", d.Name, len(d.Encodings))
	}
	if s := p.sources[d.Name]; s != nil && s.ep != ep {
		return fmt.Errorf("source %s: belongs to endpoint %s", d.Name, s.ep.id)
	}
	t := p.table.Load()
	seen := make(map[uint32]bool)
	for _, e := range d.Encodings {
		for _, ssrc := range [2]uint32{e.SSRC, e.RTX} {
			if ssrc == 0 && e.SSRC != 0 {
				continue // no RTX
			}
			if r, ok := t.bySSRC[ssrc]; ok && r.st.src.ep != ep {
				return fmt.Errorf("source %s: SSRC %d belongs to endpoint %s", d.Name, ssrc, r.st.src.ep.id)
			}
			if ssrc == 0 || own[ssrc] || seen[ssrc] {
				return fmt.Errorf("source %s: SSRC %d is 0 or named twice", d.Name, ssrc)
			}
			seen[ssrc] = true
		}
	}
	return nil
}

// rebuild makes the table out of all sources. p.mu is held.
func (p *Pipeline) rebuild() {
	t := &table{bySSRC: make(map[uint32]route)}
	for _, ep := range p.endpoints {
		for _, s := range ep.sources {
			for _, st := range s.streams {
				t.bySSRC[st.SSRC] = route{st: st}
				if st.RTX != 0 {
					t.bySSRC[st.RTX] = route{st: st, rtx: true}
				}
			}
		}
	}
	p.table.Store(t)
}

// relist swaps the ticker's list of endpoints. p.mu is held.
func (p *Pipeline) relist() {
	l := make([]*Endpoint, 0, len(p.endpoints))
	for _, ep := range p.endpoints {
		l = append(l, ep)
	}
	p.list.Store(&l)
	n := p.e.cfg.LoudestN
	p.ranked.Store(n > 0 && len(l) > p.e.cfg.LoudestAbove)
}

// tick does what is due for all endpoints.
func (p *Pipeline) tick(now int64) {
	for _, ep := range *p.list.Load() {
		ep.tick(now)
	}
	if p.ranked.Load() {
		p.rankVoices(now)
	}
}
