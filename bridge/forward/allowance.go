package forward

// allowance bounds how much of something one endpoint may cause. It is a leaky bucket
// that says until when what was taken is paid for (GCRA, ITU-T I.371).
type allowance struct {
	spent int64
	used  bool
}

// take takes n of so many a second, of which burst may come at once.
func (a *allowance) take(n, perSecond, burst, now int64) bool {
	free := now - burst*1e9/perSecond
	if !a.used {
		a.spent, a.used = free, true
	}
	spent := max(a.spent, free) + n*1e9/perSecond
	if spent > now {
		return false
	}
	a.spent = spent
	return true
}

// What one endpoint may ask of the bridge in a second, at once as well. Browsers stay
// far below, and what is above harms only who sends it.
const (
	// maxControl are RTCP datagrams: a browser with 25 videos sends feedback 20 times a
	// second, and a NACK for a video not oftener than every 20 ms.
	maxControl = 2000
	// maxNacked are packets asked for again: half of 8,000 a second.
	maxNacked = 4000
)
