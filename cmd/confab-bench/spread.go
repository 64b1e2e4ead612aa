package main

import (
	"math"
	"slices"
	"time"
)

// spread describes durations, in milliseconds.
func spread(name string, ds []time.Duration) []figure {
	if len(ds) == 0 {
		return nil
	}
	ds = slices.Sorted(slices.Values(ds))
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(ds)))) - 1
		return float64(ds[max(0, i)].Microseconds()) / 1000
	}
	return []figure{
		{name + ", median ms", at(0.5)}, {name + ", least ms", at(0)},
		{name + ", p99 ms", at(0.99)}, {name + ", most ms", at(1)},
	}
}
