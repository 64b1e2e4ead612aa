package jitmeet

import (
	"strings"

	"confab/xmpp"
)

// Namespaces of recorders (Jibri).
const (
	NSJibri        = "http://jitsi.org/protocol/jibri"
	NSJibriCall    = "http://jitsi.org/protocol/jibri/call_state"
	NSJibriHealth  = "http://jitsi.org/protocol/health"
	jibriStatusTag = "jibri-status"
)

// Values of a Jibri's attributes. They are read without regard to case, as
// jitsi-xmpp-extensions reads them.
const (
	JibriStart = "start"
	JibriStop  = "stop"

	JibriFile   = "file"
	JibriStream = "stream"

	JibriPending = "pending"
	JibriOn      = "on"
	JibriOff     = "off"

	JibriBusy  = "busy"
	JibriError = "error"
)

// Jibri is <jibri/>: a request of a client, a request to a recorder, and the
// news and answers of a recorder.
type Jibri struct {
	Action      string // start, stop
	Mode        string // recording_mode: file, stream
	Room        string // to recorders
	SessionID   string
	StreamID    string
	BroadcastID string // you_tube_broadcast_id
	DisplayName string
	SIPAddress  string
	AppData     string // JSON for the recorder's scripts
	RTCStats    string // to recorders: "true", "false"
	Status      string // of recorders: pending, on, off
	Failure     string // failure_reason: busy, error
	Retry       bool   // should_retry
}

// ParseJibri reads a jibri element.
func ParseJibri(el *xmpp.Element) *Jibri {
	lower := func(name string) string { return strings.ToLower(strings.TrimSpace(el.Get(name))) }
	return &Jibri{
		Action: lower("action"), Mode: lower("recording_mode"), Room: el.Get("room"), SessionID: el.Get("session_id"),
		StreamID: strings.TrimSpace(el.Get("streamid")), BroadcastID: el.Get("you_tube_broadcast_id"),
		DisplayName: el.Get("displayname"), SIPAddress: strings.TrimSpace(el.Get("sipaddress")), AppData: el.Get("app_data"),
		RTCStats: lower("rtcstats_enabled"), Status: lower("status"), Failure: lower("failure_reason"), Retry: lower("should_retry") == "true",
	}
}

// String is j as XML.
func (j *Jibri) String() string {
	var e xmpp.Enc
	e.Start("jibri", NSJibri).AttrIf("action", j.Action).AttrIf("recording_mode", j.Mode).AttrIf("room", j.Room)
	e.AttrIf("session_id", j.SessionID).AttrIf("streamid", j.StreamID).AttrIf("you_tube_broadcast_id", j.BroadcastID)
	e.AttrIf("displayname", j.DisplayName).AttrIf("sipaddress", j.SIPAddress).AttrIf("app_data", j.AppData)
	e.AttrIf("rtcstats_enabled", j.RTCStats).AttrIf("status", j.Status).AttrIf("failure_reason", j.Failure)
	if j.Retry {
		e.Attr("should_retry", "true")
	}
	return e.End().String()
}

// RecordingStatus is <jibri-recording-status/> in the presence of the focus.
type RecordingStatus struct{ Status, SessionID, Mode, Initiator, Failure string }

// Encode writes r.
func (r *RecordingStatus) Encode(e *xmpp.Enc) {
	e.Start("jibri-recording-status", NSJibri).Attr("status", r.Status).AttrIf("session_id", r.SessionID)
	e.AttrIf("recording_mode", r.Mode).AttrIf("initiator", r.Initiator).AttrIf("failure_reason", r.Failure).End()
}

// SIPCallState is <jibri-sip-call-state/> in the presence of the focus.
type SIPCallState struct{ State, Address, SessionID, Failure string }

// Encode writes c.
func (c *SIPCallState) Encode(e *xmpp.Enc) {
	e.Start("jibri-sip-call-state", NSJibriCall).Attr("state", c.State).Attr("sipaddress", c.Address)
	e.AttrIf("session_id", c.SessionID).AttrIf("failure_reason", c.Failure).End()
}

// JibriAvailable reads the <jibri-status/> of a recorder's presence in the
// brewery: available is healthy and idle. known is false when there is none.
func JibriAvailable(s *xmpp.Stanza) (available, known bool) {
	el := s.Child(NSJibri, jibriStatusTag)
	if el == nil {
		return false, false
	}
	// Smack writes the busy-status without a namespace of its own.
	var busy, health string
	for _, k := range el.Kids {
		switch k.Name {
		case "busy-status":
			busy = k.Get("status")
		case "health-status":
			health = k.Get("status")
		}
	}
	return strings.EqualFold(busy, "idle") && strings.EqualFold(health, "healthy"), true
}
