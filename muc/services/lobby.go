package services

import (
	"encoding/json"

	"confab/muc"
	"confab/xmpp"
)

// LobbyName is the service, and the type of its identity.
const LobbyName = muc.LobbyService

// holdLobby is why a main room with nobody in it is kept.
const holdLobby = "lobby"

// textLobbyClosed is what LJM has a translation of.
const textLobbyClosed = "Lobby room closed."

// Lobby is the waiting room of one meeting (room-services.md §6.1): when the room is
// for members only, others wait in a room of the lobby's MUC domain until a moderator
// invites them into the main one.
type Lobby struct {
	all  *Lobbies
	side *muc.Room // nil until somebody needs it

	on         bool // the room is for members only, and everybody knows
	await      bool // nobody comes in before a host does
	persistent bool // who waits keeps the main room
}

// newRoom makes the lobby of a main room; it fits muc.Config.Services.
func (all *Lobbies) newRoom(r *muc.Room) muc.RoomService {
	l := &Lobby{all: all, await: all.cfg.AwaitHost}
	if r.MembersOnly() { // settled before the room existed
		l.on, l.persistent = true, true
		setMetadata(r, "lobbyEnabled", true, false)
	}
	l.note(r)
	return l
}

// Name implements muc.RoomService.
func (*Lobby) Name() string { return LobbyName }

// note tells the address of the lobbies how things are.
func (l *Lobby) note(r *muc.Room) {
	l.all.note(r.JID(), lobbyState{on: l.on, never: r.Policy().NoLobby && !l.await})
}

// AwaitsHost implements policy.Lobby.
func (l *Lobby) AwaitsHost(*muc.Room) bool { return l.await }

// Knock implements policy.Lobby: it opens the lobby if need be, and says where it is
// (LJM ChatRoom.onPresenceError).
func (l *Lobby) Knock(r *muc.Room, j *muc.Join) *xmpp.StanzaError {
	stock := j.Client.Room != ""
	if stock && !l.await && !j.Named() {
		return muc.NameRequired(true)
	}
	if l.await && !r.MembersOnly() {
		l.persistent = true
		r.SetMembersOnly(true, nil)
	}
	side, err := l.room(r)
	if err != nil {
		return err
	}
	refused := xmpp.RegistrationRequired("")
	refused.Code = "407"
	addr := side.JID().String()
	var e xmpp.Enc
	if l.await {
		e.Start("waiting-for-host", muc.NSJitsi).End()
	}
	refused.App = e.Leaf("lobbyroom", muc.NSJitsi, addr).String()
	// Older mobile apps and gateways look for it outside.
	refused.Beside = new(xmpp.Enc).Leaf("lobbyroom", "", addr).String()
	if !stock {
		refused.Text = "Somebody has to let you in: join " + addr + " and wait for an invitation"
		if l.await {
			refused.Text = "The meeting begins when its host is there: join " + addr + " and wait for an invitation"
		}
	}
	return refused
}

// room is the room in which people wait.
func (l *Lobby) room(r *muc.Room) (*muc.Room, *xmpp.StanzaError) {
	if l.side != nil {
		return l.side, nil
	}
	local := r.JID().Local
	if t := r.Tenant(); t != "" {
		local = "[" + t + "]" + local
	} else if local[0] == '[' {
		local = "[]" + local // else it would be the lobby of a tenant's room
	}
	side, err := r.Open(l.all.side, local)
	if err != nil {
		l.all.log.Warn("lobby not opened", "room", r.JID().String(), "err", err)
		return nil, xmpp.ServiceUnavailable("")
	}
	l.side = side
	return side, nil
}

// Form implements muc.Formed: by this field moderators find the lobby. Without it LJM
// forgets where it was.
func (l *Lobby) Form(r *muc.Room, f *muc.Form) {
	if !l.on || f.Type() != muc.NSRoomInfo {
		return
	}
	if side, err := l.room(r); err == nil {
		f.Text("muc#roominfo_lobbyroom", side.JID().String())
	}
}

// Submit implements muc.Formed. A stock client makes all members before it closes the
// room; another one need not, and nobody is put out by it.
func (l *Lobby) Submit(r *muc.Room, _ *muc.Occupant, f *muc.Form) error {
	closed, ok := f.Flag("muc#roomconfig_membersonly")
	if !ok || !closed || r.MembersOnly() {
		return nil
	}
	if r.Policy().NoLobby {
		return xmpp.NotAllowed("This meeting has no lobby")
	}
	if _, err := l.room(r); err != nil {
		return err
	}
	l.admitPresent(r)
	return nil
}

// admitPresent makes members of all who are in the meeting, in breakout rooms, too.
func (l *Lobby) admitPresent(r *muc.Room) {
	var todo []xmpp.JID
	for _, in := range r.Inside() {
		for _, o := range in.Occupants() {
			if o.Person() && o.Aff == muc.AffNone {
				todo = append(todo, o.Bare())
			}
		}
	}
	for _, bare := range todo {
		r.Affiliate(bare, muc.AffMember, nil, "")
	}
}

// Configured implements muc.Configured.
func (l *Lobby) Configured(r *muc.Room, actor *muc.Occupant) {
	on := r.MembersOnly()
	if on == l.on {
		return
	}
	l.on = on
	l.note(r)
	l.all.log.Info("lobby switched", "room", r.JID().String(), "on", on)
	if actor != nil {
		l.notify(r, actor.Seats[0].Real, notice{Event: "LOBBY-ENABLED", Value: on})
	}
	setMetadata(r, "lobbyEnabled", on, true)
	if !on {
		l.close(r, r.JID(), textLobbyClosed)
	}
}

// Open sends everybody who is not in yet to the lobby, in the server's name. The main
// room stays while somebody waits, though nobody be in it (room-services.md §5.17).
func (l *Lobby) Open(r *muc.Room) error {
	if r.Policy().NoLobby {
		return xmpp.NotAllowed("This meeting has no lobby")
	}
	if _, err := l.room(r); err != nil {
		return err
	}
	l.persistent = true
	l.admitPresent(r)
	r.SetMembersOnly(true, nil)
	l.hold(r)
	return nil
}

// LobbyOf is the lobby of a main room, or nil.
func LobbyOf(r *muc.Room) *Lobby {
	l, _ := r.Main().Service(LobbyName).(*Lobby)
	return l
}

// On reports whether people have to wait.
func (l *Lobby) On() bool { return l.on }

// close ends the waiting; who waits is sent to the room to, or nowhere.
func (l *Lobby) close(r *muc.Room, to xmpp.JID, reason string) {
	l.persistent = false
	if side := l.side; side != nil {
		l.side = nil
		side.Destroy(to, reason, nil)
	}
	r.Unhold(holdLobby)
}

// Joined implements muc.Joined: the first host opens the doors.
func (l *Lobby) Joined(r *muc.Room, o *muc.Occupant) {
	l.arrived(o)
	if !l.await || !o.Person() || !r.IsHost(o.Bare(), o.Seats[0].Client) {
		return
	}
	l.await = false
	l.note(r)
	l.all.log.Info("host arrived", "room", r.JID().String(), "jid", o.Seats[0].Real.String())
	if l.on && !r.Policy().Lobby {
		l.close(r, r.JID(), "Host arrived.")
		r.SetMembersOnly(false, nil)
	}
}

// arrived takes who is in the meeting out of the lobby. LJM leaves it by itself (Lobby
// on MUC_JOINED); a person with a plain client would have to think of it, and moderators
// would go on being shown somebody who waits.
func (l *Lobby) arrived(o *muc.Occupant) {
	if l.side == nil || o.Seats[0].Client.Room != "" {
		return
	}
	if in := l.side.Occupies(o.Seats[0].Real); in != nil && waitingOf(l.side).guest[in] {
		l.side.Dismiss(in)
	}
}

// Ended implements muc.Ended.
func (l *Lobby) Ended(r *muc.Room) {
	l.close(r, xmpp.JID{}, textLobbyClosed)
	l.all.forget(r.JID())
}

// Waiting implements muc.Door.
func (l *Lobby) Waiting(_ *muc.Room, to xmpp.JID) (out []xmpp.JID) {
	for _, o := range l.guests(to) {
		for _, t := range o.Seats {
			if to.IsBare() || t.Real == to {
				out = append(out, t.Real)
			}
		}
	}
	return out
}

// guests are those who wait under an address, bare or full.
func (l *Lobby) guests(to xmpp.JID) (out []*muc.Occupant) {
	if l.side == nil {
		return nil
	}
	w := waitingOf(l.side)
	if !to.IsBare() {
		if o := l.side.Occupies(to); o != nil && w.guest[o] {
			out = append(out, o)
		}
		return out
	}
	for _, o := range l.side.Occupants() {
		if o.Bare() == to && w.guest[o] {
			out = append(out, o)
		}
	}
	return out
}

// Admit implements muc.Door.
func (l *Lobby) Admit(r *muc.Room, by *muc.Seat, to xmpp.JID) {
	for _, o := range l.guests(to) {
		name, _ := o.Name()
		l.notify(r, by.Real, notice{Event: "LOBBY-ACCESS-GRANTED", Value: o.JID().String(), Name: name})
	}
}

// notice is what everybody in the main room is told of the lobby.
type notice struct {
	Type  string `json:"type"`
	Event string `json:"event"`
	Value any    `json:"value"`
	Name  string `json:"name,omitempty"`
}

// notify tells the main room, as if the actor said it: LJM shows whose message it is
// as who did it. One who is in a breakout room says nothing there, as in stock.
func (l *Lobby) notify(r *muc.Room, actor xmpp.JID, n notice) {
	o := r.Occupies(actor)
	if o == nil {
		return
	}
	n.Type = "lobby-notify"
	b, err := json.Marshal(n)
	if err != nil {
		return
	}
	r.Broadcast(xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, "", o.JID(), xmpp.JID{}, jsonMessage("", b)), nil)
}

// hold keeps the main room while somebody waits, if it is to.
func (l *Lobby) hold(r *muc.Room) {
	if l.persistent && l.side != nil && len(waitingOf(l.side).guest) > 0 {
		r.Hold(holdLobby)
		return
	}
	r.Unhold(holdLobby)
}
