package bridge

import (
	"math"
	"sync/atomic"
	"time"

	"confab/bridge/channel"
	"confab/bridge/export"
	"confab/bridge/forward"
	"confab/bridge/transport"
)

// counters only go up.
type counters struct {
	conferencesCreated, conferencesCompleted, conferenceMillis atomic.Uint64
	endpointsCreated, visitorsCreated, endpointsExpired        atomic.Uint64
	dataIn, dataOut, socketIn, socketOut, messagesDropped      atomic.Uint64 // bridge channel
	noChannel, disconnected, reconnected                       atomic.Uint64
	iceSucceeded, iceRelayed, iceFailed                        atomic.Uint64
	endpointsICEFailed, endpointsDTLSFailed                    atomic.Uint64
	restartsRejected, restartsEarly                            atomic.Uint64
	dominantChanges, overruns, panics, lastNChanges            atomic.Uint64
	queueFull                                                  atomic.Uint64 // messages of clients, among the dropped
	socketEnds                                                 [channel.EndBroken + 1]atomic.Uint64
	export                                                     export.Counters
}

// Stats is a snapshot for metrics.
type Stats struct {
	Conferences, Endpoints   int
	ConferencesCreated       uint64
	ConferencesCompleted     uint64
	ConferenceTime           time.Duration // of those that are over
	EndpointsCreated         uint64
	VisitorsCreated          uint64
	EndpointsExpired         uint64
	DataIn, DataOut          uint64 // messages of data channels
	SocketIn, SocketOut      uint64 // messages of WebSockets
	MessagesDropped          uint64
	MessagesQueueFull        uint64 // among them, because their client has sent too many before
	SocketsEnded             uint64 // WebSockets that ended with a goodbye
	SocketsEndedBadly        uint64 // with one that says that something is wrong, or none
	SocketsBroken            uint64 // among them, without
	NoChannel                uint64 // endpoints without a channel half a minute after they connected
	Disconnected             uint64 // times that the others were told of
	Reconnected              uint64
	ICESucceeded, ICERelayed uint64 // the second are among the first
	ICEFailed                uint64 // before or after it was connected
	EndpointsICEFailed       uint64 // that never connected
	EndpointsDTLSFailed      uint64
	RestartsRejected         uint64
	RestartsEarly            uint64 // asked for before ICE was established
	DominantChanges          uint64
	LastNChanges             uint64 // for load
	Overruns, Panics         uint64

	Joined                bool // it is in its brewery
	Stress, Steal         float64
	LastN                 int // for load; -1 none
	PacketsIn, PacketsOut uint64
	BitsIn, BitsOut       uint64
	InLoss, OutLoss, Loss float64 // fractions, of late

	Drain bool
	State State
	// Health is the state of the self-test: how often it ran and failed, and how long
	// it took last.
	Healthy                 bool
	HealthTests, HealthFail uint64
	HealthTook              time.Duration

	Export  export.Stats
	Census  Census
	Forward forward.Stats
	Sockets transport.SocketStats
}

// Census is what is counted of endpoints now and then.
type Census struct {
	Largest                           int // conference
	Sizes, Talkers, Shown             Sizes
	ConferencesSilent, ConferencesP2P int // nobody sends; likewise, and they are two
	Visitors                          int
	SendingAudio, SendingVideo        int
	ReceiveOnly                       int           // where somebody sends
	Idle                              int           // in conferences where nobody does
	Inactive                          int           // of whom nothing came lately
	Oversending                       int           // that are sent more than they can take
	Suspended                         int           // that lack sources for want of bandwidth
	HighLoss                          int           // of more than a tenth of what they are sent
	RTT                               time.Duration // summed over RTTs endpoints
	RTTs                              int
	Unmatched                         uint64         // feedback about packets that were never sent, of those who are here
	Profiles                          map[string]int // SRTP profile: endpoints
}

// SizeBounds is how many sizes Sizes tells apart: 0, 1, … 20, more (JVB conferences_by_size).
const SizeBounds = 21

// Sizes is how many conferences are of which size.
type Sizes struct {
	Of  [SizeBounds + 1]uint64
	Sum uint64 // of the sizes
}

func (s *Sizes) note(size int) {
	s.Of[min(size, SizeBounds)]++
	s.Sum += uint64(size)
}

func (s *Sizes) add(o *Sizes) {
	for i, n := range o.Of {
		s.Of[i] += n
	}
	s.Sum += o.Sum
}

// add sums.
func (c *Census) add(o *Census) {
	c.Largest = max(c.Largest, o.Largest)
	c.Sizes.add(&o.Sizes)
	c.Talkers.add(&o.Talkers)
	c.Shown.add(&o.Shown)
	c.ConferencesSilent += o.ConferencesSilent
	c.ConferencesP2P += o.ConferencesP2P
	c.Visitors += o.Visitors
	c.SendingAudio += o.SendingAudio
	c.SendingVideo += o.SendingVideo
	c.ReceiveOnly += o.ReceiveOnly
	c.Idle += o.Idle
	c.Inactive += o.Inactive
	c.Oversending += o.Oversending
	c.Suspended += o.Suspended
	c.HighLoss += o.HighLoss
	c.Unmatched += o.Unmatched
	c.RTT += o.RTT
	c.RTTs += o.RTTs
	for p, n := range o.Profiles {
		c.Profiles[p] += n
	}
}

// AverageRTT is that of the endpoints of which it is known.
func (c *Census) AverageRTT() time.Duration {
	if c.RTTs == 0 {
		return 0
	}
	return c.RTT / time.Duration(c.RTTs)
}

// highLoss is what JVB calls high.
const highLoss = 0.1

// count takes the census of a conference. It looks at every endpoint, so not often.
func (c *Conference) count() {
	n := &Census{Largest: len(c.order), Profiles: map[string]int{}}
	senders := 0
	for _, ep := range c.order {
		audio, video := ep.fwd.Sending()
		if audio {
			n.SendingAudio++
		}
		if video {
			n.SendingVideo++
		}
		if audio || video {
			senders++
		}
		if ep.visitor {
			n.Visitors++
		}
		if ep.inactive {
			n.Inactive++
		}
		if ep.alloc.oversending {
			n.Oversending++
		}
		if ep.alloc.suspended > 0 {
			n.Suspended++
		}
		if rtt := ep.fwd.RTT(); rtt > 0 {
			n.RTT += time.Duration(rtt)
			n.RTTs++
		}
		st := ep.fwd.Stats()
		if sent, lost := st.OutExpected-ep.outExpected, st.OutLost-ep.outLost; sent > 0 && float64(lost) > highLoss*float64(sent) {
			n.HighLoss++
		}
		ep.outExpected, ep.outLost = st.OutExpected, st.OutLost
		n.Unmatched += ep.fwd.Bandwidth().State.Counts.Unsent
		if p := ep.transport.Profile(); p != "" {
			n.Profiles[p]++
		}
	}
	n.Sizes.note(len(c.order))
	n.Talkers.note(n.SendingAudio)
	n.Shown.note(n.SendingVideo)
	if senders > 0 {
		n.ReceiveOnly = len(c.order) - senders
	} else {
		n.Idle, n.ConferencesSilent = len(c.order), 1
		if len(c.order) == 2 {
			n.ConferencesP2P = 1
		}
	}
	c.census.Store(n)
}

// channelDelay is after how long an endpoint should have its channel (JVB).
const channelDelay = 30 * time.Second

// missChannel counts an endpoint that has none: it works without, but gets no video.
func (c *Conference) missChannel(ep *endpoint, at time.Time) {
	if ep.missed || ep.connected.IsZero() || at.Sub(ep.connected) < channelDelay {
		return
	}
	ep.missed = true
	if ep.ws == nil && !ep.sctp {
		c.s.counters.noChannel.Add(1)
		c.log.Info("no bridge channel", "endpoint", ep.id)
	}
}

// Stats is a snapshot of the counters.
func (s *Service) Stats() Stats {
	c := &s.counters
	st := Stats{
		ConferencesCreated: c.conferencesCreated.Load(), ConferencesCompleted: c.conferencesCompleted.Load(),
		ConferenceTime:   time.Duration(c.conferenceMillis.Load()) * time.Millisecond,
		EndpointsCreated: c.endpointsCreated.Load(), VisitorsCreated: c.visitorsCreated.Load(), EndpointsExpired: c.endpointsExpired.Load(),
		DataIn: c.dataIn.Load(), DataOut: c.dataOut.Load(), SocketIn: c.socketIn.Load(), SocketOut: c.socketOut.Load(),
		MessagesDropped: c.messagesDropped.Load(), MessagesQueueFull: c.queueFull.Load(), NoChannel: c.noChannel.Load(),
		SocketsEnded: c.socketEnds[channel.EndNormal].Load(), SocketsBroken: c.socketEnds[channel.EndBroken].Load(),
		SocketsEndedBadly: c.socketEnds[channel.EndAbnormal].Load() + c.socketEnds[channel.EndBroken].Load(),
		Disconnected:      c.disconnected.Load(), Reconnected: c.reconnected.Load(),
		ICESucceeded: c.iceSucceeded.Load(), ICERelayed: c.iceRelayed.Load(), ICEFailed: c.iceFailed.Load(),
		EndpointsICEFailed: c.endpointsICEFailed.Load(), EndpointsDTLSFailed: c.endpointsDTLSFailed.Load(),
		RestartsRejected: c.restartsRejected.Load(), RestartsEarly: c.restartsEarly.Load(),
		DominantChanges: c.dominantChanges.Load(), LastNChanges: c.lastNChanges.Load(),
		Overruns: c.overruns.Load(), Panics: c.panics.Load(), Export: c.export.Stats(),

		Joined: s.joined.Load(), Stress: s.load.level(), Steal: math.Float64frombits(s.load.steal.Load()), LastN: int(s.lastN.Load()) - 1,
		PacketsIn: s.load.packetsIn.Load(), PacketsOut: s.load.packetsOut.Load(),
		BitsIn: s.load.bitrateIn.Load(), BitsOut: s.load.bitrateOut.Load(),
		Drain: s.Draining(), State: s.State(), Healthy: s.Healthy() == nil,
		Forward: s.engine.Stats(), Sockets: s.sockets.Stats(),
		Census: Census{Profiles: map[string]int{}},
	}
	st.InLoss, st.OutLoss, st.Loss = s.load.losses()
	s.health.mu.Lock()
	st.HealthTests, st.HealthFail, st.HealthTook = s.health.tests, s.health.failed, s.health.took
	s.health.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Conferences = len(s.conferences)
	for _, conf := range s.conferences {
		st.Endpoints += int(conf.size.Load())
		if n := conf.census.Load(); n != nil {
			st.Census.add(n)
		}
	}
	return st
}
