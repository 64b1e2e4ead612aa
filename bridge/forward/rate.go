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

const (
	// rateFresh is how long after its beginning a rate is not known yet.
	rateFresh = int64(300e6)
	// lastingBuckets is the time constant of the lasting rate: 3 s.
	lastingBuckets = 150
)

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
	leads  int64 // bytes of it in the newest bucket

	lasting float64 // bytes in a bucket, averaged
	seen    int     // buckets that it is of, at most lastingBuckets
}

// add counts n bytes at a time; it returns true when the window was empty.
func (r *rate) add(n int, now int64) (first bool) {
	r.advance(now)
	first = r.sum == 0
	r.buckets[r.slot%rateBuckets] += int32(n)
	r.sum += int64(n)
	return first
}

// frame counts n bytes of a frame with a timestamp; see add.
func (r *rate) frame(n int, ts uint32, now int64) (first bool) {
	if first = r.add(n, now); first {
		r.begun, r.lead, r.leadTS = now, 0, ts
		r.lasting, r.seen, r.leads = 0, 0, 0
	}
	if r.leadTS == ts && now-r.begun < rateFresh {
		r.lead += int64(n)
		r.leads += int64(n)
	}
	return first
}

// fresh says that the rate is not known yet.
func (r *rate) fresh(now int64) bool { return r.sum > 0 && now-r.begun < rateFresh }

// bps is the bitrate of the last second.
func (r *rate) bps(now int64) int64 {
	r.advance(now)
	if since := now - r.begun; r.begun != 0 && r.sum > 0 && since < rateBuckets*rateBucket {
		return max(1, (r.sum-r.lead)*8e9/max(since, rateFresh))
	}
	return r.sum * 8 * int64(1e9) / (rateBuckets * rateBucket)
}

// lastingBPS is the bitrate of the last seconds: what it takes in the long run.
func (r *rate) lastingBPS() int64 { return int64(r.lasting * 8e9 / float64(rateBucket)) }

func (r *rate) advance(now int64) {
	slot := now / rateBucket
	if slot <= r.slot {
		return
	}
	if slot-r.slot >= rateBuckets {
		clear(r.buckets[:])
		r.sum, r.leads = 0, 0
	} else {
		for i := r.slot; i < slot; i++ {
			r.seen = min(r.seen+1, lastingBuckets)
			r.lasting += (float64(int64(r.buckets[i%rateBuckets])-r.leads) - r.lasting) / float64(r.seen)
			r.leads = 0
			b := &r.buckets[(i+1)%rateBuckets]
			r.sum -= int64(*b)
			*b = 0
		}
	}
	r.slot = slot
}
