package policy

import (
	"time"

	"confab/muc"
	"confab/xmpp"
)

// VisitorsName is the room service that knows whom visitors' mode lets into a main
// room.
const VisitorsName = "visitors"

// Admitter is that service.
type Admitter interface {
	// Admit says why somebody is not let in, nil if it is. It may give the join the
	// room's password.
	Admit(r *muc.Room, j *muc.Join) *xmpp.StanzaError
}

// Visitors keeps those out of a main room whom the focus has sent, or would send,
// to the room of its visitors (room-services.md §6.9).
type Visitors struct{}

// Name implements muc.Stage.
func (Visitors) Name() string { return "visitors" }

// Join implements muc.Stage.
func (Visitors) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if v, ok := r.Service(VisitorsName).(Admitter); ok && !j.Admin {
		if err := v.Admit(r, j); err != nil {
			return muc.Refuse(err)
		}
	}
	return muc.Pass
}

// VisitorRooms makes the pipeline of a room of visitors, of whom it takes so many; host
// is where they log in. They have no standing there, but the main room's password is
// theirs, and a token that doesn't open that room opens no view of it.
func VisitorRooms(c Config, host string, most int) func() []muc.Stage {
	return func() []muc.Stage {
		var tokens *TokenRules
		if c.Tokens != nil {
			tokens = c.Tokens()
		}
		if tokens != nil && tokens.GuestDomain != "" {
			// Guests have a host of their own, on which they need none; visitors are guests.
			t := *tokens
			t.GuestDomain, tokens = host, &t
		}
		return []muc.Stage{
			OfMain{Token{tokens}},
			Nick{Restrict: c.RestrictNicks, Meeting: true},
			MaxOccupants{Limit: most},
			NewRateLimit(c.JoinRate, time.Now),
			FocusFirst{},
			NoLobby{},
			Banned{},
			OfMain{NewPassword(c.PasswordTries, time.Now)},
		}
	}
}

// NoLobby keeps visitors away from a meeting whose people are looked at one by one:
// who waits in the lobby would only have to come as a visitor.
type NoLobby struct{}

// Name implements muc.Stage.
func (NoLobby) Name() string { return "nolobby" }

// Join implements muc.Stage.
func (NoLobby) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if r.Main().MembersOnly() && j.Person(r) {
		err := xmpp.NotAllowed("Visitors not allowed while lobby is on!")
		err.App = `<no-visitors-lobby xmlns="jitsi:visitors"/>` // LJM ChatRoom.onPresenceError
		return muc.Refuse(err)
	}
	return muc.Pass
}

// OfMain is a stage that decides by what the main room is like.
type OfMain struct{ muc.Stage }

// Join implements muc.Stage.
func (s OfMain) Join(r *muc.Room, j *muc.Join) muc.Verdict { return s.Stage.Join(r.Main(), j) }
