package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"confab/bridge"
	"confab/bridge/forward"
	"confab/bridge/transport"
	"confab/extdisco/relay"
	"confab/focus"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsOfTheProcess(t *testing.T) {
	t.Parallel()
	ours := prometheus.NewGauge(prometheus.GaugeOpts{Name: "confab_test", Help: "Ours."})
	r, err := newRegistry(ours)
	if err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"confab_test", "go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among %v", want, names)
		}
	}
}

// Two figures of one name differ in their label, which has a name.
func TestFiguresAreDistinct(t *testing.T) {
	t.Parallel()
	list := slices.Concat(relayFigures(relay.Stats{}), withStockNames(focusFigures(focus.Stats{OnBridge: []focus.OnBridge{{Bridge: "b"}}}, true), true),
		bridgeFigures(bridge.Stats{}, true), []figure{panicFigure("xmpp", 0), panicFigure("muc", 0)})
	seen := map[[2]string]bool{}
	for _, f := range list {
		key := [2]string{f.name, f.label}
		if seen[key] || (f.label != "") != (labelled[f.name] != "") {
			t.Errorf("%s %q", f.name, f.label)
		}
		seen[key] = true
	}
}

// A panic about a packet is one of the bridge's.
func TestPanicsOfThePacketPath(t *testing.T) {
	t.Parallel()
	var n float64
	for _, f := range bridgeFigures(bridge.Stats{Panics: 1, Forward: forward.Stats{Panics: 2}, Sockets: transport.SocketStats{Panics: 4}}, false) {
		if f.name == "confab_panics_total" && f.label == "bridge" {
			n += f.value
		}
	}
	if n != 7 {
		t.Errorf("%v panics", n)
	}
}

// Dashboards made for jitsi-videobridge find what they ask for, under its names and
// under ours, unless its names are switched off (bridge.md §20).
func TestNamesOfTheStockBridge(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range bridgeFigures(bridge.Stats{}, true) {
		names[f.name] = true
	}
	for _, want := range []string{
		"conferences", "local_endpoints", "current_visitors", "packets_received_total", "packets_sent_total", "bytes_received_total",
		"bytes_sent_total", "incoming_bitrate", "outgoing_bitrate", "incoming_packet_rate", "outgoing_packet_rate", "incoming_loss_fraction",
		"outgoing_loss_fraction", "loss_fraction", "average_rtt", "stress", "endpoints_ice_failed_total", "endpoints_dtls_failed_total",
		"endpoints_no_message_transport_after_delay_total", "ice_succeeded_total", "ice_succeeded_relayed_total", "ice_failed_total",
		"ice_restarts_started_total", "ice_restarts_succeeded_total", "ice_restarts_failed_total", "ice_restarts_superseded_total",
		"ice_restarts_rejected_total", "ice_restarts_not_established_total", "keyframes_received_total", "layering_changes_received_total",
		"dominant_speaker_changes_total", "endpoints_oversending", "endpoints_with_suspended_sources", "queue_dropped_packets_total", "tcc_unmatched_feedback",
		"healthy", "drain_mode", "graceful_shutdown", "shutting_down",
	} {
		if !names["confab_bridge_"+want] || !names["jitsi_jvb_"+want] {
			t.Errorf("%s: ours %v, stock %v", want, names["confab_bridge_"+want], names["jitsi_jvb_"+want])
		}
	}
	for _, f := range bridgeFigures(bridge.Stats{}, false) {
		if strings.HasPrefix(f.name, jitsiPrefix) {
			t.Errorf("%s though switched off", f.name)
		}
	}
}

// Figures arrive under the right name: each field of the bridge's statistics has a
// value of its own here.
func TestBridgeFigures(t *testing.T) {
	t.Parallel()
	b := bridge.Stats{Conferences: 2, Endpoints: 7, Stress: 0.5, BitsIn: 11_000, BitsOut: 23_000, InLoss: 0.25, Drain: true, Healthy: true,
		State: bridge.GracefulShutdown, ICEFailed: 31, EndpointsICEFailed: 32, EndpointsDTLSFailed: 33, ConferenceTime: 90 * time.Second}
	b.Census.RTT, b.Census.RTTs, b.Census.Idle = 60*time.Millisecond, 2, 3
	b.Census.Profiles = map[string]int{"GCM": 4}
	b.Forward.Received, b.Forward.Sent = 41, 42
	b.Forward.Transit[0], b.Forward.Transit[2], b.Forward.Transit[len(b.Forward.Transit)-1] = 5, 6, 1
	b.Sockets.Runs[0], b.Sockets.Runs[3] = 8, 9
	b.Sockets.ToRelay, b.Sockets.FromRelay = 51, 52
	got := map[string]float64{}
	for _, f := range bridgeFigures(b, true) {
		got[f.name+f.label] = f.value
	}
	for name, want := range map[string]float64{
		"jitsi_jvb_conferences": 2, "jitsi_jvb_local_endpoints": 7, "jitsi_jvb_stress": 0.5, "jitsi_jvb_incoming_bitrate": 11_000,
		"jitsi_jvb_outgoing_bitrate": 23_000, "jitsi_jvb_incoming_loss_fraction": 0.25, "jitsi_jvb_average_rtt": 30, "jitsi_jvb_drain_mode": 1,
		"jitsi_jvb_healthy": 1, "jitsi_jvb_graceful_shutdown": 1, "jitsi_jvb_shutting_down": 0, "jitsi_jvb_ice_failed_total": 31,
		"jitsi_jvb_endpoints_ice_failed_total": 32, "jitsi_jvb_endpoints_dtls_failed_total": 33, "jitsi_jvb_packets_received_total": 41,
		"jitsi_jvb_packets_sent_total": 42, "jitsi_jvb_conference_seconds_total": 90, "jitsi_jvb_active_endpoints": 4,
		"confab_bridge_srtp_endpointsGCM": 4, "confab_bridge_relay_packets_totalto_relay": 51, "confab_bridge_relay_packets_totalfrom_relay": 52,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	stats := stockStats(b)
	for key, want := range map[string]any{
		"conferences": 2.0, "endpoints": 7.0, "stress_level": 0.5, "bit_rate_download": uint64(11), "rtt_aggregate": 30.0, "drain": true,
		"graceful_shutdown": true, "shutting_down": false, "dtls_failed_endpoints": 33.0, "total_packets_sent": 42.0, "total_conference_seconds": 90.0,
	} {
		if stats[key] != want {
			t.Errorf("%s is %v, want %v", key, stats[key], want)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(metricsOf(bridgeHistograms(b, true)))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		h := f.GetMetric()[0].GetHistogram()
		switch f.GetName() {
		case "confab_bridge_transit_seconds":
			if h.GetSampleCount() != 12 || h.GetBucket()[0].GetCumulativeCount() != 5 || h.GetBucket()[2].GetCumulativeCount() != 11 || h.GetBucket()[2].GetUpperBound() != 0.0005 {
				t.Errorf("%v", h)
			}
		case "confab_bridge_send_run_packets":
			if h.GetSampleCount() != 17 || h.GetBucket()[0].GetCumulativeCount() != 8 || h.GetBucket()[3].GetCumulativeCount() != 17 || h.GetBucket()[3].GetUpperBound() != 8 {
				t.Errorf("%v", h)
			}
		}
	}
	if len(families) != 2+2*4 {
		t.Errorf("%d histograms", len(families))
	}
}

// metricsOf collects what is given.
type metricsOf []prometheus.Metric

func (m metricsOf) Describe(chan<- *prometheus.Desc) {}

func (m metricsOf) Collect(out chan<- prometheus.Metric) {
	for _, x := range m {
		out <- x
	}
}
