package services

import (
	"crypto/rand"
	"strings"

	"confab/muc"
	"confab/xmpp"
)

// MessageLimitName is the service.
const MessageLimitName = "message_limit"

// textLimit is what all in the room read, once, and who writes on.
const textLimit = "The message limit for the room has been reached. Messaging is now disabled."

// MessageLimit ends the chat of a meeting after so many messages, for sites that are
// abused as a chat (mod_muc_limit_messages).
type MessageLimit struct {
	max        int
	tokenLifts bool
	n          int
	lifted     bool
	told       bool // everybody
}

// NewMessageLimit makes the service of one room; breakout rooms count with their
// main room. tokenLifts ends the limit when somebody with a token writes.
func NewMessageLimit(max int, tokenLifts bool) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService { return &MessageLimit{max: max, tokenLifts: tokenLifts} }
}

// Name implements muc.RoomService.
func (*MessageLimit) Name() string { return MessageLimitName }

// Filter implements muc.Filter. All that goes to everybody counts, but votes of the
// polls of old clients.
func (l *MessageLimit) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind != xmpp.Message {
		return s, nil
	}
	if el := s.Child("", "json-message"); el != nil && !s.Has("", "body") && strings.Contains(el.Text, "answer-poll") {
		return s, nil
	}
	if err := l.count(r, o); err != nil {
		return nil, err
	}
	return s, nil
}

// Private implements muc.Private. Only chat counts: keys of end-to-end encryption are
// no chat.
func (l *MessageLimit) Private(r *muc.Room, from, _ *muc.Occupant, s *xmpp.Stanza) error {
	if !s.Has("", "body") {
		return nil
	}
	return l.count(r, from)
}

func (l *MessageLimit) count(r *muc.Room, o *muc.Occupant) error {
	if main, ok := r.Main().Service(MessageLimitName).(*MessageLimit); ok {
		l = main
	}
	switch {
	case l.lifted, !o.Person():
		return nil
	case l.tokenLifts && o.Claims() != nil:
		l.lifted = true
		return nil
	}
	if l.n < l.max {
		l.n++
		return nil
	}
	if !l.told {
		l.told = true
		var e xmpp.Enc
		e.Leaf("body", "", textLimit)
		for _, in := range r.Meeting() {
			if in.Main() != in && !in.Breakout() && !in.Visitors() {
				continue // who waits in the lobby hears moderators only
			}
			in.Broadcast(xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, rand.Text(), in.JID(), xmpp.JID{}, e.String()), nil)
		}
	}
	return xmpp.NotAllowed(textLimit)
}
