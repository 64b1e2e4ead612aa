package forward

import "sync/atomic"

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

	// Of egress.
	Sent, SentBytes uint64
	Retransmitted   uint64
	Overflow        uint64 // dropped because a worker was behind
	Panics          uint64
}

// endpointCounters are the counters of one sender.
type endpointCounters struct {
	recovered, received, bytes, duplicates, discarded, lost, nacks, keyframes, unknown, foreign, malformed, panics atomic.Uint64
	sent, sentBytes, retransmitted                                                                                 atomic.Uint64
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
	s.Panics += c.panics.Load()
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
