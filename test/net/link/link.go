// Package link models one direction of a network path: a bottleneck whose rate
// follows a trace, the queue in front of it, propagation delay, random loss and
// bursts of jitter.
//
// It is pure: the caller says what time it is, and each packet's fate is known
// when it arrives. A queue is first in, first out and the trace is known ahead, so
// the moment at which a packet leaves depends on nothing that comes after it.
package link

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// Forever is the time of delivery of what never arrives.
const Forever = time.Duration(1<<63 - 1)

// Step is a change of the rate of the bottleneck.
type Step struct {
	At   time.Duration
	Rate int64 // bit/s of IP packets; 0: nothing passes
}

// Jitter delays packets further, for a while and again and again.
type Jitter struct {
	First, Every, Length time.Duration // bursts last Length, the first one from First on
	Max                  time.Duration // a packet's further delay is between 0 and this
}

// Config describes one direction. The zero value is a perfect link.
type Config struct {
	Rates      []Step        // in order; the first holds before its time, too. None: no bottleneck
	QueueTime  time.Duration // drops what would wait longer than this; 0: no such limit
	QueueBytes int           // drops what would make the queue longer than this; 0: no such limit
	Delay      time.Duration // propagation
	Loss       float64       // 0 to 1, of what passed the queue
	Seed       uint64        // of loss and jitter
	Jitter     Jitter
	Reorder    bool // jitter may make a packet overtake another
}

// UnmarshalJSON reads times in milliseconds and rates in kbit/s, as the scenarios
// have them.
func (c *Config) UnmarshalJSON(b []byte) error {
	var j struct {
		Rates      [][2]float64 // [ms, kbit/s]
		QueueMS    float64
		QueueBytes int
		DelayMS    float64
		Loss       float64
		Seed       uint64
		Jitter     struct{ FirstMS, EveryMS, LengthMS, MaxMS float64 }
		Reorder    bool
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*c = Config{
		QueueTime: ms(j.QueueMS), QueueBytes: j.QueueBytes, Delay: ms(j.DelayMS),
		Loss: j.Loss, Seed: j.Seed, Reorder: j.Reorder,
		Jitter: Jitter{ms(j.Jitter.FirstMS), ms(j.Jitter.EveryMS), ms(j.Jitter.LengthMS), ms(j.Jitter.MaxMS)},
	}
	for i, r := range j.Rates {
		s := Step{At: ms(r[0]), Rate: int64(r[1] * 1000)}
		if s.Rate < 0 || i > 0 && s.At <= c.Rates[i-1].At {
			return fmt.Errorf("rates[%d]: %v: steps go forward in time and are not negative", i, r)
		}
		c.Rates = append(c.Rates, s)
	}
	return nil
}

func ms(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

// Drop is why a packet is not delivered.
type Drop uint8

// Reasons.
const (
	None  Drop = iota
	Queue      // the queue was full
	Loss       // random
)

func (d Drop) String() string { return [...]string{"-", "queue", "loss"}[d] }

// Fate is what becomes of a packet.
type Fate struct {
	Drop    Drop
	Queued  time.Duration // how long it waits before the bottleneck begins to send it
	Deliver time.Duration // when it arrives
}

// Link is one direction. It is not safe for concurrent use.
type Link struct {
	c       Config
	random  *rand.Rand
	free    time.Duration // when the bottleneck has sent all that it accepted
	backlog int           // bytes accepted and not yet sent
	queue   []waiting     // the same, by packet
	last    time.Duration // latest delivery, for order
}

type waiting struct {
	sent time.Duration
	size int
}

// New returns a link on which nothing is under way. Its time may be negative: the
// trace then stands at its beginning.
func New(c Config) *Link {
	const never = -Forever
	return &Link{c: c, random: rand.New(rand.NewPCG(c.Seed, 0)), free: never, last: never}
}

// Rate is the rate of the bottleneck at a time, -1 without one.
func (l *Link) Rate(at time.Duration) int64 {
	if len(l.c.Rates) == 0 {
		return -1
	}
	return l.c.Rates[l.step(at)].Rate
}

func (l *Link) step(at time.Duration) int {
	i := 0
	for i+1 < len(l.c.Rates) && l.c.Rates[i+1].At <= at {
		i++
	}
	return i
}

// Offer hands a packet to the link. Times don't run backwards.
func (l *Link) Offer(now time.Duration, size int) Fate {
	for len(l.queue) > 0 && l.queue[0].sent <= now {
		l.backlog -= l.queue[0].size
		l.queue = l.queue[1:]
	}
	start := max(now, l.free)
	queued := start - now
	if l.c.QueueBytes > 0 && l.backlog+size > l.c.QueueBytes || l.c.QueueTime > 0 && queued > l.c.QueueTime {
		return Fate{Drop: Queue, Queued: queued, Deliver: Forever}
	}
	sent := l.send(start, size)
	if sent == Forever { // the last step of the trace lets nothing pass
		return Fate{Drop: Queue, Queued: queued, Deliver: Forever}
	}
	l.free = sent
	l.backlog += size
	l.queue = append(l.queue, waiting{sent, size})
	// A draw for each, so that what one packet meets doesn't depend on what
	// befell another.
	lost := l.random.Float64() < l.c.Loss
	deliver := sent + l.c.Delay + l.jitter(sent)
	if lost {
		return Fate{Drop: Loss, Queued: queued, Deliver: Forever}
	}
	if !l.c.Reorder {
		deliver = max(deliver, l.last)
	}
	l.last = max(l.last, deliver)
	return Fate{Queued: queued, Deliver: deliver}
}

// send returns when the bottleneck has sent size bytes that it begins with at
// start, across the steps of the trace.
func (l *Link) send(start time.Duration, size int) time.Duration {
	if len(l.c.Rates) == 0 {
		return start
	}
	bits := float64(size) * 8
	for i := l.step(start); ; i++ {
		r := l.c.Rates[i].Rate
		end := Forever
		if i+1 < len(l.c.Rates) {
			end = l.c.Rates[i+1].At
		}
		if r > 0 {
			needs := time.Duration(bits / float64(r) * float64(time.Second))
			if end == Forever || start+needs <= end {
				return start + needs
			}
			bits -= (end - start).Seconds() * float64(r)
		}
		if end == Forever {
			return Forever
		}
		start = end
	}
}

func (l *Link) jitter(at time.Duration) time.Duration {
	j := l.c.Jitter
	extra := time.Duration(l.random.Float64() * float64(j.Max))
	if j.Max == 0 || at < j.First || j.Every > 0 && (at-j.First)%j.Every >= j.Length || j.Every == 0 && at-j.First >= j.Length {
		return 0
	}
	return extra
}
