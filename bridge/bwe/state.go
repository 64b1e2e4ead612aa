package bwe

import "time"

// State is a look inside, for logs and plots.
type State struct {
	Estimate     int64   // bits/s
	Usage        Usage   // of the network, by delay
	Delay        int64   // bits/s that the delay allows
	Loss         int64   // bits/s that loss allows
	LossRatio    float64 // of late
	InherentLoss float64 // of it, what the link loses at any rate
	Acked        int64   // bits/s that arrive
	Queue        time.Duration
	RTT          time.Duration
	Limited      bool // by the application: less is sent than the network carries
	Silent       bool // feedback stopped
	Full         bool // so much is under way that nothing more is to be sent for now
	Counts       Counts
}

// Counts counts since New.
type Counts struct {
	Feedbacks uint64 // that were worked on
	Throttled uint64 // dropped: too many in a second
	Malformed uint64
	Unsent    uint64 // told of packets that were never sent
	Replayed  uint64 // arrivals told again
	Probes    uint64 // asked for
}

// State looks inside.
func (e *Estimator) State() State {
	c := e.counts
	c.Probes = uint64(e.prober.asked)
	return State{
		Estimate: e.target, Usage: e.usage,
		Delay: int64(e.aimd.rate), Loss: int64(min(e.loss.limit(), float64(e.cfg.Max))),
		LossRatio: e.loss.ratio(), InherentLoss: e.loss.inherent(),
		Acked: int64(e.arrives), Queue: time.Duration(e.queue.standing()), RTT: time.Duration(e.rtt),
		Limited: e.app.limited, Silent: e.quiet.silent(), Full: e.flight.full, Counts: c,
	}
}
