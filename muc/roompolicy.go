package muc

import (
	"slices"
	"strings"
	"time"

	"confab/xmpp"
)

// RoomPolicy is what somebody outside has settled about a room before it exists:
// a host by the HTTP interface, a booking (room-services.md §10).
type RoomPolicy struct {
	Subject      string
	Password     string
	MaxOccupants int  // people; 0 leaves it to the service
	Lobby        bool // people wait until they are let in
	NoLobby      bool // moderators can't have one

	// Moderators and Members are bare addresses of accounts, or ids of token users
	// (Client.User). Members need no knocking, moderators are that from the start.
	Moderators    []string
	Members       []string
	AllModerators bool

	NoGuests    bool // only token users
	Muted       bool // participants may not unmute (AV moderation from the start)
	HideNames   bool // guests see nobody's identity
	FromBooking bool // ends with the booking
}

// Over is p with what only q says added.
func (p RoomPolicy) Over(q RoomPolicy) RoomPolicy {
	if p.Subject == "" {
		p.Subject = q.Subject
	}
	if p.Password == "" {
		p.Password = q.Password
	}
	if p.MaxOccupants == 0 {
		p.MaxOccupants = q.MaxOccupants
	}
	p.Moderators = slices.Concat(p.Moderators, q.Moderators)
	p.Members = slices.Concat(p.Members, q.Members)
	p.Lobby, p.NoLobby = p.Lobby || q.Lobby, p.NoLobby || q.NoLobby
	p.AllModerators, p.NoGuests = p.AllModerators || q.AllModerators, p.NoGuests || q.NoGuests
	p.Muted, p.HideNames = p.Muted || q.Muted, p.HideNames || q.HideNames
	p.FromBooking = p.FromBooking || q.FromBooking
	return p
}

// Standing is what the policy says of somebody with an address and an id, which may
// be empty: owner, member or none.
func (p *RoomPolicy) Standing(bare xmpp.JID, id string) Affiliation {
	among := func(list []string) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			if strings.Contains(s, "@") {
				return s == bare.String()
			}
			return s != "" && s == id
		})
	}
	switch {
	case p.AllModerators || among(p.Moderators):
		return AffOwner
	case among(p.Members):
		return AffMember
	}
	return AffNone
}

// Policy is what somebody outside has settled about the room.
func (r *Room) Policy() *RoomPolicy { return &r.policy }

// settle makes a new room as its policy wants it.
func (r *Room) settle(p RoomPolicy) {
	r.policy = p
	r.conf.password = p.Password
	r.conf.membersOnly = p.Lobby && !p.NoLobby
	r.maxOcc = p.MaxOccupants
	if p.Subject != "" {
		r.subject = subject{text: p.Subject, from: r.jid, at: time.Now()}
	}
}
