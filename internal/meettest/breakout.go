package meettest

import (
	"context"
	"encoding/json"
	"fmt"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Breakouts is the state of all rooms of a meeting (client-signaling §10.9).
type Breakouts struct {
	RoomCounter int                     `json:"roomCounter"`
	Rooms       map[string]BreakoutRoom `json:"rooms"` // by the local part of the address
}

// BreakoutRoom is one room of a meeting.
type BreakoutRoom struct {
	IsMainRoom   bool                           `json:"isMainRoom"`
	JID          string                         `json:"jid"`
	Name         string                         `json:"name"`
	Participants map[string]BreakoutParticipant `json:"participants"` // by address in the room
}

// BreakoutParticipant is somebody in such a room.
type BreakoutParticipant struct {
	JID         string `json:"jid"` // real address
	Role        string `json:"role"`
	DisplayName string `json:"displayName"`
}

// Named is the room of that name.
func (b *Breakouts) Named(name string) (BreakoutRoom, bool) {
	for _, r := range b.Rooms {
		if r.Name == name && !r.IsMainRoom {
			return r, true
		}
	}
	return BreakoutRoom{}, false
}

const breakoutFeature = "features/breakout-rooms/"

// breakout is what commands and events are sent as: attributes one after the other.
func (c *Client) breakout(command string, attrs ...string) error {
	var e xmpp.Enc
	e.Start("breakout_rooms", "").Attr("type", breakoutFeature+command)
	for i := 0; i+1 < len(attrs); i += 2 {
		e.Attr(attrs[i], attrs[i+1])
	}
	return c.Send(xmpp.Message, "", "", c.Component("breakout_rooms"), e.End().String())
}

// AddBreakout makes a breakout room.
func (c *Client) AddBreakout(name string) error { return c.breakout("add", "subject", name) }

// RemoveBreakout removes one.
func (c *Client) RemoveBreakout(room xmpp.JID) error {
	return c.breakout("remove", "breakoutRoomJid", room.String())
}

// SendTo asks somebody to go to another room.
func (c *Client) SendTo(who *Client, room xmpp.JID) error {
	return c.breakout("move-to-room", "participantJid", who.jid.String(), "roomJid", room.String())
}

// breakoutEvent is the payload of an event of that name, or nil.
func breakoutEvent(s *xmpp.Stanza, name string) json.RawMessage {
	el := s.Child(jitmeet.NS, "json-message")
	if s.Kind != xmpp.Message || el == nil {
		return nil
	}
	var msg struct{ Type, Event string }
	if json.Unmarshal([]byte(el.Text), &msg) != nil || msg.Type != "breakout_rooms" || msg.Event != breakoutFeature+name {
		return nil
	}
	return json.RawMessage(el.Text)
}

// ExpectBreakouts waits for an update that ok accepts. what completes "waited for …".
func (c *Client) ExpectBreakouts(ctx context.Context, what string, ok func(*Breakouts) bool) (*Breakouts, error) {
	var b *Breakouts
	_, err := c.Expect(ctx, what, func(s *xmpp.Stanza) bool {
		raw := breakoutEvent(s, "update")
		if raw == nil {
			return false
		}
		b = &Breakouts{}
		return json.Unmarshal(raw, b) == nil && ok(b)
	})
	return b, err
}

// Follow waits until a moderator sends the client to a room and goes there, as the
// app does: it leaves with the word by which its nick is kept, asks the focus, and
// joins under the same nick.
func (c *Client) Follow(ctx context.Context) error {
	s, err := c.Expect(ctx, "to be sent to another room", func(s *xmpp.Stanza) bool { return breakoutEvent(s, "move-to-room") != nil })
	if err != nil {
		return err
	}
	var msg struct {
		Room string `json:"roomJid"`
	}
	_ = json.Unmarshal(breakoutEvent(s, "move-to-room"), &msg)
	room, err := xmpp.ParseJID(msg.Room)
	if err != nil || room.Local == "" || !room.IsBare() {
		return &Fault{"the address of a room in move-to-room", s.String()}
	}
	return c.Switch(ctx, room)
}

// Switch goes to another room of the meeting.
func (c *Client) Switch(ctx context.Context, room xmpp.JID) error {
	if err := c.leave(ctx, "switch_room"); err != nil {
		return fmt.Errorf("on the way to %s: %w", room, err)
	}
	return c.Enter(ctx, room, "")
}
