package relay

import "time"

const (
	// busyRate is the datagrams/s of a loop from which on it gathers them, as network
	// cards hold back interrupts: what comes together is read and sent by fewer system
	// calls, and runs to one destination go through the kernel as one.
	busyRate = 30_000
	// rateTime is how long the rate is looked at.
	rateTime = time.Millisecond
	// gatherTime is how long a loop then rests between rounds; the kernel takes up to
	// 50 µs more (PR_SET_TIMERSLACK). Packets are a few tenths of a millisecond later
	// for it, which is nothing to media; at 500 allocations it saves a fifth of the CPU
	// time, at one half of it. Twice as long saves no more.
	gatherTime = 100 * time.Microsecond
	// streamWeight is how many datagrams a message that comes by a connection, or a write to one, is worth.
	streamWeight = 2
	// fullRound is how many datagrams of a round say that the loop is behind anyhow.
	fullRound = 64
)

// gathering decides when a loop rests.
type gathering struct {
	round int   // datagrams of this round
	seen  int   // since
	since int64 // on the server's clock
	busy  bool
}

// due says, at the end of a round that began at now, whether to rest before the next.
func (g *gathering) due(now int64) bool {
	n := g.round
	g.round = 0
	g.seen += n
	if d := now - g.since; d >= int64(rateTime) {
		g.busy = int64(g.seen)*int64(time.Second)/d >= busyRate
		g.seen, g.since = 0, now
	}
	return g.busy && n > 0 && n < fullRound
}
