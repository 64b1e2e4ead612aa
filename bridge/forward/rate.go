package forward

import (
	"confab/bridge/rtpx"
)

// Limits of what is measured per encoding.
const (
	maxEncodings = 8
	maxSpatial   = 4
	maxTemporal  = 4
)

// rateWindow is a second in buckets of 20 ms (JVB bitrate-calculator).
const (
	rateBuckets = 50
	rateBucket  = int64(20e6)
)

// rate measures bits per second over a sliding window.
type rate struct {
	buckets [rateBuckets]int32
	sum     int64
	slot    int64 // number of the newest bucket
}

// add counts n bytes at a time; it returns true when the window was empty.
func (r *rate) add(n int, now int64) (first bool) {
	r.advance(now)
	first = r.sum == 0
	r.buckets[r.slot%rateBuckets] += int32(n)
	r.sum += int64(n)
	return first
}

// bps is the bitrate of the last second.
func (r *rate) bps(now int64) int64 {
	r.advance(now)
	return r.sum * 8 * int64(1e9) / (rateBuckets * rateBucket)
}

func (r *rate) advance(now int64) {
	slot := now / rateBucket
	if slot <= r.slot {
		return
	}
	if slot-r.slot >= rateBuckets {
		clear(r.buckets[:])
		r.sum = 0
	} else {
		for i := r.slot + 1; i <= slot; i++ {
			b := &r.buckets[i%rateBuckets]
			r.sum -= int64(*b)
			*b = 0
		}
	}
	r.slot = slot
}

// structure is what is known of the layers of one encoding, and their rates.
type structure struct {
	spatial  uint8 // number of spatial layers
	temporal uint8 // number of temporal layers
	heights  [maxSpatial]uint16
	rates    [maxSpatial][maxTemporal]*rate
	active   bool // something arrived lately
	lastAt   int64
}

// init assumes what signalling tells: one spatial and three temporal layers,
// heights that double with each encoding (bridge.md §11.1).
func (s *structure) init(encoding int) {
	s.spatial, s.temporal = 1, 3
	s.heights[0] = uint16(min(180<<encoding, 4320))
}

// learn takes what a parser found in a packet; it returns true when it is news.
func (s *structure) learn(in *rtpx.Info) (news bool) {
	switch in.Codec {
	case rtpx.CodecVP8:
		if h := min(in.VP8.Width, in.VP8.Height); in.Key && h > 0 {
			news = s.set(0, h) || news
		}
	case rtpx.CodecVP9:
		if in.VP9.HasSS {
			n := min(in.VP9.Layers, maxSpatial)
			news = s.spatial != n
			s.spatial = n
			for i := range int(n) {
				if h := in.VP9.Heights[i]; h > 0 {
					news = s.set(i, h) || news
				}
			}
		}
	default:
		if in.HasDD && in.DD.HasStructure {
			d := in.DD.Structure
			n, t := min(d.MaxSpatial+1, maxSpatial), min(d.MaxTemporal+1, maxTemporal)
			news = s.spatial != n || s.temporal != t
			s.spatial, s.temporal = n, t
			for i := range int(n) {
				if h := d.Heights[i]; h > 0 {
					news = s.set(i, h) || news
				}
			}
		}
	}
	return news
}

func (s *structure) set(spatial int, height uint16) bool {
	old := s.heights[spatial]
	s.heights[spatial] = height
	return old != height
}

// count adds a packet to the rate of its layer. It returns true when the
// encoding or layer was silent for the whole window before.
func (s *structure) count(in *rtpx.Info, n int, now int64) bool {
	sp, t := min(in.Spatial, maxSpatial-1), min(in.Temporal, maxTemporal-1)
	r := s.rates[sp][t]
	if r == nil {
		r = &rate{slot: now / rateBucket}
		s.rates[sp][t] = r
	}
	s.active, s.lastAt = true, now
	return r.add(n, now)
}

// append adds the layers of the encoding to ls. The bitrate of a layer is that
// of all layers up to it; a layer that itself is silent has none.
func (s *structure) append(ls []rtpx.LayerInfo, encoding int, now int64) []rtpx.LayerInfo {
	var below int64
	for sp := range int(s.spatial) {
		for t := range int(s.temporal) {
			own := int64(0)
			if r := s.rates[sp][t]; r != nil {
				own = r.bps(now)
			}
			cum := below + own
			for k := range t {
				if r := s.rates[sp][k]; r != nil {
					cum += r.bps(now)
				}
			}
			l := rtpx.LayerInfo{
				ID:     rtpx.MakeLayer(encoding, sp, t),
				Height: int(s.heights[sp]),
				FPS:    30 / float64(int(1)<<(int(s.temporal)-1-t)),
			}
			if own > 0 {
				l.Bitrate = cum
			}
			ls = append(ls, l)
		}
		for t := range int(s.temporal) {
			if r := s.rates[sp][t]; r != nil {
				below += r.bps(now)
			}
		}
	}
	return ls
}
