package focus

import (
	"encoding/json"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Recording, live streaming and calls to SIP video devices by recorders (Jibri),
// focus.md §16.

// maxCalls is how many SIP devices are called into one meeting.
const maxCalls = 16

// recording is a session of a recorder. Clients know it by its id, whichever
// recorder works for it.
type recording struct {
	id        string
	job       jitmeet.Jibri // what recorders are asked
	initiator xmpp.JID

	instance xmpp.JID // recorder at work; zero = none
	attempt  int      // answers to an earlier one are void
	retries  int
	status   string       // "" until a recorder has agreed, then pending, on
	request  *xmpp.Stanza // of the client, until it is answered
	pending  *time.Timer  // until on
}

func (r *recording) sip() bool { return r.job.SIPAddress != "" }

func (r *recording) purpose() Purpose {
	switch {
	case r.sip():
		return ToSIP
	case r.job.Mode == jitmeet.JibriStream:
		return ToStream
	}
	return ToFile
}

// setStatus keeps the count of recorders at work.
func (c *Conference) setStatus(r *recording, status string) {
	n := &c.s.stats.recording[r.purpose()]
	switch was := r.status == jitmeet.JibriOn; {
	case !was && status == jitmeet.JibriOn:
		n.Add(1)
	case was && status != jitmeet.JibriOn:
		n.Add(-1)
	}
	r.status = status
}

// session is that of a client's request: one recording to a meeting, one call to
// an address.
func (c *Conference) session(j *jitmeet.Jibri) *recording {
	if j.SIPAddress != "" {
		return c.calls[j.SIPAddress]
	}
	return c.recording
}

func (c *Conference) recordings() []*recording {
	var out []*recording
	if c.recording != nil {
		out = append(out, c.recording)
	}
	for _, r := range c.calls {
		out = append(out, r)
	}
	return out
}

// onJibri handles a client's request (focus.md §16.1).
func (c *Conference) onJibri(m *Member, s *xmpp.Stanza, el *xmpp.Element) *xmpp.StanzaError {
	j := jitmeet.ParseJibri(el)
	room := c.s.cfg.Recorders
	if j.SIPAddress != "" {
		room = c.s.cfg.SIPRecorders
	}
	rec := c.session(j)
	switch {
	case room.IsZero():
		return xmpp.ItemNotFound("")
	case !m.moderator():
		return xmpp.NotAllowed("")
	case j.Action == jitmeet.JibriStop && rec == nil:
		return xmpp.ItemNotFound("Unknown session")
	case j.Action == jitmeet.JibriStop:
		c.stopRecording(rec, m.jid)
		c.ack(s)
		return nil
	case j.Action != jitmeet.JibriStart:
		return xmpp.BadRequest("undefined action")
	case rec != nil:
		return &xmpp.StanzaError{Type: "wait", Cond: xmpp.CondUnexpectedRequest, Text: "Recording or live streaming is already enabled"}
	case j.SIPAddress != "" && len(c.calls) >= maxCalls:
		return xmpp.ResourceConstraint("too many calls")
	case j.SIPAddress == "" && j.StreamID == "" && j.Mode != jitmeet.JibriFile:
		return xmpp.BadRequest("Stream ID is empty or undefined")
	case j.SIPAddress == "" && j.StreamID != "" && j.Mode == jitmeet.JibriFile:
		return xmpp.BadRequest("Stream ID is provided for a FILE recording.")
	}
	rec = &recording{id: newUUID(), initiator: m.jid, request: s}
	rec.job = jitmeet.Jibri{
		Action: jitmeet.JibriStart, Mode: jitmeet.JibriFile, Room: c.room.String(), SessionID: rec.id,
		DisplayName: j.DisplayName, SIPAddress: j.SIPAddress, RTCStats: "true",
	}
	if c.first.props.Get("rtcstatsEnabled") == "false" {
		rec.job.RTCStats = "false"
	}
	if !rec.sip() {
		rec.job.AppData = c.appData(m, j.AppData)
	}
	if !rec.sip() && j.StreamID != "" {
		rec.job.Mode, rec.job.StreamID, rec.job.BroadcastID = jitmeet.JibriStream, j.StreamID, j.BroadcastID
	}
	if rec.sip() {
		c.calls[j.SIPAddress] = rec
	} else {
		c.recording = rec
	}
	if se := c.hireRecorder(rec); se != nil {
		c.recordingFailed(rec, se, "")
	}
	return nil
}

// appData adds to what a client wants the recorder's scripts to know who asked and
// in which meeting (mod_jibri_session). What is no JSON object passes untouched.
func (c *Conference) appData(m *Member, text string) string {
	var data map[string]json.RawMessage
	if text == "" || json.Unmarshal([]byte(text), &data) != nil || data == nil {
		return text
	}
	const key = "file_recording_metadata"
	file := map[string]any{}
	if raw, ok := data[key]; ok && json.Unmarshal(raw, &file) != nil || file == nil {
		return text
	}
	delete(file, "initiator")
	if m.user != "" || m.group != "" {
		who := map[string]string{}
		if m.user != "" {
			who["id"] = m.user
		}
		if m.group != "" {
			who["group"] = m.group
		}
		file["initiator"] = who
	}
	file["conference_details"] = map[string]string{"session_id": c.meetingID}
	raw, err := json.Marshal(file)
	if err != nil {
		return text
	}
	data[key] = raw
	out, err := json.Marshal(data)
	if err != nil {
		return text
	}
	return string(out)
}

// hireRecorder asks a recorder to work. The error says that there is none.
func (c *Conference) hireRecorder(rec *recording) *xmpp.StanzaError {
	jid, ok, any := c.s.takeRecorder(rec.sip(), c)
	switch {
	case !ok && any:
		return xmpp.ResourceConstraint("all Jibris are busy")
	case !ok:
		c.s.stats.noRecorder.Add(1)
		return xmpp.ServiceUnavailable("no Jibris available")
	}
	rec.instance = jid
	rec.attempt++
	attempt := rec.attempt
	c.log.Info("recorder asked", "jid", jid.String(), "session", rec.id, "mode", rec.job.Mode)
	if d := c.s.cfg.PendingTimeout; d > 0 {
		stop(rec.pending)
		rec.pending = c.after(d, func() {
			if c.works(rec) && rec.attempt == attempt && rec.status != jitmeet.JibriOn {
				// It may be hanging: if it comes to itself it must not stay.
				c.log.Warn("recorder does not start", "jid", jid.String(), "session", rec.id)
				c.sendStop(rec)
				c.nextRecorder(rec, jitmeet.JibriError, true)
			}
		})
	}
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, jid, rec.job.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		c.post(func() { c.recorderAnswered(rec, attempt, reply, err) })
	})
	return nil
}

// works reports whether rec goes on.
func (c *Conference) works(rec *recording) bool {
	return !rec.instance.IsZero() && (c.recording == rec || c.calls[rec.job.SIPAddress] == rec)
}

func (c *Conference) recorderAnswered(rec *recording, attempt int, reply *xmpp.Stanza, err error) {
	if !c.works(rec) || rec.attempt != attempt || rec.status != "" {
		return
	}
	if el := payload(reply, jitmeet.NSJibri, "jibri"); err == nil && el != nil {
		if j := jitmeet.ParseJibri(el); j.Status == jitmeet.JibriPending {
			c.setStatus(rec, jitmeet.JibriPending)
			c.recordingAccepted(rec)
			return
		}
	}
	c.log.Warn("recorder does not accept", "jid", rec.instance.String(), "session", rec.id, "err", err)
	if stanzaError(err) == nil && err != nil {
		c.sendStop(rec) // a browser takes long to start: it may still come
	}
	c.nextRecorder(rec, jitmeet.JibriError, true)
}

// recordingAccepted answers the client: from now on it shows "pending".
func (c *Conference) recordingAccepted(rec *recording) {
	if rec.request != nil {
		c.s.port.Send(rec.request.Result((&jitmeet.Jibri{SessionID: rec.id}).String()))
		rec.request = nil
	}
}

// onRecorderNews takes what the recorder at work says (focus.md §16.2).
func (c *Conference) onRecorderNews(s *xmpp.Stanza) {
	c.ack(s)
	j := jitmeet.ParseJibri(s.Payload())
	for _, rec := range c.recordings() {
		if rec.instance == s.From {
			c.recorderSays(rec, j)
		}
	}
}

func (c *Conference) recorderSays(rec *recording, j *jitmeet.Jibri) {
	switch {
	case j.Failure != "" && j.Retry:
		c.nextRecorder(rec, j.Failure, true)
	case j.Failure != "":
		c.recordingFailed(rec, xmpp.InternalServerError(""), j.Failure)
	case j.Status == jitmeet.JibriOff:
		c.recordingAccepted(rec)
		c.endRecording(rec, false)
		c.showRecording(rec, jitmeet.JibriOff, xmpp.JID{}, "")
	case j.Status == jitmeet.JibriOn:
		stop(rec.pending)
		c.recordingAccepted(rec)
		c.setStatus(rec, jitmeet.JibriOn)
		c.showRecording(rec, jitmeet.JibriOn, rec.initiator, "")
	}
}

// recorderLeft: another one goes on in its place.
func (c *Conference) recorderLeft(jid xmpp.JID) {
	for _, rec := range c.recordings() {
		if rec.instance == jid {
			c.log.Warn("recorder has left", "jid", jid.String(), "session", rec.id)
			c.nextRecorder(rec, jitmeet.JibriError, false)
		}
	}
}

// nextRecorder tries another recorder, unless enough have been tried.
func (c *Conference) nextRecorder(rec *recording, failure string, failed bool) {
	stop(rec.pending)
	c.s.releaseRecorder(rec.sip(), rec.instance, c, failed)
	rec.instance = xmpp.JID{}
	c.setStatus(rec, "")
	if n := c.s.cfg.RecordRetries; n >= 0 && rec.retries >= n {
		c.recordingFailed(rec, xmpp.InternalServerError(""), failure)
		return
	}
	rec.retries++
	if se := c.hireRecorder(rec); se != nil {
		c.recordingFailed(rec, se, failure)
	}
}

// recordingFailed ends a session: as an error to who asked for it, or, when
// clients know of it, in the presence.
func (c *Conference) recordingFailed(rec *recording, se *xmpp.StanzaError, failure string) {
	c.s.stats.recordingFailures[rec.purpose()].Add(1)
	c.log.Warn("recording failed", "session", rec.id, "err", se)
	c.endRecording(rec, false)
	if rec.request != nil {
		c.s.port.Send(se.Reply(rec.request))
		return
	}
	c.showRecording(rec, jitmeet.JibriOff, xmpp.JID{}, failure)
}

// stopRecording ends a session at somebody's wish. It counts as off at once.
func (c *Conference) stopRecording(rec *recording, who xmpp.JID) {
	c.recordingAccepted(rec)
	c.endRecording(rec, true)
	c.showRecording(rec, jitmeet.JibriOff, who, "")
}

// endRecording forgets a session; tell says that its recorder doesn't know yet.
func (c *Conference) endRecording(rec *recording, tell bool) {
	stop(rec.pending)
	c.setStatus(rec, "")
	if !rec.instance.IsZero() {
		if tell {
			c.sendStop(rec)
		}
		c.s.releaseRecorder(rec.sip(), rec.instance, c, false)
		rec.instance = xmpp.JID{}
	}
	if rec.sip() {
		delete(c.calls, rec.job.SIPAddress)
	} else if c.recording == rec {
		c.recording = nil
	}
}

// sendStop is fire and forget.
func (c *Conference) sendStop(rec *recording) {
	j := jitmeet.Jibri{Action: jitmeet.JibriStop, SessionID: rec.id}
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, rec.instance, j.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(*xmpp.Stanza, error) {})
}

// showRecording publishes the state of a session. It stays in the presence: LJM
// takes one that it knows for no news, and an end of what it doesn't know for
// none.
func (c *Conference) showRecording(rec *recording, status string, by xmpp.JID, failure string) {
	var e xmpp.Enc
	if rec.sip() {
		(&jitmeet.SIPCallState{State: status, Address: rec.job.SIPAddress, SessionID: rec.id, Failure: failure}).Encode(&e)
		c.callState = e.String()
	} else {
		rs := jitmeet.RecordingStatus{Status: status, SessionID: rec.id, Mode: rec.job.Mode, Failure: failure}
		if !by.IsZero() {
			rs.Initiator = by.String()
		}
		rs.Encode(&e)
		c.recordState = e.String()
	}
	c.log.Info("recording", "session", rec.id, "status", status, "failure", failure)
	c.publish()
}

// stopRecordings is the end of the conference.
func (c *Conference) stopRecordings() {
	for _, rec := range c.recordings() {
		if rec.request != nil {
			c.s.port.Send(xmpp.ItemNotFound("").Reply(rec.request))
		}
		c.endRecording(rec, true)
	}
}
