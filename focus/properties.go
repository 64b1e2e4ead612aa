package focus

import (
	"strconv"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// extensions are what the focus says in its presence (focus.md §24). Clients
// replace the properties as a whole, so the list is always complete.
func (c *Conference) extensions() string {
	var e xmpp.Enc
	if c.s.cfg.Etherpad {
		e.Leaf("etherpad", jitmeet.NSEtherpad, c.document)
	}
	jitmeet.EncodeVersions(&e, "focus", c.s.cfg.Version)
	props := []jitmeet.Property{
		{Name: "support-terminate-restart", Value: "true"},
		{Name: "bridge-count", Value: strconv.Itoa(len(c.sessions))},
	}
	props = append(props, c.visitorProperties()...)
	for _, p := range []jitmeet.Property{
		{Name: "audio-limit-reached", Value: c.audioLimit},
		{Name: "video-limit-reached", Value: c.videoLimit},
		{Name: "audio-recording-enabled", Value: c.audioRecording},
	} {
		if p.Value != "" {
			props = append(props, p)
		}
	}
	jitmeet.EncodeConferenceProperties(&e, props)
	e.Raw(c.recordState).Raw(c.callState)
	if c.noBridge {
		e.Start("bridgeNotAvailable", jitmeet.NSFocus).End()
	}
	return e.String()
}

// publish sends the presence when what it says has changed. It never carries the
// <x/> of a join: that would ask for the whole room again.
func (c *Conference) publish() {
	if now := c.extensions(); now != c.published && c.state == stateJoined {
		c.published = now
		c.s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, c.me, now))
	}
	if g := c.gallery; g.state == galleryOpen && g.published != c.published {
		g.published = c.published
		c.s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, g.me, g.published))
	}
}
