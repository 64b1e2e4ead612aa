package focus

import (
	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// How many send at once (focus.md §10.4).

// readMuted takes what an occupant says about its sources. Who says nothing, or
// nothing readable, leaves it at what it said before.
func (m *Member) readMuted(s *xmpp.Stanza) {
	el := s.Child(xmpp.NSClient, "SourceInfo")
	if el == nil {
		// So do telephone gateways.
		if a := s.Child(xmpp.NSClient, "audiomuted"); a != nil {
			m.sendsAudio = textOr(a, "") == "false"
		}
		if v := s.Child(xmpp.NSClient, "videomuted"); v != nil {
			m.sendsVideo = textOr(v, "") == "false"
		}
		return
	}
	if el.Text == m.sourceInfo {
		return
	}
	info, err := jitmeet.ParseSourceInfo(el.Text)
	if err != nil {
		return
	}
	m.sourceInfo, m.sendsAudio, m.sendsVideo = el.Text, false, false
	for _, src := range info {
		switch {
		case src.Muted:
		case src.Audio:
			m.sendsAudio = true
		default:
			m.sendsVideo = true
		}
	}
}

// limits compares the senders with the limits. A limit that was never reached
// stays unmentioned.
func (c *Conference) limits() {
	cfg := &c.s.cfg
	if cfg.MaxAudioSenders == 0 && cfg.MaxVideoSenders == 0 {
		return
	}
	var na, nv int
	for _, m := range c.order {
		if m.sendsAudio {
			na++
		}
		if m.sendsVideo {
			nv++
		}
	}
	note := func(limit, n int, said *string) (full bool) {
		if full = limit > 0 && n >= limit; full {
			*said = "true"
		} else if *said != "" {
			*said = "false"
		}
		return full
	}
	c.audioFull = note(cfg.MaxAudioSenders, na, &c.audioLimit)
	c.videoFull = note(cfg.MaxVideoSenders, nv, &c.videoLimit)
	c.publish()
}

// tooMany refuses sources of a medium that enough people send already. Who sends
// it is not refused another.
func (c *Conference) tooMany(m *Member, set sources.Set) *xmpp.StanzaError {
	if c.audioFull && !m.sendsAudio && set.Has(sources.Audio) || c.videoFull && !m.sendsVideo && set.Has(sources.Video) {
		return xmpp.ResourceConstraint("Too many senders")
	}
	return nil
}
