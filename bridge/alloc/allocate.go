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
	// UpgradeMargin is the share by which there must be more bandwidth than a
	// better picture takes before it replaces one that is shown, and KeepMargin the
	// share by which there may be less before one that is shown is given up: so
	// that layers don't flap when measured rates waver. JVB has neither.
	UpgradeMargin, KeepMargin float64
}

// DefaultConfig returns the defaults of bridge.md §23.
func DefaultConfig() Config {
	return Config{
		InitialMaxHeight: 0, DefaultMaxHeight: 180,
		PreferredHeight: 360, PreferredFrameRate: 30,
		OversendOnStage: true, MaxOversend: 500_000,
		LastN: -1, VideoLimit: -1, AssumedBandwidthLimit: -1,
		UpgradeMargin: 0.1, KeepMargin: 0.03,
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
	// Table has all video sources.
	Table *Table
	// Last has the targets of the receiver up to now; nil: it had none, and
	// margins don't count.
	Last map[string]rtpx.Layer
	// UpgradeLimit, if not 0, bounds what all targets may take when one becomes
	// better than it was.
	UpgradeLimit Bitrate
	// Floor keeps the least layer of the first source while it is shown, whether it
	// fits or not: showing it again would take a key frame.
	Floor bool
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
	// Sending is what all targets take, Ideal what everything wanted would take,
	// and Next how much bandwidth the next better picture needs; 0: there is none.
	Sending, Ideal, Next Bitrate
	// Suspended counts the sources that are wanted and sent but do not fit at all.
	Suspended int
}

// Allocate divides the bandwidth of one receiver.
func (c Config) Allocate(r Request) Result {
	a := Allocator{Config: c}
	return a.Allocate(&r)
}

// Allocator allocates for one receiver after the other in memory of its own.
type Allocator struct {
	Config

	order []int // sources of the table in order of priority
	taken []bool
	stage []bool
	all   []candidates
	arena []rtpx.LayerInfo
	res   Result
}

// Allocate divides the bandwidth of one receiver. The result is good until the
// next call.
func (al *Allocator) Allocate(r *Request) Result {
	al.prioritize(r)
	remaining := r.Available
	if a := r.Constraints.AssumedBandwidth; a >= 0 && al.AssumedBandwidthLimit >= 0 {
		remaining = min(a, al.AssumedBandwidthLimit)
	}
	unlimited := remaining == Unlimited

	res := &al.res
	*res = Result{Decisions: res.Decisions[:0], Forwarded: res.Forwarded[:0]}
	al.all, al.arena = slices.Grow(al.all[:0], len(al.order)), al.arena[:0]
	left := al.lastN(r)
	for _, i := range al.order {
		s := &r.Table.sources[i]
		// bridge.md §14.3: last-N and video types.
		effective := Height(0)
		if s.Type.Enabled() && left != 0 {
			if e := r.Constraints.of(s.Name); !e.off() {
				effective = e
				left--
			}
		}
		a := al.candidates(s, effective, al.stage[i], unlimited)
		a.last = len(a.layers) // no margins
		if r.Last != nil {
			a.last = a.find(r.Last, s.Name)
		}
		al.all = append(al.all, a)
		res.Decisions = append(res.Decisions, Decision{Source: s.Name, Endpoint: s.Endpoint, Effective: effective, Target: rtpx.NoLayer, Ideal: rtpx.NoLayer})
	}
	if unlimited {
		for i := range al.all {
			al.all[i].target = len(al.all[i].layers) - 1
		}
	} else {
		d := division{c: &al.Config, all: al.all, remaining: remaining, upgrades: r.UpgradeLimit, floor: r.Floor}
		if d.upgrades == 0 {
			d.upgrades = Unlimited
		}
		res.Oversending = d.divide()
		res.Next = d.next()
		d.hope()
	}
	for i := range al.all {
		a, d := &al.all[i], &res.Decisions[i]
		rate := func(l int) Bitrate {
			if a.assumed {
				return 0
			}
			return Bitrate(a.layers[l].Bitrate)
		}
		if n := len(a.layers); n > 0 {
			d.Ideal, d.IdealBitrate = a.layers[n-1].ID, rate(n-1)
			res.Ideal += d.IdealBitrate
			if a.target < 0 && rate(0) > 0 {
				res.Suspended++
			}
		}
		if a.target >= 0 {
			d.Target, d.TargetBitrate = a.layers[a.target].ID, rate(a.target)
			res.Sending += d.TargetBitrate
			if a.hope > d.Target {
				d.Target, d.Ideal = a.hope, max(d.Ideal, a.hope)
			}
			res.Forwarded = append(res.Forwarded, d.Source)
		}
	}
	return *res
}

// prioritize lists the sources in the order in which this receiver gets them
// (bridge.md §14.2): what is on stage and selected before what the table says. Its
// own are left out.
func (al *Allocator) prioritize(r *Request) {
	t := r.Table
	n := len(t.sources)
	al.order = al.order[:0]
	al.taken = append(al.taken[:0], make([]bool, n)...)
	al.stage = append(al.stage[:0], make([]bool, n)...)
	for list, names := range [2][]string{r.Constraints.OnStage, r.Constraints.Selected} {
		for _, name := range names {
			i, ok := t.index[name]
			if !ok {
				continue
			}
			al.stage[i] = al.stage[i] || list == 0
			if !al.taken[i] && t.sources[i].Type.Enabled() && t.sources[i].Endpoint != r.Receiver {
				al.taken[i] = true
				al.order = append(al.order, i)
			}
		}
	}
	for i := range t.sources {
		if !al.taken[i] && t.sources[i].Endpoint != r.Receiver {
			al.order = append(al.order, i)
		}
	}
}

// lastN is how many videos the receiver may get, -1 all.
func (al *Allocator) lastN(r *Request) int {
	lastN := -1
	for _, n := range [3]int{r.Constraints.LastN, al.LastN, al.VideoLimit} {
		if n >= 0 && (lastN < 0 || n < lastN) {
			lastN = n
		}
	}
	return lastN
}
