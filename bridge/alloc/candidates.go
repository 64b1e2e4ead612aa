package alloc

import "confab/bridge/rtpx"

// candidates are the layers of one source that may be chosen.
type candidates struct {
	typ       VideoType
	layers    []rtpx.LayerInfo
	silent    []rtpx.LayerInfo // that the constraint admits too, but that don't arrive
	target    int              // index, -1 none
	last      int              // index of what is shown, -1 none, behind the end: margins don't count
	preferred int
	oversend  int
	onStage   bool
	assumed   bool       // nothing arrives: the rates are the usual ones
	hope      rtpx.Layer // a silent layer above the target
}

func (a *candidates) cost() Bitrate {
	if a.target < 0 {
		return 0
	}
	return Bitrate(a.layers[a.target].Bitrate)
}

// find is the index of the best layer that is not above the one shown so far.
func (a *candidates) find(last map[string]rtpx.Layer, name string) int {
	at := -1
	if shown, ok := last[name]; ok && shown >= 0 {
		for i, l := range a.layers {
			if l.ID <= shown {
				at = i
			}
		}
	}
	return at
}

// candidates picks the layers that the constraint admits (bridge.md §14.4).
//
// With limited bandwidth silent layers are left out, as JVB does; if all are, they
// count with what they usually take, as do those that have begun just now. Without a limit they stay in: a projection
// forwards the best layer that arrives below its target, so that a layer which
// starts is taken from its first key frame on.
func (al *Allocator) candidates(s *Source, want Constraint, onStage, unlimited bool) candidates {
	a := candidates{typ: s.Type, target: -1, preferred: -1, oversend: -1, onStage: onStage, hope: rtpx.NoLayer}
	if want.off() || len(s.Layers) == 0 {
		return a
	}
	active := s.Layers
	if !unlimited {
		begin := len(al.arena)
		for _, l := range s.Layers {
			if l.Fresh {
				l.Bitrate = max(l.Bitrate, int64(usual(s.Type, l)))
			}
			if l.Bitrate > 0 {
				al.arena = append(al.arena, l)
			}
		}
		if len(al.arena) == begin {
			a.assumed = true
			for _, l := range s.Layers {
				l.Bitrate = int64(usual(s.Type, l))
				al.arena = append(al.arena, l)
			}
		}
		active = al.arena[begin:len(al.arena):len(al.arena)]
	}
	fits := func(h int) bool { return want.MaxHeight < 0 || h <= want.MaxHeight }
	lowest, fastest := active[0].Height, 0.0
	for _, l := range active {
		lowest, fastest = min(lowest, l.Height), max(fastest, l.FPS)
	}
	begin := len(al.arena)
	desktop := s.Type == Desktop || s.Type == DesktopHighFPS
	if desktop {
		al.screen(&a, active, fits, lowest)
	} else {
		al.camera(&a, active, fits, lowest, fastest, want.MaxHeight)
	}
	a.layers = al.arena[begin:len(al.arena):len(al.arena)]
	if desktop {
		a.preferred = len(a.layers) - 1
		if onStage && al.OversendOnStage {
			a.oversend = cheapestTallest(a.layers)
		}
	}
	if len(active) < len(s.Layers) {
		begin := len(al.arena)
		for _, l := range s.Layers {
			if l.Bitrate == 0 && fits(l.Height) && (l.FPS == 0 || l.FPS >= fastest) {
				al.arena = append(al.arena, l)
			}
		}
		a.silent = al.arena[begin:len(al.arena):len(al.arena)]
	}
	return a
}

// screen picks layers of a shared screen.
func (al *Allocator) screen(a *candidates, active []rtpx.LayerInfo, fits func(int) bool, lowest int) {
	begin := len(al.arena)
	for _, l := range active {
		if fits(l.Height) {
			al.arena = append(al.arena, l)
		}
	}
	if len(al.arena) > begin {
		return
	}
	for _, l := range active {
		if l.Height == lowest {
			al.arena = append(al.arena, l)
			if !a.onStage && l.FPS == 0 {
				return // quality layers of VP9: only the first
			}
		}
	}
}

// camera picks layers of a camera: below the preferred height with all frame rates,
// from there on with the full one and half of it. JVB has the full one only there;
// half of it is a step between sizes that else are three times apart, needs no key
// frame, and makes use of networks that carry less than the next size takes.
func (al *Allocator) camera(a *candidates, active []rtpx.LayerInfo, fits func(int) bool, lowest int, fastest float64, maxHeight int) {
	preferredHeight, preferredFPS := -1, -1.0
	if maxHeight > 180 || maxHeight < 0 {
		preferredHeight, preferredFPS = al.PreferredHeight, min(al.PreferredFrameRate, fastest)
	}
	begin := len(al.arena)
	minHeight := -1
	for _, l := range active {
		below := preferredHeight < 0 || l.Height < preferredHeight
		admitted := fits(l.Height) && (l.FPS == 0 || l.FPS >= preferredFPS/2)
		if !(below && fits(l.Height) || admitted || l.Height == lowest) {
			continue
		}
		if minHeight < 0 || l.Height < minHeight {
			minHeight = l.Height
		}
		al.arena = append(al.arena, l)
	}
	for i, l := range al.arena[begin:] {
		if preferredHeight < 0 || l.Height <= max(preferredHeight, minHeight) {
			a.preferred = i
		}
	}
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
