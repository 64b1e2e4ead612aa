package net

import (
	"testing"
	"time"

	"confab/test/net/link"
)

// What no sender can do anything about, by the model of the link alone: docs/networks.md
// says so of two goals.

const (
	// sound is a packet of Opus at 32 kbit/s on the wire, every soundEvery.
	sound      = 150
	soundEvery = 20 * time.Millisecond
	// picture is the rate of 720 lines as the recording has them.
	picture = 1_700 * kbit
	part    = 1200 // bytes of a packet of it
)

// made plays what arrives from first on, behind a buffer, and returns the longest time
// in which more than half was made up, in pieces of 100 ms as figures.mjs has them.
func made(arrivals []time.Duration, buffer time.Duration) (longest time.Duration) {
	next, run, missing, n := 0, time.Duration(0), 0, 0
	for at := arrivals[0] + buffer; next < len(arrivals); at += soundEvery {
		if arrivals[next] <= at {
			next++
		} else {
			missing++
		}
		if n++; n == 5 {
			if run += 100 * time.Millisecond; 2*missing <= n {
				run = 0
			}
			longest = max(longest, run)
			missing, n = 0, 0
		}
	}
	return longest
}

// The rate falls to a seventeenth. A sender that is told of each packet the moment it
// arrives, sends its picture in even steps and stops it at the first sign, then waits
// for ever, is the best there can be. With reports as seldom as browsers send them,
// the audio behind the picture is late all the same.
func TestDropInterruptsWhoeverSends(t *testing.T) {
	t.Parallel()
	const way, drop = 20 * time.Millisecond, time.Second
	for _, every := range []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond} {
		var least, most time.Duration = 1 << 62, 0
		for phase := range time.Duration(20) {
			l := link.New(link.Config{
				Rates: []link.Step{{Rate: 5000 * kbit}, {At: drop + phase*every/20, Rate: 300 * kbit}}, QueueTime: time.Second, Delay: way,
			})
			var voice []time.Duration
			stop := time.Duration(1 << 62) // when the sender knows
			gap := time.Duration(part*8) * time.Second / picture
			for at, v, s := time.Duration(0), time.Duration(0), time.Duration(0); at < drop+3*time.Second; at += time.Millisecond {
				for ; v <= at && at < stop; v += gap {
					f := l.Offer(at, part)
					if normal := at + way + part*8*time.Second/(5000*kbit); f.Deliver > normal+5*time.Millisecond {
						told := f.Deliver
						if every > 0 { // with the next report
							told = (told + every - 1) / every * every
						}
						stop = min(stop, told+way)
					}
				}
				for ; s <= at; s += soundEvery {
					if f := l.Offer(at, sound); f.Drop == link.None {
						voice = append(voice, f.Deliver)
					}
				}
			}
			gone := made(voice, 80*time.Millisecond)
			least, most = min(least, gone), max(most, gone)
		}
		t.Logf("told every %v: audio made up for %v to %v", every, least, most)
		if every >= 50*time.Millisecond && least < 200*time.Millisecond {
			t.Errorf("told every %v: only %v, so that the goal could be met", every, least)
		}
	}
}

// Bursts of jitter, and nothing on the link but audio in even steps: a receiver whose
// buffer has not met the jitter yet has to make up most of a burst's length.
func TestJitterInterruptsWhoeverSends(t *testing.T) {
	t.Parallel()
	over := 0
	for seed := range uint64(50) {
		l := link.New(link.Config{
			Rates: []link.Step{{Rate: 5000 * kbit}}, QueueTime: 500 * time.Millisecond, Delay: 20 * time.Millisecond, Seed: seed,
			Jitter: link.Jitter{First: time.Second, Every: 5 * time.Second, Length: 500 * time.Millisecond, Max: 300 * time.Millisecond},
		})
		var voice []time.Duration
		for at := time.Duration(0); at < 3*time.Second; at += soundEvery {
			voice = append(voice, l.Offer(at, sound).Deliver)
		}
		if gone := made(voice, 60*time.Millisecond); gone >= 200*time.Millisecond {
			over++
		}
	}
	t.Logf("200 ms or more are made up in %d of 50 bursts", over)
	if over < 25 {
		t.Error("so that the goal could be met")
	}
}
