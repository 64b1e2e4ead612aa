// Package bridge is the SFU: it forwards media between participants without
// decoding it. This package is its control; the packet path is in the
// directories below it.
//
// Rules of this package:
//   - The only way in is colibri2, as IQs to the bridge's occupant in the brewery
//     (bridge.md §3): the built-in focus and a stock jicofo drive it alike.
//   - A Conference's state is touched by its own goroutine only; requests to one
//     conference are answered in order of arrival.
//   - Nothing on that goroutine waits. Closing transports does, so the Service
//     closes them elsewhere and waits for that when it ends.
//   - It imports no other part of the server but the stanza core and the codecs.
package bridge

import (
	"time"

	"confab/bridge/alloc"
	"confab/bridge/channel"
	"confab/xmpp"
)

// Config is the control's configuration; transport and packet path have their own.
type Config struct {
	// ID names the bridge: its nick in the brewery and the server id in the URLs
	// of the bridge channel.
	ID      string
	JID     xmpp.JID // full address of its port
	Brewery xmpp.JID // bare address of the room
	Region  string
	Version string

	// ChannelURL is what the URLs of the bridge channel begin with, up to and
	// including /colibri-ws; "" offers none.
	ChannelURL string
	Channel    channel.Limits

	// Alloc has the numbers of the allocation.
	Alloc alloc.Config
	// TrustBWE lets estimates of receivers' networks bound what they are sent.
	TrustBWE bool

	StatsInterval time.Duration // between presences in the brewery
	RejoinDelay   time.Duration // before the brewery is tried again
	// IdleTimeout ends an endpoint without RTP, RTCP or consent; one that never
	// had any gets twice as long (bridge.md §19).
	IdleTimeout time.Duration
	// ConferenceGrace is how long a conference without endpoints lives.
	ConferenceGrace time.Duration
	// InactiveAfter and InactiveNever are the silences after which others are told
	// that an endpoint is not reachable: of one that was, of one that never was.
	InactiveAfter, InactiveNever time.Duration
	// SuspendAfter is how long nobody must want a source before its sender is told
	// to stop encoding it.
	SuspendAfter time.Duration

	// VideoSlots and AudioSlots are how many SSRCs a receiver that takes part in
	// SSRC rewriting gets (JVB: ssrc-limit).
	VideoSlots, AudioSlots int

	MaxConferences int
	MaxEndpoints   int // of one conference
	// MaxMessages bounds the messages of an endpoint that wait to be processed.
	MaxMessages int
	// MessageRate and BroadcastRate are how many messages a second an endpoint may
	// send over its channel, and of these to everybody, where one counts for every
	// 4 KiB and every 100 receivers begun. Bursts may be twice and five times as long;
	// what is above is dropped, but a few messages to everybody wait for their turn.
	MessageRate, BroadcastRate int
	// MaxCPU is the share of the machine's CPUs that counts as full load, MaxPackets
	// the packets a second of both directions that do, MaxEgress the bits a second; 0
	// for the last two: they don't count.
	MaxCPU                float64
	MaxPackets, MaxEgress int
	// ReduceLastN has everybody get fewer videos while the load is full.
	ReduceLastN bool
	// LastNLimits bounds last-N by the size of a conference: for conferences with so
	// many video sources less one or more, and -1 for no bound.
	LastNLimits map[int]int

	// ExportHosts are the hosts, with their ports where URLs have one, of services that
	// conferences may be connected to.
	ExportHosts []string

	// HealthInterval separates self-tests, of which each may take HealthTimeout; 0:
	// none.
	HealthInterval, HealthTimeout time.Duration
	// InitialDrain has the bridge drain from the start.
	InitialDrain bool
	// ShutdownParticipants is how few endpoints end a graceful shutdown, which takes no
	// longer than ShutdownMax. After it everybody has ShutdownDelay to be moved away.
	ShutdownParticipants       int
	ShutdownMax, ShutdownDelay time.Duration
}

// DefaultConfig has the defaults of the [bridge] table.
func DefaultConfig() Config {
	return Config{
		Channel: channel.DefaultLimits, Alloc: alloc.DefaultConfig(), TrustBWE: true,

		StatsInterval: 5 * time.Second, RejoinDelay: 2 * time.Second,
		IdleTimeout: 60 * time.Second, ConferenceGrace: 20 * time.Second,
		InactiveAfter: 8 * time.Second, InactiveNever: 15 * time.Second, SuspendAfter: time.Second,
		VideoSlots: 50, AudioSlots: 50,
		MaxConferences: 10_000, MaxEndpoints: 1000, MaxMessages: 50, MessageRate: 100, BroadcastRate: 10,
		MaxCPU: 0.9, ReduceLastN: true,
		HealthInterval: time.Minute, HealthTimeout: 5 * time.Second,
		ShutdownMax: 24 * time.Hour, ShutdownDelay: time.Minute,
	}
}

const (
	mailboxLimit = 8192
	// levelPeriod is how often audio levels are handed to the speaker detection.
	levelPeriod = 40 * time.Millisecond
	// quietPeriod is how often while none come.
	quietPeriod = 200 * time.Millisecond
	// layersPeriod is the least time between two looks at changed layers.
	layersPeriod = 20 * time.Millisecond
	// checkPeriod is how often reachability and expiry are looked at.
	checkPeriod = 500 * time.Millisecond
	// allocatePeriod is the longest time between two allocations of a receiver. It
	// is shorter than JVB's 5 s, because measured rates change: one takes some µs.
	allocatePeriod = time.Second
	// recentVoices is for how long a voice that was heard is worth a slot when a
	// client arrives.
	recentVoices = 30 * time.Second
	// recentSpeakers are listed besides the dominant one.
	recentSpeakers = 10
)
