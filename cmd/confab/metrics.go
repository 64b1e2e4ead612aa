package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"confab/bridge"
	"confab/extdisco/relay"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// collector turns the counters of all parts into metrics when they are asked
// for: nothing is counted twice, and no path pays for labels.
type collector struct{ s *server }

// figure is one metric.
type figure struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
	label      string   // value of the metric's one label, if it has one
	stats      []string // its names among the statistics of jitsi-videobridge
	stock      string   // its name among the metrics of jicofo, without prefix
}

// in has the figure among the statistics of jitsi-videobridge, under these names.
func (f figure) in(stats ...string) figure {
	f.stats = stats
	return f
}

// as has the figure among the metrics of jicofo, under this name.
func (f figure) as(stock string) figure {
	f.stock = stock
	return f
}

// labelled are the metrics with a label.
var labelled = map[string]string{"confab_sessions": "transport", "confab_stanzas_total": "dir", "confab_turn_bytes_total": "dir", "confab_turn_packets_total": "dir", "confab_turn_dropped_total": "reason",
	"confab_turn_allocations": "transport", "confab_turn_refused_total": "code", "confab_turn_server_up": "server", "confab_bridge_srtp_endpoints": "profile",
	"confab_side_rooms": "service", "confab_side_occupants": "service", "confab_bridge_datagrams_dropped_total": "reason",
	"confab_bridge_relay_packets_total": "direction", "confab_panics_total": "component",
	"confab_jingle_sent_total": "action", "confab_jingle_received_total": "action", "confab_recordings_active": "mode", "confab_recording_failures_total": "mode",
	"confab_bridge_endpoints_placed": "jvb", "confab_bridge_restart_requests_total": "jvb", "jitsi_jicofo_bridge_endpoints": "jvb", "jitsi_jicofo_bridge_restart_requests_total": "jvb"}

// newRegistry returns a registry of our figures and those of the process: its
// memory, files, processor time and goroutines.
func newRegistry(ours prometheus.Collector) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		ours, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func newCollector(s *server) *collector { return &collector{s} }

// Describe implements prometheus.Collector; a collector without descriptions is
// unchecked, and its metrics are named when they are made.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	b := c.s.bridge.Stats()
	for _, m := range bridgeHistograms(b, c.s.now().Metrics.JitsiNames) {
		out <- m
	}
	collect(out, c.figures(b))
}

func collect(out chan<- prometheus.Metric, figures []figure) {
	for _, f := range figures {
		var labels, values []string
		if l := labelled[f.name]; l != "" {
			labels, values = []string{l}, []string{f.label}
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(f.name, f.help, labels, nil), f.kind, f.value, values...)
	}
}

func gauge(name, help string, v float64, label ...string) figure {
	return figure{name: name, help: help, kind: prometheus.GaugeValue, value: v, label: append(label, "")[0]}
}

func counter(name, help string, v uint64, label ...string) figure {
	return figure{name: name, help: help, kind: prometheus.CounterValue, value: float64(v), label: append(label, "")[0]}
}

func (c *collector) figures(b bridge.Stats) []figure {
	x, m, f := c.s.sessions.Stats(), c.s.rooms.Stats(), c.s.focus.Stats()
	out := []figure{
		gauge("confab_sessions_detached", "Sessions that wait to be resumed.", float64(x.Detached)),
		counter("confab_stanzas_total", "Stanzas of clients.", x.StanzasIn, "in"),
		counter("confab_stanzas_total", "Stanzas of clients.", x.StanzasOut, "out"),
		counter("confab_auth_failures_total", "Refused logins.", x.AuthFailures),
		counter("confab_outqueue_overflow_total", "Connections closed because their client was too slow.", x.Overflows),
		counter("confab_resumptions_total", "Sessions resumed after a lost connection.", x.Resumed),
		gauge("confab_rooms", "Rooms.", float64(m.Rooms)),
		gauge("confab_occupants", "Occupants of rooms.", float64(m.Occupants)),
		gauge("confab_joins_parked", "Joins that wait for the focus or their turn.", float64(m.Parked)),
	}
	for transport, n := range x.Connected {
		out = append(out, gauge("confab_sessions", "Connected sessions.", float64(n), transport))
	}
	for _, side := range c.s.sides {
		st := side.Stats()
		service, _, _ := strings.Cut(side.Domain().Domain, ".")
		out = append(out, gauge("confab_side_rooms", "Rooms beside the main one of a meeting, such as breakout rooms.", float64(st.Rooms), service),
			gauge("confab_side_occupants", "Occupants of rooms beside the main one.", float64(st.Occupants), service))
		m.Panics += st.Panics
	}
	jitsi := c.s.now().Metrics.JitsiNames
	out = append(out, withStockNames(focusFigures(f, c.s.ready() == nil), jitsi)...)
	out = append(out, bridgeFigures(b, jitsi)...)
	out = append(out, panicFigure("xmpp", x.Panics), panicFigure("muc", uint64(m.Panics)),
		panicFigure("focus", uint64(f.Panics)))
	if c.s.files != nil {
		n, bytes := c.s.files.Stats()
		out = append(out, gauge("confab_shared_files", "Files that meetings share.", float64(n)),
			gauge("confab_shared_files_bytes", "Bytes of them on disk.", float64(bytes)))
	}
	if c.s.queue != nil {
		out = append(out, gauge("confab_visitors_waiting", "Visitors who wait for a meeting to go live.", float64(c.s.queue.Waiting())))
	}
	if c.s.boards != nil {
		boards, sockets := c.s.boards.Stats()
		out = append(out, gauge("confab_whiteboards", "Whiteboards of meetings.", float64(boards)),
			gauge("confab_whiteboard_sockets", "Connections to whiteboards.", float64(sockets)))
	}
	out = append(append(out, c.s.logs.figures()...), c.s.guards.figures()...)
	if c.s.relays != nil {
		for _, st := range c.s.relays.States() {
			out = append(out, gauge("confab_turn_server_up", "STUN and TURN servers elsewhere that clients are told of (1) or that don't answer (0).", map[bool]float64{true: 1}[st.Up], st.Name))
		}
	}
	if c.s.relay != nil {
		out = append(out, relayFigures(c.s.relay.Stats())...)
	}
	return out
}

func relayFigures(r relay.Stats) []figure {
	const dropped, help = "confab_turn_dropped_total", "Packets dropped by the relay, by reason."
	out := []figure{
		counter("confab_turn_allocations_total", "TURN allocations made.", r.Created),
		counter("confab_stun_bindings_total", "STUN Binding requests answered.", r.Bindings),
		counter("confab_turn_packets_total", "Packets relayed.", r.PacketsToPeers, "to_peers"),
		counter("confab_turn_packets_total", "Packets relayed.", r.PacketsFromPeers, "from_peers"),
		counter("confab_turn_bytes_total", "Bytes relayed.", r.BytesToPeers, "to_peers"),
		counter("confab_turn_bytes_total", "Bytes relayed.", r.BytesFromPeers, "from_peers"),
		counter(dropped, help, r.RefusedPeer, "refused_peer"),
		counter(dropped, help, r.OverRate, "over_rate"),
		counter(dropped, help, r.Unallocated, "no_allocation"),
		counter(dropped, help, r.Unbound, "no_channel"),
		counter(dropped, help, r.Unpermitted, "no_permission"),
		counter(dropped, help, r.QueueDrops, "slow_client"),
		counter(dropped, help, r.Garbage, "garbage"),
		counter("confab_turn_unanswered_total", "Requests of strangers left without an answer, and connections refused: over the rate.", r.OverBudget),
		counter("confab_turn_bad_credentials_total", "Requests with a wrong or expired credential.", r.BadCredential),
		gauge("confab_turn_pending", "Connections to the relay whose client has shown no credential.", float64(r.Pending)),
		counter("confab_turn_over_quota_total", "Allocations refused by quota.", r.OverQuota),
		panicFigure("turn", r.Panics),
	}
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		out = append(out, gauge("confab_turn_allocations", "Live TURN allocations, by the client's transport.", float64(r.ByTransport[transport]), transport))
	}
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		out = append(out, counter("confab_turn_refused_total", "Requests answered with an error, by code.", r.Refused[code], strconv.Itoa(code)))
	}
	return out
}

// panicFigure has the name and the help of the one that web counts itself.
func panicFigure(component string, n uint64) figure {
	return counter("confab_panics_total", "Panics recovered.", n, component)
}
