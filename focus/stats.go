package focus

import (
	"slices"
	"sync/atomic"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// Stats is a snapshot of the counters of a service.
type Stats struct {
	Conferences                                               int   // now
	Largest                                                   int   // participants of the largest, now
	Sizes                                                     []int // how many conferences have so many participants; the last has MaxSize and more
	Pairs                                                     int   // the sum of the squares of these sizes
	ConferencesWithVisitors                                   int
	Participants                                              int64 // with a Jingle session, now
	Visitors                                                  int64 // now
	Requests                                                  int64 // conference requests, in all
	RequestsNew                                               int64 // of them for rooms that did not exist
	RequestsDenied                                            int64 // of them answered with an error
	ConferencesTotal                                          int64
	ConferenceTime                                            time.Duration // of those that are over
	ParticipantTotal                                          int64         // who have had a session
	ParticipantTime                                           time.Duration // of those who have left, since their first session
	Offers                                                    int64         // session-initiate sent
	Accepts                                                   int64         // session-accept taken
	Restarts                                                  int64         // sessions restarted at a client's wish
	ICERestarts                                               int64         // in place, for which the bridge made new credentials
	ICERestartsAsked, ICERestartsNotNeeded, ICERestartsFailed int64         // wanted by clients; of an endpoint that was not connected yet; refused
	ICEFailed                                                 int64         // reported by clients
	SourceAdds                                                int64
	SourceRefusals                                            int64
	Sessions                                                  int // "I am the host" sessions now

	Bridges, BridgesUp int   // known now; operational now
	BridgesGraceful    int   // that take no new conferences
	BridgeVersions     int   // different ones
	BridgesLost        int64 // that left though they were not shutting down
	BridgeFailures     int64
	BridgesRemoved     int64 // from a conference, because they failed
	Moved              int64 // participants for whom that meant another bridge
	OnBridge           []OnBridge

	Recorders, RecordersIdle       int      // known now; available now
	SIPRecorders, SIPRecordersIdle int      // those for calls to SIP devices
	Recordings                     int      // and streams and such calls, wanted or under way
	Recording                      [3]int64 // under way, by Purpose
	RecordingFailures              [3]int64 // sessions that did not start or broke off, by Purpose
	NoRecorder                     int64    // of them because there was none

	Gateways, SIPGateways, SIPGatewaysGraceful, Transcribers int // known now; the second make calls
	CallsAsked, CallsRefused                                 int64
	Calls                                                    int64 // that a gateway took
	CallFailures                                             int64 // that none took
	CallErrors, CallTimeouts, CallRetries                    int64 // of single gateways; how often another was asked

	Sent, Received [len(JingleActions)]uint64 // Jingle stanzas

	Overflows int64 // events that found a mailbox full
	Panics    int64 // conferences closed by a programming error
}

// JingleActions are the actions that Stats.Sent and Stats.Received count.
var JingleActions = [...]string{
	jingle.SessionInitiate, jingle.SessionAccept, jingle.SessionInfo, jingle.SessionTerminate,
	jingle.TransportInfo, jingle.TransportAccept, jingle.TransportReject, jingle.SourceAdd, jingle.SourceRemove,
}

// tally counts by Jingle action.
type tally [len(JingleActions)]atomic.Uint64

func (t *tally) note(action string) {
	if i := slices.Index(JingleActions[:], action); i >= 0 {
		t[i].Add(1)
	}
}

// OnBridge is what is on one bridge.
type OnBridge struct {
	Bridge    string // its name in the brewery
	Endpoints int
	Restarts  uint64 // sessions on it that clients wanted restarted, or found failed
}

// Purpose is what a recorder is for.
type Purpose uint8

// Purposes of recorders.
const (
	ToFile Purpose = iota
	ToStream
	ToSIP
)

// MaxSize is the largest size that Stats.Sizes tells apart (JICOFO ConferenceSizeBuckets).
const MaxSize = 21

type counters struct {
	visitors, requests, requestsNew, requestsDenied, conferencesTotal, participants, participantsTotal,
	offers, accepts, restarts, iceRestarts, iceFailed, sourceAdds, sourceRefusals,
	iceRestartsAsked, iceRestartsFailed, iceRestartsNotNeeded,
	bridgeFailures, bridgesLost, bridgesRemoved, moved, overflows, panics,
	noRecorder, callsAsked, callsRefused, calls, callFailures, callErrors, callTimeouts, callRetries,
	conferenceTime, participantTime atomic.Int64 // the last two in nanoseconds
	recording, recordingFailures [3]atomic.Int64
	sent, received               tally
}

// headcount is how many are in a conference, for Stats.
type headcount struct {
	members  atomic.Int32 // in the room
	sessions atomic.Int32 // of them with a Jingle session
	visitors atomic.Int32
}

// placement is what of all conferences is on a bridge. It is guarded by Service.fleetMu.
type placement struct {
	endpoints int
	restarts  uint64
}

// place counts endpoints on a bridge, and sessions that are wanted restarted.
func (s *Service) place(bridge xmpp.JID, endpoints int, restarts uint64) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	p := s.placed[bridge]
	if p == nil {
		p = &placement{}
		s.placed[bridge] = p
	}
	p.endpoints += endpoints
	p.restarts += restarts
}

// Stats is a snapshot of the counters.
func (s *Service) Stats() Stats {
	c := &s.stats
	st := Stats{
		Participants: c.participants.Load(), Visitors: c.visitors.Load(), Sessions: s.auth.len(),
		Requests: c.requests.Load(), RequestsNew: c.requestsNew.Load(), RequestsDenied: c.requestsDenied.Load(),
		ConferencesTotal: c.conferencesTotal.Load(), ConferenceTime: time.Duration(c.conferenceTime.Load()),
		ParticipantTotal: c.participantsTotal.Load(), ParticipantTime: time.Duration(c.participantTime.Load()),
		Offers: c.offers.Load(), Accepts: c.accepts.Load(), Restarts: c.restarts.Load(), ICERestarts: c.iceRestarts.Load(), ICERestartsAsked: c.iceRestartsAsked.Load(),
		ICERestartsFailed: c.iceRestartsFailed.Load(), ICERestartsNotNeeded: c.iceRestartsNotNeeded.Load(),
		ICEFailed: c.iceFailed.Load(), SourceAdds: c.sourceAdds.Load(), SourceRefusals: c.sourceRefusals.Load(),
		BridgesLost: c.bridgesLost.Load(), BridgeFailures: c.bridgeFailures.Load(), BridgesRemoved: c.bridgesRemoved.Load(), Moved: c.moved.Load(),
		NoRecorder: c.noRecorder.Load(), CallsAsked: c.callsAsked.Load(), CallsRefused: c.callsRefused.Load(),
		Calls: c.calls.Load(), CallFailures: c.callFailures.Load(),
		CallErrors: c.callErrors.Load(), CallTimeouts: c.callTimeouts.Load(), CallRetries: c.callRetries.Load(),
		Overflows: c.overflows.Load(), Panics: c.panics.Load(),
		Sizes: make([]int, MaxSize+1),
	}
	for i := range st.Recording {
		st.Recording[i], st.RecordingFailures[i] = c.recording[i].Load(), c.recordingFailures[i].Load()
	}
	for i := range JingleActions {
		st.Sent[i], st.Received[i] = c.sent[i].Load(), c.received[i].Load()
	}
	s.mu.RLock()
	st.Conferences = len(s.confs)
	for _, conf := range s.confs {
		st.count(&conf.heads)
	}
	s.mu.RUnlock()
	s.countFleet(&st)
	return st
}

// count adds a conference. One in which nobody has a session yet is one of its only
// participant (JICOFO FocusManager.updateMetrics).
func (st *Stats) count(h *headcount) {
	size := int(h.sessions.Load())
	if size == 0 && h.members.Load() > 0 {
		size = 1
	}
	st.Largest = max(st.Largest, size)
	st.Sizes[min(size, MaxSize)]++
	st.Pairs += size * size
	if h.visitors.Load() > 0 {
		st.ConferencesWithVisitors++
	}
}

// countFleet adds what there is of bridges, recorders and gateways.
func (s *Service) countFleet(st *Stats) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	versions := map[string]bool{}
	for _, b := range s.fleet.List(time.Now()) {
		st.Bridges++
		if b.Operational {
			st.BridgesUp++
		}
		if b.Graceful {
			st.BridgesGraceful++
		}
		versions[b.Version] = true
		on := OnBridge{Bridge: b.JID.Resource}
		if p := s.placed[b.JID]; p != nil {
			on.Endpoints, on.Restarts = p.endpoints, p.restarts
		}
		st.OnBridge = append(st.OnBridge, on)
	}
	st.BridgeVersions = len(versions)
	st.Recorders, st.RecordersIdle = s.recorders.Count()
	st.SIPRecorders, st.SIPRecordersIdle = s.sipRecorders.Count()
	st.Recordings = len(s.recordedBy)
	g := s.gateways.Count()
	st.Gateways, st.SIPGateways, st.SIPGatewaysGraceful, st.Transcribers = g.All, g.SIP, g.SIPGraceful, g.Transcribers
}
