package policy

import (
	"time"

	"confab/muc"
	"confab/xmpp"
)

// Breweries makes the pipeline of the rooms in which the server's own parts and
// external programs show themselves: each is for one account, by localpart. A
// recorder runs a browser on what strangers send it; whoever takes it over must
// not be a bridge as well.
func Breweries(accounts map[string]string) func() []muc.Stage {
	return func() []muc.Stage {
		return []muc.Stage{Nick{}, OneAccount{accounts}, Members{}, Banned{}, NewPassword(0, time.Now)}
	}
}

// OneAccount keeps rooms to the account that they are for; others are open.
type OneAccount struct{ ByRoom map[string]string }

// Name implements muc.Stage.
func (OneAccount) Name() string { return "account" }

// Join implements muc.Stage.
func (a OneAccount) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if want, ok := a.ByRoom[r.JID().Local]; ok && !j.Admin && j.Real.Local != want {
		return muc.Refuse(xmpp.Forbidden(""))
	}
	return muc.Pass
}
