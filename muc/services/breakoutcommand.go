package services

import (
	"encoding/json"
	"strings"

	"confab/muc"
	"confab/xmpp"
)

// Commands of moderators, and the event that carries one of them out.
const (
	commandAdd    = "features/breakout-rooms/add"
	commandRemove = "features/breakout-rooms/remove"
	commandRename = "features/breakout-rooms/rename"
	commandMove   = "features/breakout-rooms/move-to-room"
)

// Command implements muc.Command; r is the room of the meeting that o is in.
func (b *breakouts) Command(_ *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(xmpp.NSClient, BreakoutName) // LJM gives it no namespace
	switch {
	case el == nil:
		return xmpp.BadRequest("")
	case o.Role != muc.RoleModerator:
		return xmpp.Forbidden("")
	}
	switch el.Get("type") {
	case commandAdd:
		return b.add(el.Get("subject"))
	case commandRemove:
		return b.remove(el.Get("breakoutRoomJid"))
	case commandRename:
		return b.rename(el.Get("breakoutRoomJid"), el.Get("subject"))
	case commandMove:
		return b.move(el.Get("participantJid"), el.Get("roomJid"))
	}
	return xmpp.BadRequest("")
}

// roomName checks the name of a room.
func roomName(text string) (string, error) {
	name := strings.TrimSpace(text)
	switch {
	case name == "":
		return "", xmpp.BadRequest("")
	case len(name) > breakoutName:
		return "", xmpp.NotAcceptable("name too long")
	}
	return name, nil
}

// add makes a room. Nobody is in it yet: the focus enters it when somebody asks.
func (b *breakouts) add(subject string) error {
	name, err := roomName(subject)
	if err != nil {
		return err
	}
	if len(b.rooms()) >= int(b.feature.max.Load()) {
		return xmpp.ResourceConstraint("too many breakout rooms")
	}
	r, err := b.main.Open(b.feature.sv, "")
	if err != nil {
		return err
	}
	b.activate()
	b.counter++
	b.named(r, name)
	return nil
}

func (b *breakouts) named(r *muc.Room, name string) {
	r.Service(BreakoutName).(*breakoutRoom).name = name
	r.SetSubject(name)
	b.changed()
}

// find is the breakout room of the meeting that has this address.
func (b *breakouts) find(text string) (*muc.Room, error) {
	j, err := xmpp.ParseJID(text)
	if err != nil {
		return nil, xmpp.JIDMalformed("")
	}
	for _, r := range b.rooms() {
		if r.JID() == j {
			return r, nil
		}
	}
	return nil, xmpp.ItemNotFound("")
}

// remove ends a room. The app asks everybody in it to come back first; who has not
// left yet learns the way from the answer.
func (b *breakouts) remove(room string) error {
	r, err := b.find(room)
	if err != nil {
		return err
	}
	for _, o := range r.Occupants() {
		for _, t := range o.Seats {
			b.departs(o.Nick, t.Real)
		}
	}
	r.Destroy(b.main.JID(), "Breakout room removed.", nil)
	b.endIfDeserted(true)
	return nil
}

func (b *breakouts) rename(room, subject string) error {
	name, err := roomName(subject)
	if err != nil {
		return err
	}
	r, err := b.find(room)
	if err != nil {
		return err
	}
	b.named(r, name)
	return nil
}

// move asks somebody to go to another room. It must be one of the meeting: a
// message from this address makes clients obey.
func (b *breakouts) move(participant, room string) error {
	to, err := xmpp.ParseJID(room)
	if err != nil {
		return xmpp.JIDMalformed("")
	}
	if !b.active || to != b.main.JID() {
		if _, err = b.find(room); err != nil {
			return err
		}
	}
	who, err := xmpp.ParseJID(participant)
	if err != nil {
		return xmpp.JIDMalformed("")
	}
	in, t := b.main.Find(who)
	if t == nil || t.Occ().Admin() || in != b.main && in.Service(BreakoutName) == nil {
		return xmpp.ItemNotFound("")
	}
	text, err := json.Marshal(struct {
		Type  string `json:"type"`
		Event string `json:"event"`
		Room  string `json:"roomJid"`
	}{BreakoutName, commandMove, to.String()})
	if err != nil {
		return xmpp.InternalServerError("")
	}
	in.Deliver(t, b.feature.message(text))
	return nil
}

// message is one of the component to clients.
func (f *Breakouts) message(text []byte) *xmpp.Stanza {
	return xmpp.NewStanza(xmpp.Message, "", "", xmpp.JID{Domain: f.cfg.Domain}, xmpp.JID{}, jsonMessage("", text))
}
