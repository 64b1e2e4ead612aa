package bwe

// Usage is what the trend of the delay says about the network.
type Usage uint8

const (
	Normal   Usage = iota
	Overuse        // a queue grows
	Underuse       // a queue drains
)

func (u Usage) String() string {
	switch u {
	case Overuse:
		return "overuse"
	case Underuse:
		return "underuse"
	}
	return "normal"
}

// MarshalText is for what is shown as JSON.
func (u Usage) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Figures of bridge.md §13.1.
const (
	trendWindow    = 20
	trendLeast     = 10 // samples for a line
	trendSmoothing = 0.9
	trendGain      = 4.0
	trendMaxCount  = 60
	overusePeriod  = 10.0 // ms
	thresholdStart = 12.5 // ms
	thresholdMin   = 6.0
	thresholdMax   = 600.0
	thresholdUp    = 0.0087 // per ms: slower than
	thresholdDown  = 0.039
	thresholdClamp = 15.0 // a trend that is further off is an outlier
)

// trendline is a line through the smoothed sum of changes in delay. Its slope,
// against a threshold that follows it, tells overuse: fast enough to be safe, and
// not so sensitive that TCP in the same queue starves us.
type trendline struct {
	usage Usage

	count        int
	sum, smooth  float64 // of changes, ms
	start        int64   // arrival of the first
	x, y         [trendWindow]float64
	threshold    float64
	thresholdAt  int64
	over         float64 // ms above the threshold
	overs        int     // samples above it
	last, factor float64 // slope before; for State: the trend that was compared
}

func (t *trendline) reset() { *t = trendline{threshold: thresholdStart} }

func (t *trendline) add(s sample) {
	if t.count == 0 {
		t.start, t.thresholdAt = s.arrival, s.arrival
	}
	t.sum += float64(s.change) / 1e6
	t.smooth = trendSmoothing*t.smooth + (1-trendSmoothing)*t.sum
	t.x[t.count%trendWindow] = float64(s.arrival-t.start) / 1e6
	t.y[t.count%trendWindow] = t.smooth
	t.count++
	slope := t.last
	if t.count >= trendLeast {
		if v, ok := t.slope(); ok {
			slope = v
		}
	}
	t.detect(slope, float64(s.sent)/1e6, s.arrival)
}

// slope fits the line by least squares.
func (t *trendline) slope() (float64, bool) {
	x, y := t.x[:min(t.count, trendWindow)], t.y[:min(t.count, trendWindow)]
	n := float64(len(x))
	var mx, my float64
	for i := range x {
		mx += x[i]
		my += y[i]
	}
	mx /= n
	my /= n
	var num, den float64
	for i := range x {
		dx := x[i] - mx
		num += dx * (y[i] - my)
		den += dx * dx
	}
	if den == 0 {
		return 0, false
	}
	return num / den, true
}

func (t *trendline) detect(slope, sent float64, now int64) {
	if t.count < 2 {
		return
	}
	v := min(float64(t.count), trendMaxCount) * slope * trendGain
	t.factor = v
	switch {
	case v > t.threshold:
		if t.overs == 0 {
			t.over = sent / 2
		} else {
			t.over += sent
		}
		t.overs++
		if t.over > overusePeriod && t.overs > 1 && slope >= t.last {
			t.over, t.overs = 0, 0
			t.usage = Overuse
		}
	case v < -t.threshold:
		t.over, t.overs = 0, 0
		t.usage = Underuse
	default:
		t.over, t.overs = 0, 0
		t.usage = Normal
	}
	t.last = slope

	a := max(v, -v)
	if a <= t.threshold+thresholdClamp {
		k := thresholdUp
		if a < t.threshold {
			k = thresholdDown
		}
		dt := min(float64(now-t.thresholdAt)/1e6, 100)
		t.threshold = min(max(t.threshold+k*(a-t.threshold)*max(dt, 0), thresholdMin), thresholdMax)
	}
	t.thresholdAt = now
}
