package policy

import (
	"time"

	"confab/muc"
)

// Breakout makes the pipeline of a breakout room; it fits muc.Config.Stages. Who
// has been in the main room has passed the checks of that one.
func Breakout(c Config) func() []muc.Stage {
	return func() []muc.Stage {
		return []muc.Stage{
			Nick{Restrict: c.RestrictNicks, Meeting: true},
			NewRateLimit(c.JoinRate, time.Now),
			Breakouts{}, // before the focus is called: strangers can't make it come
			FocusFirst{},
			Banned{},
			NewPassword(c.PasswordTries, time.Now),
		}
	}
}

// Breakouts asks the meeting's breakout rooms: whether somebody may enter one, and
// that nobody takes the nick of somebody in another room (room-services.md §6.2).
type Breakouts struct{}

// admitter is the service that knows.
type admitter interface {
	Admit(r *muc.Room, j *muc.Join) muc.Verdict
}

// Name implements muc.Stage.
func (Breakouts) Name() string { return "breakouts" }

// Join implements muc.Stage.
func (Breakouts) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if a, ok := r.Main().Service("breakout_rooms").(admitter); ok {
		return a.Admit(r, j)
	}
	return muc.Pass
}
