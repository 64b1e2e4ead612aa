package forward

import "confab/bridge/rtpx"

// Subscription says which audio an endpoint wants (bridge.md §16.4). Exclude counts
// before Include, and Include before All. What services make is only wanted by name.
type Subscription struct {
	All              bool
	Include, Exclude map[string]bool // source names
}

func (s *Subscription) wants(src *source) bool {
	if src.Synthetic {
		return s.named(src.Name)
	}
	return s == nil || !s.Exclude[src.Name] && (s.All || s.Include[src.Name])
}

func (s *Subscription) named(source string) bool {
	return s != nil && s.Include[source] && !s.Exclude[source]
}

// Subscribe replaces what audio the endpoint wants: all of the others' until it is
// called. Names of sources that are not there yet count when they come.
func (ep *Endpoint) Subscribe(s Subscription) {
	p := ep.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if ep.closed {
		return
	}
	before := ep.subscription
	ep.subscription = &s
	for name, src := range p.sources {
		if src.Kind == Audio && src.isFor(ep) {
			src.askFor(before.named(name), s.named(name))
			ep.setTarget(src, s.target(src))
		}
	}
}

// target is where the subscription to an audio source starts.
func (s *Subscription) target(src *source) rtpx.Layer {
	if s.wants(src) {
		return 0
	}
	return rtpx.NoLayer
}

// isFor reports whether an endpoint can have the source at all: nobody gets back what
// comes from him, but what a service makes of it.
func (s *source) isFor(ep *Endpoint) bool { return s.ep != ep || s.Synthetic }

// askFor counts those who ask for the source by name, who hear it however quiet it
// is (bridge.md §16.3).
func (s *source) askFor(before, now bool) {
	switch {
	case now && !before:
		s.asked.Add(1)
	case before && !now:
		s.asked.Add(-1)
	}
}

// hear subscribes to an audio source, if it is wanted. p.mu is held.
func (ep *Endpoint) hear(src *source) {
	if !src.isFor(ep) || ep.closed {
		return
	}
	src.askFor(false, ep.subscription.named(src.Name))
	ep.subscribe(src, ep.subscription.target(src))
}
