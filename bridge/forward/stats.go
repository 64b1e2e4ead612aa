package forward

import (
	"sync/atomic"
	"time"
)

// Stats are counters since the start of what they belong to.
type Stats struct {
	// Of ingress.
	Received, ReceivedBytes uint64
	Malformed               uint64 // no RTP or RTCP
	Unknown                 uint64 // SSRC or payload type that nobody signalled
	Foreign                 uint64 // SSRC of another endpoint
	Duplicates              uint64
	Discarded               uint64 // muted, silent, padding only
	Lost                    uint64 // gaps seen in what senders sent
	NacksSent               uint64
	KeyframesAsked          uint64
	Recovered               uint64 // audio packets taken out of redundancy
	Keyframes               uint64 // that arrived
	LayerChanges            uint64 // layers of sources that came, went or changed size
	Excess                  uint64 // more RTCP, audio or requests than one endpoint may send
	Ignored                 uint64 // RTCP packets of kinds that mean nothing here
	// Packets that senders sent and that were lost on the way, by their numbers.
	InExpected, InLost uint64
	// VideoTime is for how long video has come, summed over streams.
	VideoTime time.Duration
	// TooQuiet are the packets of audio that were dropped because others were louder, by
	// their energy: up to each of EnergyBounds.
	TooQuiet       [len(EnergyBounds)]uint64
	TooQuietEnergy uint64 // summed
	// UnaskedREMB counts endpoints that say what their network carries although that
	// was not negotiated.
	UnaskedREMB uint64

	// Of egress.
	Sent, SentBytes uint64
	Retransmitted   uint64
	Overflow        uint64 // dropped because a worker was behind
	Panics          uint64
	// Packets that receivers report to have been sent and lost.
	OutExpected, OutLost uint64
	// Transit is how long packets were here, from the socket to the sockets: up to
	// each of TransitBounds, and longer.
	Transit    [len(TransitBounds) + 1]uint64
	TransitSum time.Duration
}

// EnergyBounds are the classes of Stats.TooQuiet (JVB tossed_packets_energy).
var EnergyBounds = [...]int{0, 7, 15, 23, 31, 39, 47, 55, 63, 71, 79, 87, 95, 103, 111, 119, 127}

// TransitBounds are the classes of Stats.Transit.
var TransitBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

// transit counts by class. One worker adds; a load and a store do, without a locked
// instruction.
type transit struct {
	counts [len(TransitBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (t *transit) add(ns int64) {
	ns = max(ns, 0)
	i := 0
	for i < len(TransitBounds) && ns > int64(TransitBounds[i]) {
		i++
	}
	t.counts[i].Store(t.counts[i].Load() + 1)
	t.sum.Store(t.sum.Load() + ns)
}

// endpointCounters are the counters of one sender.
type endpointCounters struct {
	recovered, received, bytes, duplicates, discarded, lost, nacks, keyframes, unknown, foreign, malformed, panics atomic.Uint64
	excess, ignored, keys, inExpected, inLost, outExpected, outLost                                                atomic.Uint64
	sent, sentBytes, retransmitted, videoTime, unasked, quietEnergy                                                atomic.Uint64
	quiet                                                                                                          [len(EnergyBounds)]atomic.Uint64
}

func (s *Stats) addEndpoint(ep *Endpoint) {
	c := &ep.stats
	s.Received += c.received.Load()
	s.ReceivedBytes += c.bytes.Load()
	s.Malformed += c.malformed.Load()
	s.Unknown += c.unknown.Load()
	s.Foreign += c.foreign.Load()
	s.Duplicates += c.duplicates.Load()
	s.Discarded += c.discarded.Load()
	s.Lost += c.lost.Load()
	s.NacksSent += c.nacks.Load()
	s.KeyframesAsked += c.keyframes.Load()
	s.Recovered += c.recovered.Load()
	s.Keyframes += c.keys.Load()
	s.Ignored += c.ignored.Load()
	s.Excess += c.excess.Load()
	s.InExpected += c.inExpected.Load()
	s.InLost += c.inLost.Load()
	s.OutExpected += c.outExpected.Load()
	s.OutLost += c.outLost.Load()
	s.Panics += c.panics.Load()
	s.VideoTime += time.Duration(c.videoTime.Load())
	s.UnaskedREMB += c.unasked.Load()
	s.TooQuietEnergy += c.quietEnergy.Load()
	for i := range c.quiet {
		s.TooQuiet[i] += c.quiet[i].Load()
	}
}

// tooQuiet counts a packet of audio that is dropped because others are louder.
func (c *endpointCounters) tooQuiet(energy int) {
	c.quietEnergy.Add(uint64(energy))
	i := 0
	if energy > 0 {
		i = min(energy/8+1, len(c.quiet)-1)
	}
	c.quiet[i].Add(1)
}

func (s *Stats) addPipeline(p *Pipeline) {
	for _, ep := range *p.list.Load() {
		s.addEndpoint(ep)
	}
}

func (s *Stats) addWorker(w *worker) {
	s.Sent += w.sent.Load()
	s.SentBytes += w.sentBytes.Load()
	s.Retransmitted += w.retransmitted.Load()
	s.Overflow += w.dropped.Load()
	for i := range s.Transit {
		s.Transit[i] += w.transit.counts[i].Load()
	}
	s.TransitSum += time.Duration(w.transit.sum.Load())
	s.Panics += w.panics.Load()
}

// Stats returns the counters of this endpoint: what it sent us and what we sent it.
func (ep *Endpoint) Stats() Stats {
	var s Stats
	s.addEndpoint(ep)
	s.Sent = ep.stats.sent.Load()
	s.SentBytes = ep.stats.sentBytes.Load()
	s.Retransmitted = ep.stats.retransmitted.Load()
	return s
}
