package main

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"confab/bridge"
	"confab/focus"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of jitsi-videobridge and of jicofo (both of August 2026) as Prometheus gets
// them, without what they print of the JVM.
const (
	jvbMetrics = `
		active_endpoints average_rtt bytes_received_total bytes_sent_total
		colibri_queue_dropped_packets_total colibri_queue_exceptions_total
		colibri_web_socket_close_abnormal_total colibri_web_socket_close_normal_total colibri_web_socket_error_total
		colibri_web_socket_messages_received_total colibri_web_socket_messages_sent_total
		conference_seconds_total conferences conferences_by_audio_sender conferences_by_size conferences_by_video_sender
		conferences_completed_total conferences_created_total conferences_inactive conferences_p2p conferences_with_relay
		cpu_steal current_endpoints current_visitors data_channel_messages_received_total data_channel_messages_sent_total
		dominant_speaker_changes_total drain_mode
		endpoint_receive_message_queue_dropped_packets_total endpoint_receive_message_queue_exceptions_total
		endpoints_disconnected_total endpoints_dtls_failed_total endpoints_ice_failed_total endpoints_inactive
		endpoints_no_message_transport_after_delay_total endpoints_oversending endpoints_reconnected_total endpoints_recvonly
		endpoints_relayed endpoints_sending_audio endpoints_sending_video endpoints_total
		endpoints_with_high_outgoing_loss endpoints_with_spurious_remb endpoints_with_suspended_sources
		exporter_info_received_total exporter_media_events_received_total exporter_other_messages_received_total
		exporter_packets_sent_total exporter_parse_failures_total exporter_sending_changes_received_total exporter_starts_total
		exporter_transcripts_received_total exporter_websocket_failures_total exporter_websocket_internal_errors_total
		graceful_shutdown healthy ice_failed_total ice_restarts_agent_creation_failed_total ice_restarts_failed_total
		ice_restarts_not_established_total ice_restarts_rejected_total ice_restarts_started_total ice_restarts_succeeded_total
		ice_restarts_superseded_total ice_succeeded_relayed_total ice_succeeded_total
		incoming_bitrate incoming_loss_fraction incoming_packet_rate keyframes_received_total largest_conference
		layering_changes_received_total local_endpoints loss_fraction muc_clients_configured muc_clients_connected
		mucs_connected mucs_joined outgoing_bitrate outgoing_loss_fraction outgoing_packet_rate
		packets_received_total packets_sent_total
		preemptive_keyframe_requests_sent_total preemptive_keyframe_requests_suppressed_total
		queue_dropped_packets_total queue_exceptions_total region_info rejected_data_channels_total
		relay_bytes_received_total relay_bytes_sent_total relay_endpoint_srtp_send_queue_dropped_packets_total
		relay_endpoint_srtp_send_queue_exceptions_total relay_incoming_bitrate relay_incoming_packet_rate
		relay_outgoing_bitrate relay_outgoing_packet_rate relay_packets_received_total relay_packets_sent_total
		relay_srtp_send_queue_dropped_packets_total relay_srtp_send_queue_exceptions_total relays_dtls_failed_total
		relays_ice_failed_total relays_no_message_transport_after_delay_total relays_total
		rtp_receiver_dropped_packets_total rtp_receiver_exceptions_total rtp_sender_dropped_packets_total
		rtp_sender_exceptions_total rtp_transit_time rtcp_transit_time shutting_down
		srtp_send_queue_dropped_packets_total srtp_send_queue_exceptions_total startup_time stress tcc_unmatched_feedback
		thread_count tossed_packets_energy video_milliseconds_received_total visitors_total xmpp_disconnects_total`
	jicofoMetrics = `
		bridge_endpoints bridge_endpoints_moved_total bridge_failing_ice bridge_restart_requests_total
		bridge_selector_bridge_count bridge_selector_bridge_count_in_shutdown bridge_selector_bridge_count_operational
		bridge_selector_bridge_version_count bridge_selector_lost_bridges_total bridges_removed_total
		conference_requests_new_total conference_requests_total conferences conferences_created_total conferences_seconds
		conferences_with_visitors endpoint_seconds healthy ice_restarts_failed_total ice_restarts_not_needed_total
		ice_restarts_relayed_total ice_restarts_requested_total jibri_instances jibri_instances_available
		jibri_live_streaming_active jibri_live_streaming_failures_total jibri_no_instance_failures_total
		jibri_recording_active jibri_recording_failures_total jibri_sip_active jibri_sip_failures_total
		jigasi_iq_handler_accepted_requests_total jigasi_iq_handler_instance_errors_total
		jigasi_iq_handler_instance_timeouts_total jigasi_iq_handler_rejected_requests_total jigasi_iq_handler_retries_total
		jigasi_sip_count jigasi_sip_in_graceful_shutdown_count jigasi_transcriber_count
		jingle_session_accept_received_total jingle_session_info_received_total jingle_session_initiate_sent_total
		jingle_session_terminate_received_total jingle_session_terminate_sent_total jingle_sourceadd_received_total
		jingle_sourceadd_sent_total jingle_sourceremove_received_total jingle_sourceremove_sent_total
		jingle_transport_info_received_total jingle_transport_info_sent_total
		largest_conference load_redistributor_endpoints_moved_total participants_current participants_ice_failed_total
		participants_moved_total participants_no_start_muted_rmd_total participants_pairs
		participants_restart_requested_total participants_total sip_jibri_instances sip_jibri_instances_available
		threads version_info visitors_current xmpp_disconnects_total`
	// jvbKeys are those of /colibri/stats.
	jvbKeys = `
		average_participant_stress bit_rate_download bit_rate_upload conferences current_timestamp drain dtls_failed_endpoints
		dtls_failed_relays endpoints endpoints_disconnected endpoints_ice_failed endpoints_reconnected endpoints_sending_audio
		endpoints_sending_video endpoints_with_high_outgoing_loss endpoints_with_spurious_remb endpoints_with_suspended_sources
		graceful_shutdown healthy inactive_conferences inactive_endpoints incoming_loss largest_conference local_active_endpoints
		local_endpoints muc_clients_configured muc_clients_connected mucs_configured mucs_joined num_eps_no_msg_transport_after_delay
		num_eps_oversending num_relays_no_msg_transport_after_delay octo_conferences octo_endpoints octo_receive_bitrate
		octo_receive_packet_rate octo_send_bitrate octo_send_packet_rate outgoing_loss overall_loss p2p_conferences
		packet_rate_download packet_rate_upload participants preemptive_kfr_sent preemptive_kfr_suppressed receive_only_endpoints
		region relay_id relays_ice_failed release rtt_aggregate shutting_down stress_level tcc_unmatched_feedback threads
		total_bytes_received total_bytes_received_octo total_bytes_sent total_bytes_sent_octo
		total_colibri_web_socket_messages_received total_colibri_web_socket_messages_sent total_conference_seconds
		total_conferences_completed total_conferences_created total_data_channel_messages_received
		total_data_channel_messages_sent total_dominant_speaker_changes total_ice_failed total_ice_succeeded
		total_ice_succeeded_relayed total_keyframes_received total_layering_changes_received total_packets_received
		total_packets_received_octo total_packets_sent total_packets_sent_octo total_participants total_relays
		total_video_stream_milliseconds_received total_visitors version visitors`
)

// withoutMeaning reads in the manual which names are not here, and why.
func withoutMeaning(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n### Names of Jitsi's dashboards that are not here\n")
	if !ok {
		t.Fatal("the manual has no such section")
	}
	part, _, _ = strings.Cut(part, "\n#")
	names := map[string]bool{}
	for i, s := range strings.Split(part, "`") {
		if i%2 == 1 {
			names[s] = true
		}
	}
	return names
}

// Every name that a dashboard for Jitsi may ask for is either answered or named in the
// manual as one that means nothing here, and none is made up.
func TestEveryStockNameIsAnsweredOrExplained(t *testing.T) {
	t.Parallel()
	absent := withoutMeaning(t)
	f := focus.Stats{OnBridge: []focus.OnBridge{{Bridge: "b1"}}, Sizes: []int{}}
	r := prometheus.NewRegistry()
	var all []prometheus.Metric
	out := make(chan prometheus.Metric, 1000)
	collect(out, append(bridgeFigures(bridge.Stats{}, true), withStockNames(focusFigures(f, true), true)...))
	close(out)
	for m := range out {
		all = append(all, m)
	}
	r.MustRegister(metricsOf(append(all, bridgeHistograms(bridge.Stats{}, true)...)))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]bool{}
	for _, family := range families {
		printed[family.GetName()] = true
	}
	var known []string
	for prefix, list := range map[string]string{jitsiPrefix: jvbMetrics, jicofoPrefix: jicofoMetrics} {
		for _, name := range strings.Fields(list) {
			known = append(known, prefix+name)
			if name = prefix + name; printed[name] == absent[name] {
				t.Errorf("%s: printed %v, said to mean nothing %v", name, printed[name], absent[name])
			}
		}
	}
	for name := range printed {
		// Those of Jingle actions are made as they come, in jicofo too.
		if strings.HasPrefix(name, "jitsi_") && !strings.Contains(name, "_jingle_") && !slices.Contains(known, name) {
			t.Errorf("%s is no name of Jitsi's", name)
		}
	}
	stats := stockStats(bridge.Stats{})
	keys := strings.Fields(jvbKeys)
	for _, key := range keys {
		if _, ok := stats[key]; ok == absent[key] {
			t.Errorf("key %s: answered %v, said to mean nothing %v", key, ok, absent[key])
		}
	}
	for key := range stats {
		if !slices.Contains(keys, key) {
			t.Errorf("key %s is none of Jitsi's", key)
		}
	}
}

// What jicofo's statistics say is what the focus has counted.
func TestStatisticsOfTheFocus(t *testing.T) {
	t.Parallel()
	f := focus.Stats{Conferences: 3, Largest: 7, Sizes: []int{0, 1, 2}, Pairs: 58, ConferencesWithVisitors: 1, Participants: 12, Visitors: 4,
		ConferencesTotal: 20, ParticipantTotal: 90, Restarts: 5, ICEFailed: 6, Moved: 8, BridgesRemoved: 9,
		Bridges: 2, BridgesUp: 1, BridgesGraceful: 10, BridgeVersions: 11, BridgesLost: 13,
		Recorders: 14, RecordersIdle: 15, SIPRecorders: 16, SIPRecordersIdle: 17,
		Recording: [3]int64{18, 19, 21}, RecordingFailures: [3]int64{22, 23, 24}, NoRecorder: 25,
		SIPGateways: 26, SIPGatewaysGraceful: 27, Transcribers: 28, CallsAsked: 29, CallsRefused: 30, CallRetries: 31, CallErrors: 32, CallTimeouts: 33,
		ICERestarts: 34, ICERestartsAsked: 35, ICERestartsFailed: 36, ICERestartsNotNeeded: 37, Requests: 38, RequestsNew: 39,
		OnBridge: []focus.OnBridge{{Bridge: "b1", Endpoints: 40, Restarts: 41}}}
	f.Sent[0], f.Received[7] = 42, 43
	got := map[string]float64{}
	for _, x := range withStockNames(focusFigures(f, true), true) {
		if strings.HasPrefix(x.name, jicofoPrefix) {
			got[strings.TrimPrefix(x.name, jicofoPrefix)] = x.value
		}
	}
	for name, want := range map[string]float64{
		"conferences": 3, "largest_conference": 7, "participants_pairs": 58, "conferences_with_visitors": 1, "participants_current": 12,
		"visitors_current": 4, "conferences_created_total": 20, "participants_total": 90, "participants_restart_requested_total": 5,
		"participants_ice_failed_total": 6, "participants_moved_total": 8, "bridges_removed_total": 9, "bridge_selector_bridge_count": 2,
		"bridge_selector_bridge_count_operational": 1, "bridge_selector_bridge_count_in_shutdown": 10, "bridge_selector_bridge_version_count": 11,
		"bridge_selector_lost_bridges_total": 13, "jibri_instances": 14, "jibri_instances_available": 15, "sip_jibri_instances": 16,
		"sip_jibri_instances_available": 17, "jibri_recording_active": 18, "jibri_live_streaming_active": 19, "jibri_sip_active": 21,
		"jibri_recording_failures_total": 22, "jibri_live_streaming_failures_total": 23, "jibri_sip_failures_total": 24,
		"jibri_no_instance_failures_total": 25, "jigasi_sip_count": 26, "jigasi_sip_in_graceful_shutdown_count": 27, "jigasi_transcriber_count": 28,
		"jigasi_iq_handler_accepted_requests_total": 29, "jigasi_iq_handler_rejected_requests_total": 30, "jigasi_iq_handler_retries_total": 31,
		"jigasi_iq_handler_instance_errors_total": 32, "jigasi_iq_handler_instance_timeouts_total": 33, "ice_restarts_relayed_total": 34,
		"ice_restarts_requested_total": 35, "ice_restarts_failed_total": 36, "ice_restarts_not_needed_total": 37, "conference_requests_total": 38,
		"conference_requests_new_total": 39, "bridge_endpoints": 40, "bridge_restart_requests_total": 41,
		"jingle_session_initiate_sent_total": 42, "jingle_sourceadd_received_total": 43, "healthy": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	b, err := json.Marshal(jicofoStats(f, true))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"conferences":3`, `"conference_sizes":[0,1,2]`, `"bridge_failures":{"bridges_removed":9,"participants_moved":8}`,
		`"participant_notifications":{"ice_failed":6,"request_restart":5}`, `"operational_bridge_count":1`, `"healthy":true`,
		`"jibri":{"live_streaming_active":19,"recording_active":18,"sip_call_active":21,"total_live_streaming_failures":23,"total_recording_failures":22,"total_sip_call_failures":24}`,
		`"SESSION_INITIATE":42`, `"SOURCEADD":43`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	// Where both have a key it is jicofo's.
	all := allStats(bridge.Stats{Conferences: 99}, f, true)
	if all["conferences"] != 3 || all["bit_rate_download"] == nil {
		t.Errorf("%v", slices.Sorted(maps.Keys(all)))
	}
}

// Dashboards see the sizes of conferences and the energy of dropped audio in the classes
// of jitsi-videobridge.
func TestHistogramsOfTheStockBridge(t *testing.T) {
	t.Parallel()
	b := bridge.Stats{}
	b.Census.Sizes = bridge.Sizes{Sum: 45}
	b.Census.Sizes.Of[0], b.Census.Sizes.Of[3], b.Census.Sizes.Of[bridge.SizeBounds] = 1, 2, 1
	b.Forward.TooQuiet[1], b.Forward.TooQuiet[16], b.Forward.TooQuietEnergy = 5, 1, 140
	for _, h := range jvbHistograms(b) {
		switch h.name {
		case "conferences_by_size":
			if h.count != 4 || h.sum != 45 || len(h.upTo) != 21 || h.upTo[0] != 1 || h.upTo[2] != 1 || h.upTo[3] != 3 || h.upTo[20] != 3 {
				t.Errorf("%+v", h)
			}
		case "tossed_packets_energy":
			if h.count != 6 || h.sum != 140 || len(h.upTo) != 17 || h.upTo[0] != 0 || h.upTo[7] != 5 || h.upTo[119] != 5 || h.upTo[127] != 6 {
				t.Errorf("%+v", h)
			}
		default:
			if h.count != 0 {
				t.Errorf("%+v", h)
			}
		}
	}
}
