package gateways

import (
	"slices"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// Statistics in a gateway's presence.
const (
	statParticipants  = "participants"
	statSIP           = "supports_sip"
	statTranscription = "supports_transcription"
)

// Gateways are those of a brewery.
type Gateways struct{ list []*gateway } // in order of appearance

type gateway struct {
	jid        xmpp.JID // occupant in the brewery
	load       float64  // participants
	region     string
	graceful   bool // latched: takes no new calls
	sip        bool
	transcribe bool
}

// Want says what a call needs.
type Want struct {
	Transcriber bool       // else a telephone line
	Exclude     []xmpp.JID // tried already
	Regions     []string   // of the meeting's bridges
}

// Report takes the statistics of a gateway's presence; what they don't mention
// stays as it was.
func (g *Gateways) Report(jid xmpp.JID, s colibri2.Stats) {
	i := slices.IndexFunc(g.list, func(x *gateway) bool { return x.jid == jid })
	if i < 0 {
		g.list = append(g.list, &gateway{jid: jid})
		i = len(g.list) - 1
	}
	x := g.list[i]
	x.load = s.Float(statParticipants, x.load)
	if v, ok := s[colibri2.StatRegion]; ok {
		x.region = v
	}
	if v, ok := s[statSIP]; ok {
		x.sip = v == "true"
	}
	if v, ok := s[statTranscription]; ok {
		x.transcribe = v == "true"
	}
	x.graceful = x.graceful || s.Bool(colibri2.StatGracefulShutdown)
}

// Remove forgets a gateway that left.
func (g *Gateways) Remove(jid xmpp.JID) {
	g.list = slices.DeleteFunc(g.list, func(x *gateway) bool { return x.jid == jid })
}

// Clear forgets all.
func (g *Gateways) Clear() { g.list = nil }

// Pick chooses the least loaded gateway, in a region of the meeting's bridges if
// there is one.
func (g *Gateways) Pick(w Want) (xmpp.JID, bool) {
	var near, far *gateway
	for _, x := range g.list {
		if x.graceful || slices.Contains(w.Exclude, x.jid) || w.Transcriber && !x.transcribe || !w.Transcriber && !x.sip {
			continue
		}
		if far == nil || x.load < far.load {
			far = x
		}
		if x.region != "" && slices.Contains(w.Regions, x.region) && (near == nil || x.load < near.load) {
			near = x
		}
	}
	switch {
	case near != nil:
		return near.jid, true
	case far != nil:
		return far.jid, true
	}
	return xmpp.JID{}, false
}

// Counts is how many gateways there are: some make calls, of which some take no more,
// some transcribe.
type Counts struct{ All, SIP, SIPGraceful, Transcribers int }

// Count counts.
func (g *Gateways) Count() Counts {
	n := Counts{All: len(g.list)}
	for _, x := range g.list {
		if x.sip {
			n.SIP++
			if x.graceful {
				n.SIPGraceful++
			}
		}
		if x.transcribe {
			n.Transcribers++
		}
	}
	return n
}
