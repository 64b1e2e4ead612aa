package alloc

import "confab/bridge/rtpx"

// division is the bandwidth of one receiver while it is divided.
type division struct {
	c         *Config
	all       []candidates
	remaining Bitrate
	used      Bitrate
	upgrades  Bitrate
	floor     bool
}

// divide raises targets step by step until nothing more fits (bridge.md §14.5).
func (d *division) divide() (oversending bool) {
	for {
		changed := false
		for i := range d.all {
			a := &d.all[i]
			if len(a.layers) == 0 {
				continue
			}
			before := a.target
			cost := d.improve(a, i == 0)
			d.remaining -= cost
			d.used += cost
			changed = changed || a.target != before
			if d.remaining < 0 {
				oversending = true
			}
			// The stage comes first: no thumbnails while it is below par.
			if a.onStage && a.target < a.preferred {
				break
			}
		}
		if !changed {
			return oversending && d.remaining < 0
		}
	}
}

// price is what a layer must fit with: more than it takes if it would be better
// than what is shown, less if it is shown. What is shown may take more for a moment
// than in the long run: such a moment fits into a queue.
func (d *division) price(a *candidates, l int) Bitrate {
	rate := float64(a.layers[l].Bitrate)
	switch {
	case a.last >= len(a.layers): // nothing is shown yet
	case l > a.last && a.last >= 0 && a.layers[l].ID.SameSize(a.layers[a.last].ID):
		rate *= 1 + d.c.KeepMargin // more frames cost no key frame
	case l > a.last:
		rate *= 1 + d.c.UpgradeMargin
	case l == 0 && d.floor && a == &d.all[0]:
		return 0
	default:
		if lasting := float64(a.layers[l].Lasting); lasting > 0 {
			rate = min(rate, lasting)
		}
		rate *= 1 - d.c.KeepMargin
	}
	return Bitrate(rate)
}

// fits says whether layer l of a fits into what there is for it.
func (d *division) fits(a *candidates, l int, limit Bitrate) bool {
	if l > a.last && d.used-a.cost()+Bitrate(a.layers[l].Bitrate) > d.upgrades {
		return false
	}
	price := d.price(a, l)
	return price <= limit || price == 0
}

// improve raises the target of a source by what fits and returns the cost.
func (d *division) improve(a *candidates, oversend bool) Bitrate {
	before := a.cost()
	limit := d.remaining + before
	rate := func(i int) Bitrate { return Bitrate(a.layers[i].Bitrate) }
	switch {
	case a.target < 0 && a.preferred >= 0 && a.onStage:
		for l := 0; l <= a.preferred && d.fits(a, l, limit); l++ {
			a.target = l
		}
	case a.target+1 < len(a.layers) && d.fits(a, a.target+1, limit-1):
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
			if rate(l) <= limit+d.c.MaxOversend {
				a.target = l
			}
		}
	}
	return a.cost() - before
}

// next is how much bandwidth it takes until something becomes better. While the
// stage is below par that is the stage.
func (d *division) next() (next Bitrate) {
	for i := range d.all {
		a := &d.all[i]
		if a.target+1 < len(a.layers) {
			need := max(1, d.used-a.cost()+d.price(a, a.target+1))
			if next == 0 || need < next {
				next = need
			}
		}
		if a.onStage && a.target < a.preferred {
			break
		}
	}
	return next
}

// hope lets a source that has the best layer which arrives have a better one that
// does not arrive yet, if what such a layer usually takes is to spare: so it is
// taken from its first key frame on, without another allocation.
func (d *division) hope() {
	for i := range d.all {
		a := &d.all[i]
		if a.target < 0 || a.target != len(a.layers)-1 {
			continue
		}
		more := Bitrate(0)
		for _, l := range a.silent {
			cost := usual(a.typ, l) - a.cost()
			if l.ID <= a.layers[a.target].ID || cost > d.remaining || d.used+cost > d.upgrades {
				continue
			}
			a.hope, more = l.ID, max(cost, 0)
		}
		d.remaining -= more
	}
}

// usual is what a layer usually takes whose rate is not known yet (LJM's limits for
// VP8, and libvpx' shares of temporal layers).
func usual(t VideoType, l rtpx.LayerInfo) Bitrate {
	var rate Bitrate
	switch {
	case t == Desktop || t == DesktopHighFPS:
		rate = 500_000
	case l.Height <= 180:
		rate = 200_000
	case l.Height <= 360:
		rate = 500_000
	case l.Height <= 720:
		rate = 1_500_000
	case l.Height <= 1080:
		rate = 3_000_000
	default:
		rate = 6_000_000
	}
	switch {
	case l.FPS == 0 || l.FPS > 20:
	case l.FPS > 10:
		rate = rate * 6 / 10
	default:
		rate = rate * 4 / 10
	}
	return rate
}
