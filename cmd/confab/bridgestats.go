package main

// What the bridge counts, for Prometheus and as the statistics of jitsi-videobridge.

import (
	"encoding/json"
	"math"
	"net/http"
	"runtime"
	"strings"
	"time"

	"confab/bridge"
	"confab/bridge/forward"
	"confab/bridge/transport"

	"github.com/prometheus/client_golang/prometheus"
)

// Prefixes of the bridge's metrics: ours, and that of jitsi-videobridge, under which
// those stand as well that it has, by the same name and with the same meaning
// (metrics.jitsi_names).
const (
	ourPrefix   = "confab_bridge_"
	jitsiPrefix = "jitsi_jvb_"
)

// jvbFigures are the metrics that jitsi-videobridge has as well, without a prefix; the
// names of counters end in _total as its exporter writes them.
func jvbFigures(b bridge.Stats) []figure {
	f, n := b.Forward, b.Census
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	return []figure{
		gauge("conferences", "Conferences.", float64(b.Conferences)),
		gauge("local_endpoints", "Endpoints.", float64(b.Endpoints)),
		gauge("current_endpoints", "Endpoints.", float64(b.Endpoints)),
		gauge("current_visitors", "Endpoints of visitors.", float64(n.Visitors)),
		gauge("largest_conference", "Endpoints of the largest conference.", float64(n.Largest)),
		counter("conferences_created_total", "Conferences ever created.", b.ConferencesCreated),
		counter("conferences_completed_total", "Conferences that are over.", b.ConferencesCompleted),
		counter("conference_seconds_total", "Duration of the conferences that are over.", uint64(b.ConferenceTime.Seconds())),
		counter("endpoints_total", "Endpoints ever created.", b.EndpointsCreated),
		counter("visitors_total", "Endpoints of visitors ever created.", b.VisitorsCreated),

		counter("packets_received_total", "Media packets received.", f.Received),
		counter("packets_sent_total", "Media packets sent.", f.Sent),
		counter("bytes_received_total", "Bytes of media packets received.", f.ReceivedBytes),
		counter("bytes_sent_total", "Bytes of media packets sent.", f.SentBytes),
		gauge("incoming_bitrate", "Bits of media received per second.", float64(b.BitsIn)),
		gauge("outgoing_bitrate", "Bits of media sent per second.", float64(b.BitsOut)),
		gauge("incoming_packet_rate", "Media packets received per second.", float64(b.PacketsIn)),
		gauge("outgoing_packet_rate", "Media packets sent per second.", float64(b.PacketsOut)),
		gauge("incoming_loss_fraction", "Fraction lost of what was sent to the bridge.", b.InLoss),
		gauge("outgoing_loss_fraction", "Fraction lost of what the bridge sent, as receivers report.", b.OutLoss),
		gauge("loss_fraction", "Fraction lost in both directions.", b.Loss),
		gauge("average_rtt", "Average round-trip time of the endpoints in milliseconds.", milliseconds(n.AverageRTT())),

		gauge("endpoints_sending_audio", "Endpoints that send audio.", float64(n.SendingAudio)),
		gauge("endpoints_sending_video", "Endpoints that send video.", float64(n.SendingVideo)),
		gauge("endpoints_recvonly", "Endpoints that send nothing where others do.", float64(n.ReceiveOnly)),
		gauge("endpoints_inactive", "Endpoints of conferences in which nobody sends.", float64(n.Idle)),
		gauge("active_endpoints", "Endpoints of conferences in which somebody sends.", float64(b.Endpoints-min(b.Endpoints, n.Idle))),
		gauge("endpoints_oversending", "Endpoints that are sent more than their network is found to carry.", float64(n.Oversending)),
		gauge("endpoints_with_suspended_sources", "Endpoints that lack videos for want of bandwidth.", float64(n.Suspended)),
		gauge("endpoints_with_high_outgoing_loss", "Endpoints that lose more than a tenth of what they are sent.", float64(n.HighLoss)),
		gauge("conferences_inactive", "Conferences in which nobody sends.", float64(n.ConferencesSilent)),
		gauge("conferences_p2p", "Conferences of two in which nobody sends: they talk to each other directly.", float64(n.ConferencesP2P)),

		gauge("tcc_unmatched_feedback", "Feedback about packets that were never sent.", float64(n.Unmatched)),

		counter("ice_succeeded_total", "Endpoints that connected.", b.ICESucceeded),
		counter("ice_succeeded_relayed_total", "Endpoints that connected through a relay.", b.ICERelayed),
		counter("ice_failed_total", "Times that the way to an endpoint failed.", b.ICEFailed),
		counter("endpoints_ice_failed_total", "Endpoints that never connected.", b.EndpointsICEFailed),
		counter("endpoints_dtls_failed_total", "Endpoints whose DTLS failed.", b.EndpointsDTLSFailed),
		counter("ice_restarts_started_total", "ICE restarts begun.", b.Sockets.Restarts.Started),
		counter("ice_restarts_succeeded_total", "ICE restarts that found a way.", b.Sockets.Restarts.Succeeded),
		counter("ice_restarts_failed_total", "ICE restarts that found none; the old way stays.", b.Sockets.Restarts.Failed),
		counter("ice_restarts_superseded_total", "ICE restarts in place of which came another.", b.Sockets.Restarts.Superseded),
		counter("ice_restarts_rejected_total", "ICE restarts asked for in vain.", b.RestartsRejected),
		counter("ice_restarts_not_established_total", "ICE restarts asked for before there was a way.", b.RestartsEarly),
		counter("endpoints_disconnected_total", "Times that an endpoint fell silent.", b.Disconnected),
		counter("endpoints_reconnected_total", "Times that one came back.", b.Reconnected),
		counter("endpoints_no_message_transport_after_delay_total", "Endpoints without a bridge channel half a minute after they connected.", b.NoChannel),

		counter("data_channel_messages_received_total", "Messages of data channels received.", b.DataIn),
		counter("data_channel_messages_sent_total", "Messages of data channels sent.", b.DataOut),
		counter("colibri_web_socket_messages_received_total", "Messages of bridge WebSockets received.", b.SocketIn),
		counter("colibri_web_socket_messages_sent_total", "Messages of bridge WebSockets sent.", b.SocketOut),
		counter("dominant_speaker_changes_total", "Times that another became the dominant speaker.", b.DominantChanges),
		counter("keyframes_received_total", "Key frames received.", f.Keyframes),
		counter("layering_changes_received_total", "Times that layers of a video came, went or changed size.", f.LayerChanges),
		counter("queue_dropped_packets_total", "Packets dropped because a worker was behind.", f.Overflow),

		gauge("stress", "Load, 1 is full.", b.Stress),
		gauge("healthy", "1 while the self-test of media works.", flag(b.Healthy)),
		gauge("drain_mode", "1 while other bridges are preferred.", flag(b.Drain)),
		gauge("graceful_shutdown", "1 while no new conferences are taken.", flag(b.State != bridge.Running)),
		gauge("shutting_down", "1 while everybody is moved away.", flag(b.State == bridge.ShuttingDown)),
		gauge("startup_time", "When the program was started, in milliseconds of Unix time.", float64(startTime.UnixMilli())),
	}
}

// startTime is when the program was started.
var startTime = time.Now()

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// bridgeFigures are all metrics of the bridge but histograms.
func bridgeFigures(b bridge.Stats, jitsi bool) []figure {
	var out []figure
	for _, f := range jvbFigures(b) {
		name := f.name
		f.name = ourPrefix + name
		out = append(out, f)
		if jitsi {
			f.name = jitsiPrefix + name
			out = append(out, f)
		}
	}
	f := b.Forward
	out = append(out,
		panicFigure("bridge", b.Panics+f.Panics+b.Sockets.Panics),
		counter("confab_bridge_overruns_total", "Conferences ended because their mailbox was full.", b.Overruns),
		counter("confab_bridge_messages_dropped_total", "Messages of the bridge channel that could not be read or sent.", b.MessagesDropped),
		gauge("confab_bridge_load_last_n", "Videos per receiver while the machine is full; -1 no limit.", float64(b.LastN)),
		counter("confab_bridge_load_last_n_changes_total", "Times that load changed this.", b.LastNChanges),
		gauge("confab_bridge_endpoints_silent", "Endpoints of which nothing came lately.", float64(b.Census.Inactive)),
		counter("confab_bridge_self_tests_total", "Self-tests of media.", b.HealthTests),
		counter("confab_bridge_self_tests_failed_total", "Self-tests of media that failed.", b.HealthFail),
		gauge("confab_bridge_self_test_seconds", "Duration of the last self-test.", b.HealthTook.Seconds()),
		counter("confab_bridge_packets_malformed_total", "Packets that were no RTP or RTCP.", f.Malformed),
		counter("confab_bridge_packets_unknown_total", "Packets with an SSRC or payload type that nobody signalled.", f.Unknown),
		counter("confab_bridge_packets_foreign_total", "Packets with an SSRC of somebody else.", f.Foreign),
		counter("confab_bridge_packets_duplicate_total", "Packets that came twice.", f.Duplicates),
		counter("confab_bridge_packets_discarded_total", "Packets not to be forwarded: muted, silent, too quiet, padding.", f.Discarded),
		counter("confab_bridge_packets_lost_total", "Packets of video lost on the way from senders.", f.Lost),
		counter("confab_bridge_packets_overflow_total", "Packets dropped because a worker was behind.", f.Overflow),
		counter("confab_bridge_packets_unsent_total", "Packets that the kernel did not take.", b.Sockets.Unsent),
		counter("confab_bridge_excess_total", "Audio, RTCP packets and requests above what one endpoint may send.", f.Excess),
		counter("confab_bridge_rtcp_ignored_total", "RTCP packets of kinds that mean nothing here.", f.Ignored),
		counter("confab_bridge_nack_total", "Retransmissions asked of senders.", f.NacksSent),
		counter("confab_bridge_retransmitted_total", "Packets sent again to receivers.", f.Retransmitted),
		counter("confab_bridge_recovered_total", "Audio packets taken out of redundancy.", f.Recovered),
		counter("confab_bridge_pli_total", "Key frames asked of senders.", f.KeyframesAsked),
		counter("confab_bridge_receive_overflow_total", "Datagrams for which the sockets' buffers had no room (net.core.rmem_max).", b.Sockets.Overflows),
	)
	for profile, n := range b.Census.Profiles {
		out = append(out, gauge("confab_bridge_srtp_endpoints", "Endpoints by the profile of their media encryption.", float64(n), profile))
	}
	return append(out, socketFigures(b.Sockets)...)
}

// socketFigures tell an attack on the media port from a bad network.
func socketFigures(st transport.SocketStats) []figure {
	var out []figure
	for reason, n := range map[string]uint64{
		"oversize": st.Oversize, "garbage": st.Garbage, "stranger": st.Strangers, "unknown_ufrag": st.UnknownUfrag,
		"unauthenticated": st.Unauthenticated, "queue_full": st.QueueFull,
	} {
		out = append(out, counter("confab_bridge_datagrams_dropped_total", "Datagrams to the media port that reached no participant.", n, reason))
	}
	const relayed = "Packets exchanged in memory with participants behind the relay of the same process."
	return append(out, counter("confab_bridge_relay_packets_total", relayed, st.ToRelay, "to_relay"),
		counter("confab_bridge_relay_packets_total", relayed, st.FromRelay, "from_relay"))
}

// bridgeHistograms are how long packets stay in the bridge, and how many leave in one
// piece.
func bridgeHistograms(b bridge.Stats) []prometheus.Metric {
	transit := map[float64]uint64{}
	var count uint64
	for i, n := range b.Forward.Transit {
		count += n
		if i < len(forward.TransitBounds) {
			transit[forward.TransitBounds[i].Seconds()] = count
		}
	}
	runs := map[float64]uint64{}
	var sends uint64
	for i, n := range b.Sockets.Runs {
		sends += n
		runs[math.Exp2(float64(i))] = sends
	}
	return []prometheus.Metric{
		prometheus.MustNewConstHistogram(prometheus.NewDesc("confab_bridge_transit_seconds",
			"Time of media packets between the socket and the sockets.", nil, nil), count, b.Forward.TransitSum.Seconds(), transit),
		prometheus.MustNewConstHistogram(prometheus.NewDesc("confab_bridge_send_run_packets",
			"Packets that went to the kernel as one.", nil, nil), sends, float64(b.Forward.Sent), runs),
	}
}

// stockStats are the statistics of jitsi-videobridge that have a meaning here, by its
// keys: /colibri/stats.
func stockStats(b bridge.Stats) map[string]any {
	f, n := b.Forward, b.Census
	return map[string]any{
		"incoming_loss": b.InLoss, "outgoing_loss": b.OutLoss, "overall_loss": b.Loss,
		"bit_rate_download": b.BitsIn / 1000, "bit_rate_upload": b.BitsOut / 1000,
		"packet_rate_download": b.PacketsIn, "packet_rate_upload": b.PacketsOut,
		"rtt_aggregate": milliseconds(n.AverageRTT()),
		"conferences":   b.Conferences, "largest_conference": n.Largest,
		"inactive_conferences": n.ConferencesSilent, "p2p_conferences": n.ConferencesP2P,
		"endpoints": b.Endpoints, "local_endpoints": b.Endpoints, "participants": b.Endpoints, "visitors": n.Visitors,
		"local_active_endpoints": b.Endpoints - min(b.Endpoints, n.Idle), "inactive_endpoints": n.Idle, "receive_only_endpoints": n.ReceiveOnly,
		"endpoints_sending_audio": n.SendingAudio, "endpoints_sending_video": n.SendingVideo,
		"num_eps_oversending": n.Oversending, "endpoints_with_suspended_sources": n.Suspended, "endpoints_with_high_outgoing_loss": n.HighLoss, "tcc_unmatched_feedback": n.Unmatched,
		"endpoints_disconnected": b.Disconnected, "endpoints_reconnected": b.Reconnected,
		"endpoints_ice_failed": b.EndpointsICEFailed, "dtls_failed_endpoints": b.EndpointsDTLSFailed,
		"num_eps_no_msg_transport_after_delay": b.NoChannel,
		"total_conferences_created":            b.ConferencesCreated, "total_conferences_completed": b.ConferencesCompleted,
		"total_conference_seconds": int64(b.ConferenceTime.Seconds()),
		"total_participants":       b.EndpointsCreated, "total_visitors": b.VisitorsCreated,
		"total_keyframes_received": f.Keyframes, "total_layering_changes_received": f.LayerChanges,
		"total_bytes_received": f.ReceivedBytes, "total_bytes_sent": f.SentBytes,
		"total_packets_received": f.Received, "total_packets_sent": f.Sent,
		"total_data_channel_messages_received": b.DataIn, "total_data_channel_messages_sent": b.DataOut,
		"total_colibri_web_socket_messages_received": b.SocketIn, "total_colibri_web_socket_messages_sent": b.SocketOut,
		"total_dominant_speaker_changes": b.DominantChanges,
		"total_ice_succeeded":            b.ICESucceeded, "total_ice_succeeded_relayed": b.ICERelayed, "total_ice_failed": b.ICEFailed,
		"stress_level": b.Stress, "average_participant_stress": bridge.AverageStress,
		"threads":           runtime.NumGoroutine(),
		"graceful_shutdown": b.State != bridge.Running,
		"shutting_down":     b.State == bridge.ShuttingDown,
		"drain":             b.Drain,
		"healthy":           b.Healthy,
		"version":           version(),
		"relay_id":          bridgeID,
		"current_timestamp": time.Now().UTC().Format("2006-01-02 15:04:05.000"),
	}
}

// bridgeHandlers are the pages of the admin listener that jitsi-videobridge has.
func (s *server) bridgeHandlers() map[string]http.Handler {
	stats := answerJSON(func() any { return stockStats(s.bridge.Stats()) })
	name, number, _ := strings.Cut(version(), " ")
	return map[string]http.Handler{
		"GET /colibri/stats": stats,
		"GET /stats":         stats,
		"GET /about/version": answerJSON(func() any {
			return map[string]string{"name": name, "version": number, "os": runtime.GOOS}
		}),
	}
}

func answerJSON(body func() any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(body()) // a reader that went away has no use for the error
	})
}
