package forward

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
