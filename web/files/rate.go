package files

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates is a token bucket of uploads for each address. A full table is emptied,
// which only gives everybody a fresh minute.
type rates struct {
	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

const maxBuckets = 65536

func (r *rates) allow(addr string, perMinute int, now time.Time) bool {
	if perMinute <= 0 || addr == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[addr]
	if b == nil || b.Burst() != perMinute {
		if r.buckets == nil || len(r.buckets) >= maxBuckets {
			r.buckets = map[string]*rate.Limiter{}
		}
		b = rate.NewLimiter(rate.Limit(perMinute)/60, perMinute)
		r.buckets[addr] = b
	}
	return b.AllowN(now, 1)
}
