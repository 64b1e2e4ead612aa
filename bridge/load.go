package bridge

import (
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// AverageStress is what one more participant adds to the load, for a focus that has
// just placed some (JVB average-participant-stress).
const AverageStress = 0.01

// load measures how much of what it can the bridge does: the largest of the shares of
// processor time, packets and bits, and of whatever is full because something was
// lost already (bridge.md §19). 1 is full. One goroutine measures.
type load struct {
	maxCPU                float64
	maxPackets, maxEgress float64

	value                 atomic.Uint64 // bits of a float64
	packetsIn, packetsOut atomic.Uint64 // a second
	bitrateIn, bitrateOut atomic.Uint64

	inLoss, outLoss, loss atomic.Uint64 // bits of float64s
	steal                 atomic.Uint64 // likewise: the share of time that the host gave to others

	last              time.Time
	busy, all, stolen uint64
	was               traffic
}

// traffic are the counters that load looks at.
type traffic struct {
	packetsIn, packetsOut, bytesIn, bytesOut uint64
	overflows                                uint64 // datagrams for which the kernel had no room
	inExpected, inLost, outExpected, outLost uint64
}

// lossLoad is the load of a machine that loses packets although it has time: the
// socket buffers are too small, or single cores are full.
const lossLoad = 0.9

// level is 0 for an idle machine, 1 for one that is full.
func (l *load) level() float64 { return math.Float64frombits(l.value.Load()) }

// sample measures since the sample before; stat is /proc/stat, empty elsewhere.
func (l *load) sample(at time.Time, stat string, t traffic) {
	since := at.Sub(l.last).Seconds()
	if since < 1 {
		return
	}
	first := l.last.IsZero()
	l.last = at
	level := 0.0
	busy, all, stolen, ok := cpuTimes(stat)
	if d := all - l.all; ok && !first && l.all != 0 && all > l.all && busy >= l.busy && l.maxCPU > 0 { // stolen time may be corrected downwards
		level = float64(busy-l.busy) / float64(d) / l.maxCPU
		l.steal.Store(math.Float64bits(float64(stolen-min(l.stolen, stolen)) / float64(d)))
	}
	l.busy, l.all, l.stolen = busy, all, stolen
	was := l.was
	l.was = t
	if first {
		return
	}
	rate := func(now, before uint64) float64 { return float64(now-min(before, now)) / since }
	in, out := rate(t.packetsIn, was.packetsIn), rate(t.packetsOut, was.packetsOut)
	bits := 8 * rate(t.bytesOut, was.bytesOut)
	l.packetsIn.Store(uint64(in))
	l.packetsOut.Store(uint64(out))
	l.bitrateIn.Store(uint64(8 * rate(t.bytesIn, was.bytesIn)))
	l.bitrateOut.Store(uint64(bits))
	fraction := func(lost, expected uint64) uint64 {
		if int64(expected) <= 0 {
			return 0
		}
		return math.Float64bits(min(float64(lost)/float64(expected), 1))
	}
	inLost, inAll := t.inLost-was.inLost, t.inExpected-was.inExpected
	outLost, outAll := t.outLost-was.outLost, t.outExpected-was.outExpected
	l.inLoss.Store(fraction(inLost, inAll))
	l.outLoss.Store(fraction(outLost, outAll))
	l.loss.Store(fraction(inLost+outLost, inAll+outAll))
	if l.maxPackets > 0 {
		level = max(level, (in+out)/l.maxPackets)
	}
	if l.maxEgress > 0 {
		level = max(level, bits/l.maxEgress)
	}
	if t.overflows > was.overflows {
		level = max(level, lossLoad)
	}
	l.value.Store(math.Float64bits(level))
}

// losses are the fractions lost of what senders sent, of what was sent to receivers,
// and of both.
func (l *load) losses() (in, out, both float64) {
	return math.Float64frombits(l.inLoss.Load()), math.Float64frombits(l.outLoss.Load()), math.Float64frombits(l.loss.Load())
}

// cpuTimes reads the first line of /proc/stat: user nice system idle iowait irq
// softirq steal (proc_stat(5)).
func cpuTimes(stat string) (busy, all, stolen uint64, ok bool) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, 0, false
	}
	for i, v := range f[1:9] {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0, 0, 0, false
		}
		all += n
		stolen = n // the last
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, all, stolen, true
}

// measure takes a sample and adapts last-N to it.
func (s *Service) measure(at time.Time) {
	stat, _ := os.ReadFile("/proc/stat") // elsewhere the processor does not count
	f, k := s.engine.Stats(), s.sockets.Stats()
	s.load.sample(at, string(stat), traffic{
		packetsIn: f.Received, packetsOut: f.Sent, bytesIn: f.ReceivedBytes, bytesOut: f.SentBytes, overflows: k.Overflows,
		inExpected: f.InExpected, inLost: f.InLost, outExpected: f.OutExpected, outLost: f.OutLost,
	})
	if !s.cfg.ReduceLastN {
		return
	}
	was := s.reducer.lastN
	if s.reducer.step(at, s.load.level(), s.mostForwarded()) {
		s.lastN.Store(int32(s.reducer.lastN + 1))
		s.counters.lastNChanges.Add(1)
		s.log.Warn("load changes last-N of all receivers", "stress", s.load.level(), "was", was, "is", s.reducer.lastN)
	}
}

// mostForwarded is how many videos a receiver of this bridge gets at most.
func (s *Service) mostForwarded() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conferences {
		most = max(most, int(c.forwarded.Load()))
	}
	return most
}

// Numbers of JVB's load-reducers.last-n.
const (
	reduceBy      = 0.75
	recoverBy     = 1.25
	reducePeriod  = time.Minute      // between two steps
	recoverBelow  = 0.8              // of full: 0.72 of 0.9 of the processors
	recoverFully  = 40               // from here on nobody is limited
	overloadAfter = 10 * time.Second // JVB measures every 10 s
	// leastN is as low as load alone brings it, where JVB goes to 1: a machine that
	// can't forward four videos is not saved by forwarding one, and meetings of five
	// are not what loads it.
	leastN = 4
)

// reducer bounds last-N on a machine that has too much to do.
type reducer struct {
	lastN      int       // -1: nobody is bounded
	overloaded time.Time // since when; zero while it is not
	changed    time.Time
}

// step looks at the load and says whether lastN has changed. most is how many videos
// one receiver gets at most now.
func (r *reducer) step(at time.Time, level float64, most int) bool {
	if level < 1 {
		r.overloaded = time.Time{}
	} else if r.overloaded.IsZero() {
		r.overloaded = at
	}
	was := r.lastN
	switch {
	case at.Sub(r.changed) < reducePeriod:
	case !r.overloaded.IsZero() && at.Sub(r.overloaded) >= overloadAfter:
		n := max(leastN, int(reduceBy*float64(most)))
		if n < most && (r.lastN < 0 || n < r.lastN) {
			r.lastN = n
		}
	case r.lastN >= 0 && level <= recoverBelow:
		if r.lastN = max(r.lastN+1, int(recoverBy*float64(r.lastN))); r.lastN >= recoverFully {
			r.lastN = -1
		}
	}
	if r.lastN == was {
		return false
	}
	r.changed = at
	return true
}

// boundLastN is the last-N that a receiver gets which wants n, in a conference of so
// many video sources: bounded by the load, and by the size (Config.LastNLimits).
func (c *Conference) boundLastN(n, sources int) int {
	for _, bound := range [2]int{int(c.s.lastN.Load()) - 1, lastNLimit(c.s.cfg.LastNLimits, sources+1)} {
		if bound >= 0 && (n < 0 || bound < n) {
			n = bound
		}
	}
	return n
}

// lastNLimit is what is set for the largest size that is not above this one; -1 for
// nothing (JVB conference-last-n-limits).
func lastNLimit(limits map[int]int, size int) int {
	for _, from := range slices.Backward(slices.Sorted(maps.Keys(limits))) {
		if from <= size {
			return limits[from]
		}
	}
	return -1
}

// noteForwarded keeps how many videos a receiver gets at most, for the reducer.
func (c *Conference) noteForwarded() {
	most := 0
	for _, ep := range c.order {
		most = max(most, len(ep.alloc.forwarded))
	}
	c.forwarded.Store(int32(most))
}
