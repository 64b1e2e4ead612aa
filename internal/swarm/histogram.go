package swarm

import (
	"math/bits"
	"time"
)

// Histogram counts durations with an error of at most 1/32.
type Histogram struct {
	n      uint64
	counts [64 * 32]uint32
}

// Add counts one.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
}

func bucket(v uint64) int {
	if v < 64 {
		return int(v)
	}
	e := bits.Len64(v) - 6 // v>>e has 6 bits, the highest of them set
	return e*32 + int(v>>e)
}

func value(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	e := i/32 - 1
	return uint64(i-e*32)<<e + 1<<e/2
}

// N is how many were counted.
func (h *Histogram) N() uint64 { return h.n }

// Merge adds what another one counted.
func (h *Histogram) Merge(o *Histogram) {
	h.n += o.n
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// Quantile is the duration that a share of q of all do not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	want, sum := uint64(q*float64(h.n)), uint64(0)
	for i, c := range h.counts {
		sum += uint64(c)
		if c > 0 && sum > want {
			return time.Duration(value(i))
		}
	}
	for i := len(h.counts) - 1; i >= 0; i-- {
		if h.counts[i] > 0 {
			return time.Duration(value(i))
		}
	}
	return 0
}
