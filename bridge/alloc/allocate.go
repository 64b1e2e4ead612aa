package alloc

import (
	"slices"

	"confab/bridge/rtpx"
)

// Config holds the numbers of the allocation. DefaultConfig gives JVB's.
type Config struct {
	// InitialMaxHeight bounds every source before a receiver's first message.
	InitialMaxHeight int
	// DefaultMaxHeight bounds every source after it, if it names no default.
	DefaultMaxHeight int
	// PreferredHeight and PreferredFrameRate are what a camera gets before others
	// get more.
	PreferredHeight    int
	PreferredFrameRate float64
	// OversendOnStage lets a screen on stage exceed the bandwidth by MaxOversend.
	OversendOnStage bool
	MaxOversend     Bitrate
	// LastN bounds every receiver's last-N; -1: not.
	LastN int
	// VideoLimit is the number of SSRC slots that also bounds last-N; -1: not.
	VideoLimit int
	// AssumedBandwidthLimit caps what a receiver may ask us to assume; negative:
	// such wishes are ignored.
	AssumedBandwidthLimit Bitrate
}

// DefaultConfig returns the defaults of bridge.md §23.
func DefaultConfig() Config {
	return Config{
		InitialMaxHeight: 0, DefaultMaxHeight: 180,
		PreferredHeight: 360, PreferredFrameRate: 30,
		OversendOnStage: true, MaxOversend: 500_000,
		LastN: -1, VideoLimit: -1, AssumedBandwidthLimit: -1,
	}
}

// Source is a video source that a receiver may get.
type Source struct {
	Name     string
	Endpoint string
	Type     VideoType
	// Layers is ordered from the lowest to the best (forward.Pipeline.Layers).
	Layers []rtpx.LayerInfo
}

// Request is everything that an allocation depends on.
type Request struct {
	Receiver    string // endpoint id; its own sources are left out
	Constraints Constraints
	// Available is the estimated bandwidth; Unlimited while none is trusted.
	Available Bitrate
	// Speakers are endpoint ids, the dominant first.
	Speakers []string
	// Sources are all video sources, endpoints in the order in which they joined.
	Sources []Source
}

// Decision is what a receiver gets of one source.
type Decision struct {
	Source   string
	Endpoint string
	// Effective is the constraint after last-N: what the receiver still wants of
	// the sender (0: nothing).
	Effective Constraint
	// Target is the layer to forward, Ideal the one without a bandwidth limit.
	Target, Ideal rtpx.Layer
	// Bitrates of the two as measured, 0 when nothing arrives.
	TargetBitrate, IdealBitrate Bitrate
}

// Result is one allocation.
type Result struct {
	// Decisions has one entry per source of others, in order of priority.
	Decisions []Decision
	// Forwarded are the sources with a target, in order of priority.
	Forwarded []string
	// Oversending says that the targets exceed the bandwidth.
	Oversending bool
}

// Allocate divides the bandwidth of one receiver.
func (c Config) Allocate(r Request) Result {
	order := prioritize(&r)
	effective := c.effective(&r, order)

	remaining := r.Available
	if a := r.Constraints.AssumedBandwidth; a >= 0 && c.AssumedBandwidthLimit >= 0 {
		remaining = min(a, c.AssumedBandwidthLimit)
	}
	unlimited := remaining == Unlimited

	all := make([]*candidates, len(order))
	for i, s := range order {
		onStage := slices.Contains(r.Constraints.OnStage, s.Name)
		all[i] = c.candidates(s, effective[i], onStage, unlimited)
	}
	oversending := false
	if unlimited {
		for _, a := range all {
			a.target = len(a.layers) - 1
		}
	} else {
		oversending = c.divide(all, remaining)
	}

	res := Result{Decisions: make([]Decision, len(order)), Oversending: oversending}
	for i, s := range order {
		d := Decision{Source: s.Name, Endpoint: s.Endpoint, Effective: effective[i], Target: rtpx.NoLayer, Ideal: rtpx.NoLayer}
		a := all[i]
		if n := len(a.layers); n > 0 {
			d.Ideal, d.IdealBitrate = a.layers[n-1].ID, Bitrate(a.layers[n-1].Bitrate)
		}
		if a.target >= 0 {
			d.Target, d.TargetBitrate = a.layers[a.target].ID, Bitrate(a.layers[a.target].Bitrate)
			res.Forwarded = append(res.Forwarded, s.Name)
		}
		res.Decisions[i] = d
	}
	return res
}

// effective applies last-N and video types to the constraints (bridge.md §14.3).
func (c Config) effective(r *Request, order []*Source) []Constraint {
	lastN := -1
	for _, n := range [3]int{r.Constraints.LastN, c.LastN, c.VideoLimit} {
		if n >= 0 && (lastN < 0 || n < lastN) {
			lastN = n
		}
	}
	out := make([]Constraint, len(order))
	used := 0
	for i, s := range order {
		if !s.Type.Enabled() || lastN >= 0 && used >= lastN {
			out[i] = Height(0)
			continue
		}
		out[i] = r.Constraints.of(s.Name)
		if out[i].off() {
			out[i] = Height(0)
			continue
		}
		used++
	}
	return out
}

// divide raises targets step by step until nothing more fits (bridge.md §14.5).
func (c Config) divide(all []*candidates, remaining Bitrate) (oversending bool) {
	for {
		changed := false
		for i, a := range all {
			if len(a.layers) == 0 {
				continue
			}
			before := a.target
			remaining -= c.improve(a, remaining, i == 0)
			changed = changed || a.target != before
			if remaining < 0 {
				oversending = true
			}
			// The stage comes first: no thumbnails while it is below par.
			if a.onStage && a.target < a.preferred {
				break
			}
		}
		if !changed {
			return oversending
		}
	}
}

// improve raises the target of a source by what fits and returns the cost.
func (c Config) improve(a *candidates, remaining Bitrate, oversend bool) Bitrate {
	before := a.cost()
	limit := remaining + before
	rate := func(i int) Bitrate { return Bitrate(a.layers[i].Bitrate) }
	switch {
	case a.target < 0 && a.preferred >= 0 && a.onStage:
		for l := 0; l <= a.preferred && rate(l) <= limit; l++ {
			a.target = l
		}
	case a.target+1 < len(a.layers) && rate(a.target+1) < limit:
		a.target++
	}
	if a.target >= 0 {
		// A better layer that costs no more comes for free.
		for l := len(a.layers) - 1; l > a.target; l-- {
			if rate(l) <= rate(a.target) {
				a.target = l
				break
			}
		}
	}
	if oversend && a.oversend > a.target {
		// JVB: the scan goes down and overwrites, so the lowest that fits wins.
		for l, floor := a.oversend, a.target; l > floor; l-- {
			if rate(l) <= limit+c.MaxOversend {
				a.target = l
			}
		}
	}
	return a.cost() - before
}

// candidates are the layers of one source that may be chosen.
type candidates struct {
	layers    []rtpx.LayerInfo
	target    int // index, -1 none
	preferred int
	oversend  int
	onStage   bool
}

func (a *candidates) cost() Bitrate {
	if a.target < 0 {
		return 0
	}
	return Bitrate(a.layers[a.target].Bitrate)
}

// candidates picks the layers that the constraint admits (bridge.md §14.4).
//
// With limited bandwidth silent layers are left out, unless all are, as JVB
// does. Without a limit they stay in: a projection forwards the best layer that
// arrives below its target, so that a layer which starts is taken from its
// first key frame on, without waiting for another allocation.
func (c Config) candidates(s *Source, want Constraint, onStage, unlimited bool) *candidates {
	a := &candidates{target: -1, preferred: -1, oversend: -1, onStage: onStage}
	if want.off() || len(s.Layers) == 0 {
		return a
	}
	active := s.Layers
	if !unlimited {
		active = nil
		for _, l := range s.Layers {
			if l.Bitrate > 0 {
				active = append(active, l)
			}
		}
		if active == nil {
			active = s.Layers
		}
	}
	maxHeight := want.MaxHeight
	fits := func(h int) bool { return maxHeight < 0 || h <= maxHeight }
	lowest := active[0].Height
	for _, l := range active {
		lowest = min(lowest, l.Height)
	}

	if s.Type == Desktop || s.Type == DesktopHighFPS {
		for _, l := range active {
			if fits(l.Height) {
				a.layers = append(a.layers, l)
			}
		}
		if a.layers == nil {
			for _, l := range active {
				if l.Height == lowest {
					a.layers = append(a.layers, l)
				}
			}
			if !onStage && a.layers[0].FPS == 0 {
				a.layers = a.layers[:1] // quality layers of VP9
			}
		}
		a.preferred = len(a.layers) - 1
		if onStage && c.OversendOnStage {
			a.oversend = cheapestTallest(a.layers)
		}
		return a
	}

	preferredHeight, preferredFPS := -1, -1.0
	if maxHeight > 180 || maxHeight < 0 {
		preferredHeight, preferredFPS = c.PreferredHeight, c.PreferredFrameRate
	}
	if preferredFPS >= 0 {
		fastest := 0.0
		for _, l := range active {
			fastest = max(fastest, l.FPS)
		}
		preferredFPS = min(preferredFPS, fastest)
	}
	minHeight := -1
	for _, l := range active {
		below := preferredHeight < 0 || l.Height < preferredHeight
		admitted := fits(l.Height) && (l.FPS == 0 || l.FPS >= preferredFPS)
		if !(below && fits(l.Height) || admitted || l.Height == lowest) {
			continue
		}
		if minHeight < 0 || l.Height < minHeight {
			minHeight = l.Height
		}
		a.layers = append(a.layers, l)
	}
	for i, l := range a.layers {
		if preferredHeight < 0 || l.Height <= max(preferredHeight, minHeight) {
			a.preferred = i
		}
	}
	return a
}

// cheapestTallest is the index of the cheapest of the tallest layers.
func cheapestTallest(ls []rtpx.LayerInfo) int {
	best := -1
	for i, l := range ls {
		if best < 0 || l.Height > ls[best].Height || l.Height == ls[best].Height && l.Bitrate < ls[best].Bitrate {
			best = i
		}
	}
	return best
}
