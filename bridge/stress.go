package bridge

import (
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// stress measures how loaded the machine is: the share of CPU time that was not
// idle, stolen time included, over what counts as full (bridge.md §19).
type stress struct {
	full       float64
	value      atomic.Uint64 // bits of a float64
	busy, all  uint64
	lastSample time.Time
}

// level is 0 for an idle machine, 1 for one that is full.
func (s *stress) level() float64 { return math.Float64frombits(s.value.Load()) }

// sample reads /proc/stat; elsewhere the level stays 0. One goroutine calls it.
func (s *stress) sample(at time.Time) {
	if at.Sub(s.lastSample) < time.Second {
		return
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return
	}
	busy, all, ok := cpuTimes(string(b))
	if !ok {
		return
	}
	if d := all - s.all; s.all != 0 && all > s.all && busy >= s.busy && s.full > 0 { // stolen time may be corrected downwards
		s.value.Store(math.Float64bits(float64(busy-s.busy) / float64(d) / s.full))
	}
	s.busy, s.all, s.lastSample = busy, all, at
}

// cpuTimes reads the first line of /proc/stat: user nice system idle iowait irq
// softirq steal (proc_stat(5)).
func cpuTimes(stat string) (busy, all uint64, ok bool) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, false
	}
	for i, v := range f[1:9] {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		all += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, all, true
}
