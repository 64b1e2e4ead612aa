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

// jvbFigures are the metrics that jitsi-videobridge has as well, without a prefix, and
// the names of the same in its statistics; the names of counters end in _total as its
// exporter writes them.
func jvbFigures(b bridge.Stats) []figure {
	f, n := b.Forward, b.Census
	return []figure{
		gauge("conferences", "Conferences.", float64(b.Conferences)).in("conferences"),
		gauge("local_endpoints", "Endpoints.", float64(b.Endpoints)).in("endpoints", "local_endpoints", "participants"),
		gauge("current_endpoints", "Endpoints.", float64(b.Endpoints)),
		gauge("current_visitors", "Endpoints of visitors.", float64(n.Visitors)).in("visitors"),
		gauge("largest_conference", "Endpoints of the largest conference.", float64(n.Largest)).in("largest_conference"),
		counter("conferences_created_total", "Conferences ever created.", b.ConferencesCreated).in("total_conferences_created"),
		counter("conferences_completed_total", "Conferences that are over.", b.ConferencesCompleted).in("total_conferences_completed"),
		counter("conference_seconds_total", "Duration of the conferences that are over.", uint64(b.ConferenceTime.Seconds())).in("total_conference_seconds"),
		counter("endpoints_total", "Endpoints ever created.", b.EndpointsCreated).in("total_participants"),
		counter("visitors_total", "Endpoints of visitors ever created.", b.VisitorsCreated).in("total_visitors"),

		counter("packets_received_total", "Media packets received.", f.Received).in("total_packets_received"),
		counter("packets_sent_total", "Media packets sent.", f.Sent).in("total_packets_sent"),
		counter("bytes_received_total", "Bytes of media packets received.", f.ReceivedBytes).in("total_bytes_received"),
		counter("bytes_sent_total", "Bytes of media packets sent.", f.SentBytes).in("total_bytes_sent"),
		gauge("incoming_bitrate", "Bits of media received per second.", float64(b.BitsIn)),
		gauge("outgoing_bitrate", "Bits of media sent per second.", float64(b.BitsOut)),
		gauge("incoming_packet_rate", "Media packets received per second.", float64(b.PacketsIn)).in("packet_rate_download"),
		gauge("outgoing_packet_rate", "Media packets sent per second.", float64(b.PacketsOut)).in("packet_rate_upload"),
		gauge("incoming_loss_fraction", "Fraction lost of what was sent to the bridge.", b.InLoss).in("incoming_loss"),
		gauge("outgoing_loss_fraction", "Fraction lost of what the bridge sent, as receivers report.", b.OutLoss).in("outgoing_loss"),
		gauge("loss_fraction", "Fraction lost in both directions.", b.Loss).in("overall_loss"),
		gauge("average_rtt", "Average round-trip time of the endpoints in milliseconds.", milliseconds(n.AverageRTT())).in("rtt_aggregate"),

		gauge("endpoints_sending_audio", "Endpoints that send audio.", float64(n.SendingAudio)).in("endpoints_sending_audio"),
		gauge("endpoints_sending_video", "Endpoints that send video.", float64(n.SendingVideo)).in("endpoints_sending_video"),
		gauge("endpoints_recvonly", "Endpoints that send nothing where others do.", float64(n.ReceiveOnly)).in("receive_only_endpoints"),
		gauge("endpoints_inactive", "Endpoints of conferences in which nobody sends.", float64(n.Idle)).in("inactive_endpoints"),
		gauge("active_endpoints", "Endpoints of conferences in which somebody sends.", float64(b.Endpoints-min(b.Endpoints, n.Idle))).in("local_active_endpoints"),
		gauge("endpoints_oversending", "Endpoints that are sent more than their network is found to carry.", float64(n.Oversending)).in("num_eps_oversending"),
		gauge("endpoints_with_suspended_sources", "Endpoints that lack videos for want of bandwidth.", float64(n.Suspended)).in("endpoints_with_suspended_sources"),
		gauge("endpoints_with_high_outgoing_loss", "Endpoints that lose more than a tenth of what they are sent.", float64(n.HighLoss)).in("endpoints_with_high_outgoing_loss"),
		gauge("conferences_inactive", "Conferences in which nobody sends.", float64(n.ConferencesSilent)).in("inactive_conferences"),
		gauge("conferences_p2p", "Conferences of two in which nobody sends: they talk to each other directly.", float64(n.ConferencesP2P)).in("p2p_conferences"),

		gauge("tcc_unmatched_feedback", "Feedback about packets that were never sent.", float64(n.Unmatched)).in("tcc_unmatched_feedback"),

		counter("ice_succeeded_total", "Endpoints that connected.", b.ICESucceeded).in("total_ice_succeeded"),
		counter("ice_succeeded_relayed_total", "Endpoints that connected through a relay.", b.ICERelayed).in("total_ice_succeeded_relayed"),
		counter("ice_failed_total", "Times that the way to an endpoint failed.", b.ICEFailed).in("total_ice_failed"),
		counter("endpoints_ice_failed_total", "Endpoints that never connected.", b.EndpointsICEFailed).in("endpoints_ice_failed"),
		counter("endpoints_dtls_failed_total", "Endpoints whose DTLS failed.", b.EndpointsDTLSFailed).in("dtls_failed_endpoints"),
		counter("ice_restarts_started_total", "ICE restarts begun.", b.Sockets.Restarts.Started),
		counter("ice_restarts_succeeded_total", "ICE restarts that found a way.", b.Sockets.Restarts.Succeeded),
		counter("ice_restarts_failed_total", "ICE restarts that found none; the old way stays.", b.Sockets.Restarts.Failed),
		counter("ice_restarts_superseded_total", "ICE restarts in place of which came another.", b.Sockets.Restarts.Superseded),
		counter("ice_restarts_agent_creation_failed_total", "ICE restarts for which there were no means.", b.Sockets.Restarts.Unmade),
		counter("ice_restarts_rejected_total", "ICE restarts asked for in vain.", b.RestartsRejected),
		counter("ice_restarts_not_established_total", "ICE restarts asked for before there was a way.", b.RestartsEarly),
		counter("endpoints_disconnected_total", "Times that an endpoint fell silent.", b.Disconnected).in("endpoints_disconnected"),
		counter("endpoints_reconnected_total", "Times that one came back.", b.Reconnected).in("endpoints_reconnected"),
		counter("endpoints_no_message_transport_after_delay_total", "Endpoints without a bridge channel half a minute after they connected.", b.NoChannel).in("num_eps_no_msg_transport_after_delay"),

		counter("data_channel_messages_received_total", "Messages of data channels received.", b.DataIn).in("total_data_channel_messages_received"),
		counter("data_channel_messages_sent_total", "Messages of data channels sent.", b.DataOut).in("total_data_channel_messages_sent"),
		counter("colibri_web_socket_messages_received_total", "Messages of bridge WebSockets received.", b.SocketIn).in("total_colibri_web_socket_messages_received"),
		counter("colibri_web_socket_messages_sent_total", "Messages of bridge WebSockets sent.", b.SocketOut).in("total_colibri_web_socket_messages_sent"),
		counter("colibri_web_socket_close_normal_total", "Bridge WebSockets that ended with a goodbye.", b.SocketsEnded),
		counter("colibri_web_socket_close_abnormal_total", "Those that ended without, or with one that says that something is wrong.", b.SocketsEndedBadly),
		counter("colibri_web_socket_error_total", "Those that broke.", b.SocketsBroken),
		counter("rejected_data_channels_total", "Data channels beyond the one, or that could not be opened.", b.Sockets.ChannelsRejected),
		counter("endpoint_receive_message_queue_dropped_packets_total", "Messages dropped because their sender had sent too many before.", b.MessagesQueueFull),
		counter("dominant_speaker_changes_total", "Times that another became the dominant speaker.", b.DominantChanges).in("total_dominant_speaker_changes"),
		counter("keyframes_received_total", "Key frames received.", f.Keyframes).in("total_keyframes_received"),
		counter("video_milliseconds_received_total", "For how long video came, summed over streams.", uint64(f.VideoTime.Milliseconds())).in("total_video_stream_milliseconds_received"),
		gauge("endpoints_with_spurious_remb", "Endpoints ever that said what their network carries though that was not negotiated.", float64(f.UnaskedREMB)).in("endpoints_with_spurious_remb"),
		counter("layering_changes_received_total", "Times that layers of a video came, went or changed size.", f.LayerChanges).in("total_layering_changes_received"),
		counter("queue_dropped_packets_total", "Packets dropped because a worker was behind.", f.Overflow),
		counter("queue_exceptions_total", "Panics of workers and readers over single packets.", f.Panics),

		counter("exporter_starts_total", "Connections to services that get audio that were begun.", b.Export.Starts),
		counter("exporter_websocket_failures_total", "Times that one could not be made, or ended by itself.", b.Export.Failures),
		counter("exporter_websocket_internal_errors_total", "Those that the service ended with an internal error.", b.Export.Refused),
		counter("exporter_packets_sent_total", "Packets of audio sent to services.", b.Export.Packets),
		counter("exporter_transcripts_received_total", "Results of transcriptions.", b.Export.Transcripts),
		counter("exporter_media_events_received_total", "Packets of sources that services make.", b.Export.Media),
		counter("exporter_sending_changes_received_total", "Times that such a source began or ended.", b.Export.Changes),
		counter("exporter_info_received_total", "Times that a service said what it is.", b.Export.Infos),
		counter("exporter_other_messages_received_total", "Messages of services that mean nothing here.", b.Export.Others),
		counter("exporter_parse_failures_total", "Messages of services that could not be read.", b.Export.Malformed),

		gauge("stress", "Load, 1 is full.", b.Stress).in("stress_level"),
		gauge("cpu_steal", "Share of the processors' time that the host gave to others.", b.Steal),
		gauge("thread_count", "Threads of the process, those that have ended among them.", threads()).in("threads"),
		gauge("mucs_joined", "1 while the bridge is in its brewery.", onOff(b.Joined)).in("mucs_joined"),
		gauge("healthy", "1 while the self-test of media works.", onOff(b.Healthy)),
		gauge("drain_mode", "1 while other bridges are preferred.", onOff(b.Drain)),
		gauge("graceful_shutdown", "1 while no new conferences are taken.", onOff(b.State != bridge.Running)),
		gauge("shutting_down", "1 while everybody is moved away.", onOff(b.State == bridge.ShuttingDown)),
		gauge("startup_time", "When the program was started, in milliseconds of Unix time.", float64(startTime.UnixMilli())),
	}
}

func onOff(on bool) float64 {
	if on {
		return 1
	}
	return 0
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
		panicFigure("bridge", b.Panics+f.Panics+b.Sockets.Panics+b.Export.Panics),
		counter("confab_bridge_overruns_total", "Conferences ended because their mailbox was full.", b.Overruns),
		counter("confab_bridge_messages_dropped_total", "Messages of the bridge channel that could not be read or sent.", b.MessagesDropped),
		gauge("confab_bridge_load_last_n", "Videos per receiver while the machine is full; -1 no limit.", float64(b.LastN)),
		counter("confab_bridge_load_last_n_changes_total", "Times that load changed this.", b.LastNChanges),
		gauge("confab_bridge_endpoints_silent", "Endpoints of which nothing came lately.", float64(b.Census.Inactive)),
		counter("confab_bridge_exporter_dropped_total", "Packets of audio for which a service was too slow.", b.Export.Dropped),
		counter("confab_bridge_exporter_media_unused_total", "Packets of services that belong to no source asked of them, or are too many.", b.Export.Unused),
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

// bridgeHistograms are how long packets stay in the bridge, how many leave in one piece,
// and those of jitsi-videobridge.
func bridgeHistograms(b bridge.Stats, jitsi bool) []prometheus.Metric {
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
	out := []prometheus.Metric{
		prometheus.MustNewConstHistogram(prometheus.NewDesc("confab_bridge_transit_seconds",
			"Time of media packets between the socket and the sockets.", nil, nil), count, b.Forward.TransitSum.Seconds(), transit),
		prometheus.MustNewConstHistogram(prometheus.NewDesc("confab_bridge_send_run_packets",
			"Packets that went to the kernel as one.", nil, nil), sends, float64(b.Forward.Sent), runs),
	}
	prefixes := []string{ourPrefix}
	if jitsi {
		prefixes = append(prefixes, jitsiPrefix)
	}
	for _, h := range jvbHistograms(b) {
		for _, prefix := range prefixes {
			out = append(out, prometheus.MustNewConstHistogram(prometheus.NewDesc(prefix+h.name, h.help, nil, nil), h.count, h.sum, h.upTo))
		}
	}
	return out
}

// histogram is one, without a prefix.
type histogram struct {
	name, help string
	sum        float64
	count      uint64
	upTo       map[float64]uint64
}

// jvbHistograms are those that jitsi-videobridge has as well.
func jvbHistograms(b bridge.Stats) []histogram {
	sizes := func(name, help string, s *bridge.Sizes) histogram {
		h := histogram{name: name, help: help, sum: float64(s.Sum), upTo: map[float64]uint64{}}
		for size, n := range s.Of {
			if h.count += n; size < bridge.SizeBounds {
				h.upTo[float64(size)] = h.count
			}
		}
		return h
	}
	quiet := histogram{name: "tossed_packets_energy", help: "Packets of audio that were dropped because others were louder, by their energy.",
		sum: float64(b.Forward.TooQuietEnergy), upTo: map[float64]uint64{}}
	for i, n := range b.Forward.TooQuiet {
		quiet.count += n
		quiet.upTo[float64(forward.EnergyBounds[i])] = quiet.count
	}
	return []histogram{
		sizes("conferences_by_size", "Conferences by their endpoints.", &b.Census.Sizes),
		sizes("conferences_by_audio_sender", "Conferences by endpoints that send audio.", &b.Census.Talkers),
		sizes("conferences_by_video_sender", "Conferences by endpoints that send video.", &b.Census.Shown),
		quiet,
	}
}

// stockStats are the statistics of jitsi-videobridge that have a meaning here, by its
// keys: /colibri/stats.
func stockStats(b bridge.Stats) map[string]any {
	stats := map[string]any{
		"bit_rate_download": b.BitsIn / 1000, "bit_rate_upload": b.BitsOut / 1000,
		"average_participant_stress": bridge.AverageStress,
		"graceful_shutdown":          b.State != bridge.Running,
		"shutting_down":              b.State == bridge.ShuttingDown,
		"drain":                      b.Drain,
		"healthy":                    b.Healthy,
		"version":                    version(),
		"relay_id":                   bridgeID,
		"current_timestamp":          time.Now().UTC().Format("2006-01-02 15:04:05.000"),
	}
	for _, f := range jvbFigures(b) {
		for _, key := range f.stats {
			stats[key] = f.value
		}
	}
	return stats
}

// bridgeHandlers are the pages of the admin listener that jitsi-videobridge has.
func (s *server) bridgeHandlers() map[string]http.Handler {
	name, number, _ := strings.Cut(version(), " ")
	return map[string]http.Handler{
		"GET /colibri/stats": answerJSON(func() any { return stockStats(s.bridge.Stats()) }),
		"GET /stats":         answerJSON(func() any { return allStats(s.bridge.Stats(), s.focus.Stats(), s.ready() == nil) }),
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
