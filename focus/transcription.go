package focus

import (
	"net/http"
	"strings"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// Transcription is a service that gets the audio of meetings from the bridge and
// sends back what was said (focus.md §17.3).
type Transcription struct {
	// URL is where each meeting connects, ws: or wss:, with {{MEETING_ID}} and
	// {{REGION}} in place of the meeting's id and the bridge's region; "": none.
	URL     string
	Headers http.Header
	// PingInterval and PingTimeout are those of colibri2.Ping; no pings if the first is 0.
	PingInterval, PingTimeout time.Duration
}

// connectID is the name of the one connection that a meeting has for it.
const connectID = "transcriber"

// transcribing says whether the meeting is to be transcribed without a gateway.
func (c *Conference) transcribing() bool {
	return c.s.cfg.Transcription.URL != "" && c.metadata.Transcribing && c.metadata.AsyncTranscription
}

// minParticipants is how many there must be before media is allocated: who dictates
// needs nobody else (focus.md §17.3).
func (c *Conference) minParticipants() int {
	if c.transcribing() {
		return 1
	}
	return c.s.cfg.MinParticipants
}

// transcriptionChanged follows the moderators' switch.
func (c *Conference) transcriptionChanged() {
	on := c.transcribing()
	c.log.Info("transcription switched", "on", on)
	c.audioRecording = "false"
	if on {
		c.audioRecording = "true"
		stop(c.lonely)
		c.lonely = nil
		if c.participants() == 0 {
			c.inviteAll()
		}
	} else if c.participants() == 1 && c.minParticipants() > 1 && c.lonely == nil {
		c.armLonely()
	}
	c.publish()
}

// placeTranscriber has one bridge of the meeting send the service its audio, another
// one when that is lost.
func (c *Conference) placeTranscriber() {
	on := c.transcriber
	switch {
	case !c.transcribing():
		on = nil
	case on == nil || on.dead || !on.live:
		on = nil
		for _, bs := range c.sessions {
			if bs.live && (on == nil || bs.bridge.String() < on.bridge.String()) {
				on = bs
			}
		}
	}
	c.transcriber = on
	for _, bs := range c.sessions {
		bs.connect = bs == on
	}
}

// transcriberURL is the service's URL for the meeting.
func (bs *bridgeSession) transcriberURL() string {
	return strings.NewReplacer("{{MEETING_ID}}", bs.c.meetingID, "{{REGION}}", bs.region).Replace(bs.c.s.cfg.Transcription.URL)
}

// nextConnect tells the bridge when the connection that it should have is not the one
// that it was told of. A bridge that has the conference no more has no connection.
func (bs *bridgeSession) nextConnect() {
	if bs.dead || bs.alone || bs.connect == bs.connected || !bs.live {
		return
	}
	k := colibri2.Connect{ID: connectID, Expire: true}
	if bs.connected = bs.connect; bs.connect {
		t := &bs.c.s.cfg.Transcription
		k = colibri2.Connect{
			ID: connectID, Create: true, URL: bs.transcriberURL(), Protocol: colibri2.MediaJSON, Type: colibri2.ConnectTranscriber, Audio: true, Headers: t.Headers,
		}
		if t.PingInterval > 0 {
			k.Ping = &colibri2.Ping{Interval: t.PingInterval, Timeout: t.PingTimeout}
		}
	}
	m := colibri2.Modify{MeetingID: bs.c.meetingID, Connects: []colibri2.Connect{k}}
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, bs.bridge, m.String())
	bs.c.s.port.Go(get, bs.c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		if err == nil {
			return
		}
		bs.c.post(func() {
			// What comes of it is nobody's media: everything else goes on without.
			bs.c.log.Warn("bridge does not connect to the transcription service", "bridge", bs.bridge.String(), "err", err)
		})
	})
}
