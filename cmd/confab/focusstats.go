package main

// What the focus counts, for Prometheus and as the statistics of jicofo.

import (
	"runtime/pprof"
	"strings"

	"confab/bridge"
	"confab/focus"
)

// jicofoPrefix is that of the metrics of jicofo, under which those of the focus stand as
// well that mean the same (metrics.jitsi_names).
const jicofoPrefix = "jitsi_jicofo_"

// withStockNames adds the figures under the names that they have in jicofo.
func withStockNames(list []figure, jitsi bool) []figure {
	if !jitsi {
		return list
	}
	out := list
	for _, f := range list {
		if f.stock != "" {
			if f.name = jicofoPrefix + f.stock; labelled[f.name] == "" {
				f.label = "" // it is in the name
			}
			out = append(out, f)
		}
	}
	return out
}

// The names of counters end in _total as jicofo's exporter writes them.
func focusFigures(f focus.Stats, ready bool) []figure {
	n := func(i int64) uint64 { return uint64(i) }
	out := []figure{
		gauge("confab_ready", "1 while meetings are taken.", onOff(ready)).as("healthy"),
		gauge("confab_focus_conferences", "Conferences of the focus.", float64(f.Conferences)).as("conferences"),
		gauge("confab_focus_largest_conference", "Participants of the largest conference.", float64(f.Largest)).as("largest_conference"),
		gauge("confab_focus_conferences_with_visitors", "Conferences with visitors.", float64(f.ConferencesWithVisitors)).as("conferences_with_visitors"),
		gauge("confab_focus_participant_pairs", "The squares of the sizes of all conferences, summed.", float64(f.Pairs)).as("participants_pairs"),
		counter("confab_focus_conferences_total", "Conferences ever made.", n(f.ConferencesTotal)).as("conferences_created_total"),
		gauge("confab_focus_conference_seconds", "Duration of the conferences that are over.", f.ConferenceTime.Seconds()).as("conferences_seconds"),
		gauge("confab_participants", "Participants with a Jingle session.", float64(f.Participants)).as("participants_current"),
		counter("confab_participants_total", "Participants who have had a session.", n(f.ParticipantTotal)).as("participants_total"),
		gauge("confab_participant_seconds", "Time that those took part who have left.", f.ParticipantTime.Seconds()).as("endpoint_seconds"),
		gauge("confab_visitors", "Visitors.", float64(f.Visitors)).as("visitors_current"),
		counter("confab_conference_requests_total", "Conference requests.", n(f.Requests)).as("conference_requests_total"),
		counter("confab_conference_requests_new_total", "Conference requests for rooms that did not exist.", n(f.RequestsNew)).as("conference_requests_new_total"),
		counter("confab_conference_requests_denied_total", "Conference requests answered with an error.", n(f.RequestsDenied)),
		counter("confab_offers_total", "Jingle offers sent.", n(f.Offers)),
		counter("confab_accepts_total", "Jingle offers accepted.", n(f.Accepts)),
		counter("confab_restarts_total", "Times that a client wanted another session.", n(f.Restarts)).as("participants_restart_requested_total"),
		counter("confab_ice_failed_total", "Times that a client said that it does not reach its bridge.", n(f.ICEFailed)).as("participants_ice_failed_total"),
		counter("confab_ice_restarts_requested_total", "ICE restarts in place that clients wanted.", n(f.ICERestartsAsked)).as("ice_restarts_requested_total"),
		counter("confab_ice_restarts_relayed_total", "Those for which the bridge made new credentials.", n(f.ICERestarts)).as("ice_restarts_relayed_total"),
		counter("confab_ice_restarts_not_needed_total", "Those of clients that were not connected yet.", n(f.ICERestartsNotNeeded)).as("ice_restarts_not_needed_total"),
		counter("confab_ice_restarts_failed_total", "Those that were refused.", n(f.ICERestartsFailed)).as("ice_restarts_failed_total"),

		gauge("confab_bridges", "Bridges known.", float64(f.Bridges)).as("bridge_selector_bridge_count"),
		gauge("confab_bridges_operational", "Bridges that can take participants.", float64(f.BridgesUp)).as("bridge_selector_bridge_count_operational"),
		gauge("confab_bridges_in_shutdown", "Bridges that take no new conferences.", float64(f.BridgesGraceful)).as("bridge_selector_bridge_count_in_shutdown"),
		gauge("confab_bridge_versions", "Different versions of bridges.", float64(f.BridgeVersions)).as("bridge_selector_bridge_version_count"),
		counter("confab_bridges_lost_total", "Bridges that left without having said so.", n(f.BridgesLost)).as("bridge_selector_lost_bridges_total"),
		counter("confab_bridge_failures_total", "Bridges found failing.", n(f.BridgeFailures)),
		counter("confab_bridges_removed_total", "Times that a conference lost its bridge.", n(f.BridgesRemoved)).as("bridges_removed_total"),
		counter("confab_participants_moved_total", "Participants who got another bridge for that.", n(f.Moved)).as("participants_moved_total"),

		gauge("confab_recorders", "Recorders known, those that call SIP devices among them.", float64(f.Recorders+f.SIPRecorders)),
		gauge("confab_recorders_available", "Recorders that can take a session.", float64(f.RecordersIdle+f.SIPRecordersIdle)),
		gauge("confab_file_recorders", "Recorders for files and streams.", float64(f.Recorders)).as("jibri_instances"),
		gauge("confab_file_recorders_available", "Those that can take a session.", float64(f.RecordersIdle)).as("jibri_instances_available"),
		gauge("confab_sip_recorders", "Recorders that call SIP devices.", float64(f.SIPRecorders)).as("sip_jibri_instances"),
		gauge("confab_sip_recorders_available", "Those that can take a call.", float64(f.SIPRecordersIdle)).as("sip_jibri_instances_available"),
		gauge("confab_recordings", "Recordings, streams and calls to SIP devices wanted or under way.", float64(f.Recordings)),
		counter("confab_recorders_missing_total", "Recordings, streams and such calls for which there was no recorder.", n(f.NoRecorder)).as("jibri_no_instance_failures_total"),

		gauge("confab_gateways", "Telephone gateways and transcribers known.", float64(f.Gateways)),
		gauge("confab_gateways_sip", "Gateways that make calls.", float64(f.SIPGateways)).as("jigasi_sip_count"),
		gauge("confab_gateways_sip_in_shutdown", "Those that take no new calls.", float64(f.SIPGatewaysGraceful)).as("jigasi_sip_in_graceful_shutdown_count"),
		gauge("confab_gateways_transcribing", "Transcribers.", float64(f.Transcribers)).as("jigasi_transcriber_count"),
		counter("confab_calls_requested_total", "Calls that people wanted and may make.", n(f.CallsAsked)).as("jigasi_iq_handler_accepted_requests_total"),
		counter("confab_calls_refused_total", "Calls that people wanted and may not make.", n(f.CallsRefused)).as("jigasi_iq_handler_rejected_requests_total"),
		counter("confab_calls_total", "Calls that a gateway took.", n(f.Calls)),
		counter("confab_call_failures_total", "Calls that no gateway took.", n(f.CallFailures)),
		counter("confab_call_retries_total", "Times that another gateway was asked for a call.", n(f.CallRetries)).as("jigasi_iq_handler_retries_total"),
		counter("confab_call_errors_total", "Times that a gateway refused.", n(f.CallErrors)).as("jigasi_iq_handler_instance_errors_total"),
		counter("confab_call_timeouts_total", "Times that a gateway did not answer.", n(f.CallTimeouts)).as("jigasi_iq_handler_instance_timeouts_total"),

		gauge("confab_threads", "Threads of the process, those that have ended among them.", threads()).as("threads"),
	}
	for purpose, mode := range []string{focus.ToFile: "recording", focus.ToStream: "live_streaming", focus.ToSIP: "sip"} {
		out = append(out,
			gauge("confab_recordings_active", "Recorders at work.", float64(f.Recording[purpose]), mode).as("jibri_"+mode+"_active"),
			counter("confab_recording_failures_total", "Recordings, streams and calls to SIP devices that did not start or broke off.",
				n(f.RecordingFailures[purpose]), mode).as("jibri_"+mode+"_failures_total"))
	}
	for _, b := range f.OnBridge {
		out = append(out,
			gauge("confab_bridge_endpoints_placed", "Participants whom the focus has put on a bridge.", float64(b.Endpoints), b.Bridge).as("bridge_endpoints"),
			counter("confab_bridge_restart_requests_total", "Sessions on a bridge that clients wanted restarted or found failed.", b.Restarts, b.Bridge).as("bridge_restart_requests_total"))
	}
	for i, action := range focus.JingleActions {
		stock := "jingle_" + jingleAction(action)
		out = append(out, counter("confab_jingle_sent_total", "Jingle stanzas to clients.", f.Sent[i], action).as(stock+"_sent_total"),
			counter("confab_jingle_received_total", "Jingle stanzas of clients.", f.Received[i], action).as(stock+"_received_total"))
	}
	return out
}

// jingleAction is how jicofo writes an action: its own have no hyphen.
func jingleAction(action string) string {
	if about, ok := strings.CutPrefix(action, "source-"); ok {
		return "source" + about
	}
	return strings.ReplaceAll(action, "-", "_")
}

func threads() float64 { return float64(pprof.Lookup("threadcreate").Count()) }

// jicofoStats are the statistics of jicofo that have a meaning here, by its keys.
func jicofoStats(f focus.Stats, ready bool) map[string]any {
	type object = map[string]any
	sent, received := object{}, object{}
	for i, action := range focus.JingleActions {
		name := strings.ToUpper(jingleAction(action))
		sent[name], received[name] = f.Sent[i], f.Received[i]
	}
	return object{
		"total_participants": f.ParticipantTotal, "total_conferences_created": f.ConferencesTotal,
		"conferences": f.Conferences, "conferences_with_visitors": f.ConferencesWithVisitors, "largest_conference": f.Largest,
		"participants": f.Participants, "visitors": f.Visitors, "conference_sizes": f.Sizes, "endpoint_pairs": f.Pairs,
		"bridge_failures":           object{"participants_moved": f.Moved, "bridges_removed": f.BridgesRemoved},
		"participant_notifications": object{"ice_failed": f.ICEFailed, "request_restart": f.Restarts},
		"bridge_selector": object{"bridge_count": f.Bridges, "operational_bridge_count": f.BridgesUp, "in_shutdown_bridge_count": f.BridgesGraceful,
			"lost_bridges": f.BridgesLost, "bridge_version_count": f.BridgeVersions},
		"jibri": object{
			"total_sip_call_failures": f.RecordingFailures[focus.ToSIP], "total_live_streaming_failures": f.RecordingFailures[focus.ToStream],
			"total_recording_failures": f.RecordingFailures[focus.ToFile], "live_streaming_active": f.Recording[focus.ToStream],
			"recording_active": f.Recording[focus.ToFile], "sip_call_active": f.Recording[focus.ToSIP],
		},
		"jibri_detector":     object{"count": f.Recorders, "available": f.RecordersIdle},
		"sip_jibri_detector": object{"count": f.SIPRecorders, "available": f.SIPRecordersIdle},
		"jigasi_detector":    object{"sip_count": f.SIPGateways, "sip_in_graceful_shutdown_count": f.SIPGatewaysGraceful, "transcriber_count": f.Transcribers},
		"jigasi": object{"rejected_requests": f.CallsRefused, "accepted_requests": f.CallsAsked, "retries": f.CallRetries,
			"instance_errors": f.CallErrors, "instance_timeout": f.CallTimeouts},
		"jingle":  object{"sent": sent, "received": received},
		"threads": threads(), "healthy": ready, "version": version(),
	}
}

// allStats are those of both: where jicofo and jitsi-videobridge have the same key it is
// jicofo's, on whose port this is.
func allStats(b bridge.Stats, f focus.Stats, ready bool) map[string]any {
	all := stockStats(b)
	for key, value := range jicofoStats(f, ready) {
		all[key] = value
	}
	return all
}
