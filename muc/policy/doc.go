// Package policy holds the stages of the join pipeline: what decides whether
// somebody may enter a room, in the order of room-services.md §3.
//
// Rules of this package:
//   - A stage has a name, decides about one join, and waits for nothing.
//   - A stage belongs to one room; what it remembers is about that room.
//   - The order in Main and Internal is the contract; each stage says why it
//     stands where it does only if moving it would break something.
package policy

import (
	"time"

	"confab/muc"
)

// Config switches and sizes the stages.
type Config struct {
	// RestrictNicks refuses nicks that Jitsi clients don't use
	// (rooms.restrict_nicks).
	RestrictNicks bool
	// MaxOccupants is how many people fit; 0 is no limit (rooms.max_occupants).
	MaxOccupants int
	// JoinRate is how many joins a second a room takes; the excess waits. 0 is no
	// limit (rooms.join_rate).
	JoinRate int
	// PasswordTries is how many wrong passwords a minute one address has for a room;
	// 0 is no limit (limits.password_tries).
	PasswordTries int
	// RequireDisplayName refuses people without a name (rooms.require_display_name).
	RequireDisplayName bool
	// FirstModerates says that the focus makes who comes first a moderator
	// (rooms.moderators = "first").
	FirstModerates bool
	// Everyone makes every joiner an owner (rooms.moderators = "everyone").
	Everyone Everyone
	// Tokens is asked for each new room; nil, or an answer of nil, takes no tokens
	// (auth.jwt.*).
	Tokens func() *TokenRules
}

// DefaultConfig is that of deployment.md §15.
func DefaultConfig() Config {
	return Config{RestrictNicks: true, MaxOccupants: 75, JoinRate: 20, PasswordTries: 10}
}

// Main makes the pipeline of a main room; it fits muc.Config.Stages.
func Main(c Config) func() []muc.Stage {
	return func() []muc.Stage {
		var tokens *TokenRules
		if c.Tokens != nil {
			tokens = c.Tokens()
		}
		password := NewPassword(c.PasswordTries, time.Now)
		return []muc.Stage{
			Token{tokens},
			Nick{Restrict: c.RestrictNicks, Meeting: true},
			Breakouts{}, // who comes back has its place in a full room
			Flip{},      // before the limit: nobody is added
			MaxOccupants{Limit: c.MaxOccupants},
			NewRateLimit(c.JoinRate, time.Now),
			HealthCheck{},
			FocusFirst{},
			Visitors{},
			WaitForHost{},
			Settled{},
			Gate{password, tokens, c.FirstModerates},
			DisplayName{c.RequireDisplayName},
			Members{},
			Banned{},
			password,
			Moderators{Everyone: c.Everyone, Rules: tokens},
			TokenAffiliation{tokens},
		}
	}
}
