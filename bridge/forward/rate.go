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

// rateFresh is how long after its beginning a rate is not known yet.
const rateFresh = int64(300e6)

// rate measures bits per second over a sliding window. Of what began less than a
// window ago it measures the time since, without the frame that it began with: that is
// a key frame of many times the size.
type rate struct {
	buckets [rateBuckets]int32
	sum     int64
	slot    int64 // number of the newest bucket

	begun  int64
	lead   int64 // bytes of the first frame
	leadTS uint32
}

// frame counts n bytes of a frame with a timestamp; see add.
func (r *rate) frame(n int, ts uint32, now int64) (first bool) {
	if first = r.add(n, now); first {
		r.begun, r.lead, r.leadTS = now, 0, ts
	}
	if r.leadTS == ts && now-r.begun < rateFresh {
		r.lead += int64(n)
	}
	return first
}

// fresh says that the rate is not known yet.
func (r *rate) fresh(now int64) bool { return r.sum > 0 && now-r.begun < rateFresh }

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
	if since := now - r.begun; r.begun != 0 && r.sum > 0 && since < rateBuckets*rateBucket {
		return max(1, (r.sum-r.lead)*8e9/max(since, rateFresh))
	}
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
