package focus

import (
	"strings"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jitmeet"
)

// AV moderation (focus.md §10.2). The room's service decides who may unmute; the
// focus tells the clients, and makes the bridge drop what is sent all the same.

// Media types of AV moderation. To the bridge screens are videos.
const (
	audio   = "audio"
	video   = "video"
	desktop = "desktop"
)

// moderation is that of one media type; nil is off.
type moderation struct {
	on      bool
	allowed map[string]bool // nicks
}

// muteNS are the namespaces of mute requests by media type.
var muteNS = map[string]string{audio: jitmeet.NSAudio, video: jitmeet.NSVideo, desktop: jitmeet.NSDesktop}

// mediaOf is the media type of a mute request.
func mediaOf(ns string) string {
	for media, n := range muteNS {
		if n == ns {
			return media
		}
	}
	return ""
}

// mutable reports whether m can be muted by others: who sends nothing, and a
// gateway that doesn't know the request, can't.
func (m *Member) mutable() bool {
	return m.role != "visitor" && (!m.service || m.jigasi && m.features.audioMute)
}

// mayUnmute reports whether AV moderation lets m send that. Moderators always may.
func (c *Conference) mayUnmute(m *Member, media string) bool {
	mod := c.moderated[media]
	return mod == nil || !mod.on || m.moderator() || !m.mutable() || mod.allowed[m.nick]
}

// onModeration takes a message of the AV moderation service.
func (c *Conference) onModeration(msg *jitmeet.AVModeration) {
	state := func(media string) *moderation {
		if muteNS[media] == "" {
			return nil // of a later version
		}
		if c.moderated[media] == nil {
			c.moderated[media] = &moderation{}
		}
		return c.moderated[media]
	}
	for media, list := range msg.Whitelists {
		if mod := state(media); mod != nil {
			mod.allowed = make(map[string]bool, len(list))
			for _, occupant := range list {
				if nick, ok := strings.CutPrefix(occupant, c.room.String()+"/"); ok {
					mod.allowed[nick] = true
				}
			}
		}
	}
	mod := state(msg.MediaType)
	starts := false
	if mod != nil && msg.Enabled != nil {
		starts = *msg.Enabled && !mod.on
		if mod.on = *msg.Enabled; !mod.on {
			mod.allowed = nil
		}
		c.log.Info("moderation switched", "media", msg.MediaType, "on", mod.on, "actor", msg.Actor)
	} else if mod != nil && msg.Whitelists != nil && msg.Whitelists[msg.MediaType] == nil {
		mod.allowed = nil // an empty list is left out, LJM can't read it
	}
	for _, m := range c.order {
		c.enforce(m)
		// Who may unmute again at once is not muted; the actor has done it for the others.
		if starts && m.media() && m.mutable() && m.jid.String() != msg.Actor && !c.mayUnmute(m, msg.MediaType) {
			c.sendMute(m, muteNS[msg.MediaType], "")
		}
	}
}

// forceMute is what the bridge is to drop of m.
func (c *Conference) forceMute(m *Member) colibri2.ForceMute {
	return colibri2.ForceMute{
		Audio: !c.mayUnmute(m, audio),
		Video: !c.mayUnmute(m, video) && !c.mayUnmute(m, desktop),
	}
}

// enforce tells the bridge when that has changed.
func (c *Conference) enforce(m *Member) {
	if want := c.forceMute(m); m.bs != nil && !m.bs.dead && want != m.forced {
		m.forced = want
		m.bs.update(colibri2.Endpoint{ID: m.nick, ForceMute: &want})
	}
}

// sendMute asks a client to mute itself. LJM obeys only the occupant "focus", and
// answers nothing.
func (c *Conference) sendMute(m *Member, ns, actor string) {
	fwd := jitmeet.Mute{NS: ns, Actor: actor, Mute: true}
	c.s.port.Go(xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, m.jid, fwd.String()), c.s.cfg.ReplyTimeout,
		func(*xmpp.Stanza, error) {})
}
