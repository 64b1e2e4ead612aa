package policy

import (
	"time"

	"confab/muc"
	"confab/xmpp"
)

// Lobby is what the stages ask of the lobby of a room; a service of the room is it.
type Lobby interface {
	// AwaitsHost reports whether the meeting has to wait for a host.
	AwaitsHost(r *muc.Room) bool
	// Knock is the answer to a join that has to wait: where to.
	Knock(r *muc.Room, j *muc.Join) *xmpp.StanzaError
}

func lobbyOf(r *muc.Room) Lobby {
	l, _ := r.Service(muc.LobbyService).(Lobby)
	return l
}

// WaitForHost keeps people in the lobby until a host is there (mod_muc_wait_for_host).
// It stands before the stages that make moderators: not everybody whom they make one
// is a host.
type WaitForHost struct{}

// Name implements muc.Stage.
func (WaitForHost) Name() string { return "waitforhost" }

// Join implements muc.Stage.
func (WaitForHost) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	l := lobbyOf(r)
	switch {
	case l == nil, !j.Person(r), j.Returns, !l.AwaitsHost(r):
	case r.Affiliation(j.Real.Bare()) == muc.AffOutcast:
		return muc.Refuse(xmpp.Forbidden(""))
	case j.Client.Host:
		// The focus would make it one a moment later.
		r.SetAffiliation(j.Real.Bare(), muc.AffOwner)
		j.Vouched = true
	case r.IsHost(j.Real.Bare(), j.Client):
		approve(r, j)
	default:
		return muc.Refuse(l.Knock(r, j))
	}
	return muc.Pass
}

// approve lets somebody pass a room for members only, without its password.
func approve(r *muc.Room, j *muc.Join) {
	if r.Affiliation(j.Real.Bare()) == muc.AffNone {
		r.SetAffiliation(j.Real.Bare(), muc.AffMember)
	}
	j.Vouched = true
}

// Gate sends people who are no members to the lobby. Who is approved needs no
// password; who knows the password needs no approval (room-services.md §6.1). Hosts
// and services don't knock, nor does a moderator by token when nobody else could let
// it in: else one who loses its connection is shut out of its own meeting.
type Gate struct {
	password *Password
	tokens   *TokenRules
	first    bool // the first to come moderates
}

// Name implements muc.Stage.
func (Gate) Name() string { return "lobby" }

// Join implements muc.Stage.
func (g Gate) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	l, bare := lobbyOf(r), j.Real.Bare()
	if l == nil || !r.MembersOnly() || !j.Person(r) {
		return muc.Pass
	}
	switch aff := r.Affiliation(bare); {
	case aff == muc.AffOutcast:
		return muc.Pass // to be refused as such
	case aff >= muc.AffMember, j.Client.Host, j.Returns, g.tokens.moderates(j.Client.Claims) && !moderated(r):
		approve(r, j)
		return muc.Pass
	}
	if g.first && begins(r) {
		approve(r, j)
		return muc.Pass
	}
	if r.Password() != "" && j.Password != "" {
		right, err := g.password.try(r, j)
		switch {
		case err != nil:
			return muc.Refuse(err)
		case right:
			approve(r, j)
			return muc.Pass
		}
	}
	return muc.Refuse(l.Knock(r, j))
}

// moderated reports whether a moderator is in the meeting.
func moderated(r *muc.Room) bool {
	for _, in := range r.Inside() {
		for _, o := range in.Occupants() {
			if o.Person() && o.Role == muc.RoleModerator {
				return true
			}
		}
	}
	return false
}

// begins reports whether the first is to come into a room whose lobby was settled
// before, for no particular meeting: somebody must let the others in. A booking says
// who that is, or has hosts for it.
func begins(r *muc.Room) bool {
	p := r.Policy()
	if !p.Lobby || p.FromBooking || len(p.Moderators) > 0 {
		return false
	}
	for _, in := range r.Inside() {
		if in.People() > 0 {
			return false
		}
	}
	return true
}

// DisplayName refuses stock clients that say no name (rooms.require_display_name).
// Of plain clients the nick is the name.
type DisplayName struct{ Required bool }

// Name implements muc.Stage.
func (DisplayName) Name() string { return "displayname" }

// Join implements muc.Stage.
func (d DisplayName) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if !d.Required || !j.Person(r) || j.Client.Room == "" || j.Named() {
		return muc.Pass
	}
	return muc.Refuse(muc.NameRequired(false))
}

// Waiting makes the pipeline of a lobby; it fits muc.Config.Stages.
func Waiting(c Config) func() []muc.Stage {
	return func() []muc.Stage {
		return []muc.Stage{
			Nick{Restrict: c.RestrictNicks, Meeting: true},
			MaxOccupants{Limit: c.MaxOccupants},
			NewRateLimit(c.JoinRate, time.Now),
			Banned{},
			Entrance{},
		}
	}
}

// Entrance decides who may wait in a lobby.
type Entrance struct{}

// Name implements muc.Stage.
func (Entrance) Name() string { return "entrance" }

// Join implements muc.Stage.
func (Entrance) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	main := r.Main()
	if _, in := main.Find(j.Real); in != nil && r.Affiliation(j.Real.Bare()) < muc.AffAdmin {
		return muc.Refuse(xmpp.NotAllowed("Who is in the meeting does not wait for it"))
	}
	// The moderators join under the nicks that they have in the meeting: nobody keeps
	// them out by taking those.
	for _, in := range r.Meeting() {
		if in == r {
			continue
		}
		if o := in.Occupant(j.Nick); o != nil && o.Bare() != j.Real.Bare() {
			err := xmpp.Conflict("")
			err.By = r.JID().String()
			return muc.Refuse(err)
		}
	}
	if j.Client.Room == "" && !j.Named() {
		// Moderators see by whom a plain client is used.
		var e xmpp.Enc
		e.Leaf("nick", muc.NSNick, j.Stanza.To.Resource)
		j.Stanza = j.Stanza.WithoutChild(muc.NSNick, "nick").WithChild(e.String())
	}
	return muc.Pass
}
