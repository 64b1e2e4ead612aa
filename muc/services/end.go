package services

import (
	"confab/muc"
	"confab/xmpp"
)

// EndConferenceName is the service that ends meetings for all, and its identity:
// without it the app has no such button.
const EndConferenceName = "end_conference"

// EndConference lets a moderator end the meeting for everybody.
type EndConference struct{}

// NewEndConference makes the service of one room; it fits muc.Config.Services.
func NewEndConference(*muc.Room) muc.RoomService { return EndConference{} }

// Name implements muc.RoomService.
func (EndConference) Name() string { return EndConferenceName }

// Command implements muc.Command. Only who is in the main room can end it
// (room-services.md §6.8).
func (EndConference) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	switch {
	case s.Child(xmpp.NSClient, EndConferenceName) == nil:
		return xmpp.BadRequest("")
	case r.Main() != r, o.Role != muc.RoleModerator:
		return xmpp.Forbidden("")
	}
	r.Destroy(xmpp.JID{}, muc.TextTerminated, nil)
	return nil
}
