package services

import (
	"encoding/json"
	"slices"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// AVModerationName is the service, its identity and the type of its messages.
const AVModerationName = "av_moderation"

// mediaTypes are those that can be moderated, in the order of messages about all.
var mediaTypes = []string{"audio", "video", "desktop"}

// AVModeration says who may unmute: while it is on for a media type, moderators and
// whom they approve (room-services.md §6.4). The focus enforces it; it and the
// clients are told by the same messages.
type AVModeration struct {
	from  xmpp.JID
	media map[string]*moderation // those that are on
	first bool                   // the preset of the room has been looked at
	stale map[string]bool        // media types whose lists are told in a moment
	timer bool
}

// listDelay is how long those who come and go are gathered until moderators are told
// of them: where everybody moderates, everybody is told of everybody.
const listDelay = time.Second

// allowedSlack is how many may be on a list beside twice as many as are in the room.
const allowedSlack = 64

// moderation is that of one media type.
type moderation struct {
	actor   string
	allowed []approved
	muted   *bool // what startMuted said before; nil: nothing
}

// approved is somebody who may unmute. The account is remembered with the occupant:
// another one that takes the same nick later has not been approved.
type approved struct{ occupant, bare xmpp.JID }

// NewAVModeration makes the service of main rooms whose component is at domain; it
// fits muc.Config.Services.
func NewAVModeration(domain string) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService {
		return &AVModeration{from: xmpp.JID{Domain: domain}, media: map[string]*moderation{}, stale: map[string]bool{}}
	}
}

// Name implements muc.RoomService.
func (*AVModeration) Name() string { return AVModerationName }

// avMessage is what clients and the focus get. LJM takes the presence of a key for
// its meaning, so each message has only its own.
type avMessage struct {
	Type       string              `json:"type"`
	Room       string              `json:"room"`
	MediaType  string              `json:"mediaType"`
	Enabled    *bool               `json:"enabled,omitempty"`
	Actor      string              `json:"actor,omitempty"`
	Whitelists map[string][]string `json:"whitelists,omitzero"`
	Approved   bool                `json:"approved,omitempty"`
	Removed    bool                `json:"removed,omitempty"`
	From       string              `json:"from,omitempty"`
}

func (a *AVModeration) stanza(r *muc.Room, m avMessage) *xmpp.Stanza {
	m.Type, m.Room = AVModerationName, r.JID().String()
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and booleans
	}
	return xmpp.NewStanza(xmpp.Message, "", "", a.from, xmpp.JID{}, jsonMessage("", b))
}

// switched says that a media type is moderated now, or no more.
func (a *AVModeration) switched(r *muc.Room, media, actor string, on bool) *xmpp.Stanza {
	return a.stanza(r, avMessage{MediaType: media, Enabled: &on, Actor: actor})
}

// list says who may unmute.
func (a *AVModeration) list(r *muc.Room, media string, removed bool) *xmpp.Stanza {
	all := map[string][]string{}
	for name, m := range a.media {
		for _, x := range m.allowed {
			all[name] = append(all[name], x.occupant.String()) // an empty one is left out: LJM, jicofo
		}
	}
	return a.stanza(r, avMessage{MediaType: media, Whitelists: all, Removed: removed})
}

// lists tells all moderators, the focus is one of them.
func (a *AVModeration) lists(r *muc.Room, media string, removed bool) {
	delete(a.stale, media)
	r.Broadcast(a.list(r, media, removed), moderates)
}

// later tells them in a moment.
func (a *AVModeration) later(r *muc.Room, media string) {
	a.stale[media] = true
	if a.timer {
		return
	}
	a.timer = true
	r.After(listDelay, func() {
		a.timer = false
		for _, media := range mediaTypes {
			if a.stale[media] && a.media[media] != nil {
				a.lists(r, media, false)
			}
		}
	})
}

func moderates(o *muc.Occupant) bool { return o.Role == muc.RoleModerator }

// Command implements muc.Command.
func (a *AVModeration) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(xmpp.NSClient, AVModerationName)
	if el == nil {
		return xmpp.BadRequest("")
	}
	media := el.Get("mediaType")
	switch {
	case r.Main() != r, !moderates(o):
		return xmpp.Forbidden("") // breakout rooms aren't moderated
	case !slices.Contains(mediaTypes, media):
		return xmpp.BadRequest("")
	}
	if on, ok := el.Lookup("enable"); ok {
		if on == "true" {
			a.start(r, o, media)
		} else {
			a.stop(r, o, media)
		}
		return nil
	}
	if who, ok := el.Lookup("jidToWhitelist"); ok {
		return a.approve(r, o, who, media)
	}
	if who, ok := el.Lookup("jidToBlacklist"); ok {
		return a.reject(r, who, media)
	}
	return xmpp.BadRequest("")
}

func (a *AVModeration) start(r *muc.Room, actor *muc.Occupant, media string) {
	if a.media[media] != nil {
		return // two moderators at once
	}
	m := &moderation{actor: actor.JID().String()}
	for _, o := range r.Occupants() {
		if moderates(o) && !o.Admin() {
			m.allow(r, o)
		}
	}
	a.media[media] = m
	meta := MetadataOf(r)
	if v, ok := meta.startMuted()[media]; ok {
		m.muted = &v
	}
	meta.muteStarters(r, map[string]bool{media: true})
	r.Broadcast(a.switched(r, media, m.actor, true), nil)
	a.lists(r, media, false)
}

func (a *AVModeration) stop(r *muc.Room, actor *muc.Occupant, media string) {
	m := a.media[media]
	if m == nil {
		return
	}
	delete(a.media, media)
	if meta := MetadataOf(r); meta.startMuted()[media] {
		meta.muteStarters(r, map[string]bool{media: m.muted != nil && *m.muted})
	}
	r.Broadcast(a.switched(r, media, actor.JID().String(), false), nil)
}

// approve lets somebody unmute. Where nothing is moderated it only asks.
func (a *AVModeration) approve(r *muc.Room, actor *muc.Occupant, who, media string) error {
	o, err := named(r, who)
	if err != nil {
		return err
	}
	m := a.media[media]
	if m == nil {
		r.Tell(o, a.stanza(r, avMessage{MediaType: media, Approved: true, From: actor.JID().String()}))
		return nil
	}
	m.allow(r, o)
	a.lists(r, media, false)
	if !moderates(o) {
		r.Tell(o, a.stanza(r, avMessage{MediaType: media, Approved: true}))
	}
	return nil
}

func (a *AVModeration) reject(r *muc.Room, who, media string) error {
	o, err := named(r, who)
	if err != nil {
		return err
	}
	m := a.media[media]
	if m == nil || !m.disallow(o.JID()) {
		return nil
	}
	a.lists(r, media, true)
	if !moderates(o) {
		r.Tell(o, a.stanza(r, avMessage{MediaType: media, Removed: true}))
	}
	return nil
}

// named is the occupant of this room whose address a client wrote.
func named(r *muc.Room, who string) (*muc.Occupant, error) {
	j, err := xmpp.ParseJID(who)
	if err != nil || j.Resource == "" {
		return nil, xmpp.JIDMalformed("")
	}
	o := r.Occupant(j.Resource)
	if j.Bare() != r.JID() || o == nil || o.Admin() {
		return nil, xmpp.ItemNotFound("")
	}
	return o, nil
}

// allow reports whether o is new to the list. Of those who went to a breakout room
// some never come back: the list, which goes to all moderators, does not grow by them.
func (m *moderation) allow(r *muc.Room, o *muc.Occupant) bool {
	x := approved{o.JID(), o.Bare()}
	if slices.Contains(m.allowed, x) {
		return false
	}
	m.disallow(x.occupant)
	if len(m.allowed) >= allowedSlack+2*len(r.Occupants()) {
		m.forgetGone(r)
	}
	m.allowed = append(m.allowed, x)
	return true
}

// forgetGone takes those off the list who are in no room of the meeting: people take
// their nick along.
func (m *moderation) forgetGone(r *muc.Room) {
	here := map[approved]bool{}
	for _, in := range r.Inside() {
		for _, o := range in.Occupants() {
			here[approved{r.JID().WithResource(o.Nick), o.Bare()}] = true
		}
	}
	m.allowed = slices.DeleteFunc(m.allowed, func(x approved) bool { return !here[x] })
}

// disallow reports whether the occupant was on the list.
func (m *moderation) disallow(occupant xmpp.JID) bool {
	n := len(m.allowed)
	m.allowed = slices.DeleteFunc(m.allowed, func(x approved) bool { return x.occupant == occupant })
	return len(m.allowed) < n
}

// Joined implements muc.Joined: the joiner learns what is moderated. The focus, too:
// it may be a new one.
func (a *AVModeration) Joined(r *muc.Room, o *muc.Occupant) {
	for _, media := range mediaTypes {
		m := a.media[media]
		if m == nil {
			continue
		}
		r.Tell(o, a.switched(r, media, m.actor, true))
		changed := slices.ContainsFunc(m.allowed, func(x approved) bool { return x.occupant == o.JID() && x.bare != o.Bare() }) &&
			m.disallow(o.JID())
		if moderates(o) {
			changed = !o.Admin() && m.allow(r, o) || changed
			r.Tell(o, a.list(r, media, false))
		}
		if changed {
			a.later(r, media)
		}
	}
	a.preset(r, o)
}

// Ranked implements muc.Ranked: new moderators may unmute and learn who else may.
func (a *AVModeration) Ranked(r *muc.Room, o *muc.Occupant, _ muc.Role, _ *muc.Occupant) {
	if !moderates(o) || o.Admin() {
		return
	}
	for _, media := range mediaTypes {
		if m := a.media[media]; m != nil {
			m.allow(r, o)
			a.lists(r, media, false)
		}
	}
	a.preset(r, o)
}

// preset is the room's policy that nobody unmutes: it begins with the first
// moderator, who can end it.
func (a *AVModeration) preset(r *muc.Room, o *muc.Occupant) {
	if a.first || !moderates(o) || o.Admin() {
		return
	}
	a.first = true
	if r.Policy().Muted {
		for _, media := range mediaTypes {
			a.start(r, o, media)
		}
	}
}

// Left implements muc.Left. Approval ends with the stay, but not with a visit to a
// breakout room.
func (a *AVModeration) Left(r *muc.Room, o *muc.Occupant, why muc.Departure) {
	if why.Switch {
		return
	}
	for _, media := range mediaTypes {
		if m := a.media[media]; m != nil && m.disallow(o.JID()) {
			a.later(r, media)
		}
	}
}
