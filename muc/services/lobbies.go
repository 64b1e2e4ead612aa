package services

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"confab/muc"
	"confab/xmpp"
)

// featureNameRequired makes LJM ask for a name before it knocks.
const featureNameRequired = "http://jitsi.org/protocol/lobbyrooms#displayname_required"

// LobbyConfig is what the lobbies of all meetings need to know.
type LobbyConfig struct {
	Domain    string             // lobby.DOMAIN
	Stages    func() []muc.Stage // of a lobby: policy.Waiting
	AwaitHost bool               // meetings begin when a host comes (rooms.wait_for_host)
	MaxRooms  int
	Presence  int // bytes of one presence
}

// Lobbies is the MUC domain of the lobbies, and what is known of each.
type Lobbies struct {
	cfg    LobbyConfig
	main   *muc.Service
	side   *muc.Service
	router *xmpp.Router
	log    *slog.Logger

	mu    sync.RWMutex
	rooms map[xmpp.JID]lobbyState // of main rooms; those that are as any are left out
}

// lobbyState is what sessions outside are told of a lobby.
type lobbyState struct{ on, never bool }

// NewLobbies makes the lobbies. Its NewRoom goes to the main MUC, which Attach is
// told of when it is there.
func NewLobbies(cfg LobbyConfig) *Lobbies {
	return &Lobbies{cfg: cfg, rooms: map[xmpp.JID]lobbyState{}}
}

// NewRoom makes the lobby of a main room; it fits muc.Config.Services. It goes behind
// other services that may refuse a form.
func (all *Lobbies) NewRoom(r *muc.Room) muc.RoomService { return all.newRoom(r) }

// Attach makes the MUC service of the lobbies, for the caller to run. The stanzas to
// its domain go to the Lobbies, as a handler.
func (all *Lobbies) Attach(main *muc.Service, router *xmpp.Router, client func(xmpp.Port) muc.Client, log *slog.Logger) *muc.Service {
	all.main, all.router, all.log = main, router, log
	all.side = muc.NewService(muc.Config{
		Domain: all.cfg.Domain, Main: main, MaxRooms: all.cfg.MaxRooms, PresenceBytes: all.cfg.Presence,
		// Who comes later learns nothing of who has waited before.
		History: -1,
		// LJM: in a lobby nothing handles these, which breaks the handling of all
		// presences of the connection (client-signaling.md §3 rule 7).
		Hidden: func(name string) bool { return strings.HasPrefix(name, "jitsi_participant_") },
		Stages: all.cfg.Stages, Services: []func(*muc.Room) muc.RoomService{newWaiting},
		Client: func(p xmpp.Port) muc.Client {
			c := client(p)
			c.Region = ""
			return c
		},
	}, all.router, all.log)
	return all.side
}

func (all *Lobbies) note(room xmpp.JID, st lobbyState) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if st == (lobbyState{}) {
		delete(all.rooms, room)
		return
	}
	all.rooms[room] = st
}

func (all *Lobbies) forget(room xmpp.JID) { all.note(room, lobbyState{}) }

// of is the state of the lobby of the meeting that a session is about.
func (all *Lobbies) of(user xmpp.JID) lobbyState {
	room, ok := all.main.RoomOf(user)
	if !ok {
		return lobbyState{}
	}
	all.mu.RLock()
	defer all.mu.RUnlock()
	return all.rooms[room]
}

// Tailor is what a session is told of the server when its room has a lobby, or may
// have none: LJM hides the button when it doesn't know the identity's type
// (mod_jiconop).
func (all *Lobbies) Tailor(user xmpp.JID, d xmpp.DiscoInfo) xmpp.DiscoInfo {
	st := all.of(user)
	if st.on {
		d = d.With(featureNameRequired)
	}
	if st.never {
		ids := make([]xmpp.Identity, len(d.Identities))
		copy(ids, d.Identities)
		for i := range ids {
			if ids[i].Type == LobbyName {
				ids[i].Type = "DISABLED_" + LobbyName
			}
		}
		d.Identities = ids
	}
	return d
}

// HandleStanza implements xmpp.Handler for the domain.
func (all *Lobbies) HandleStanza(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	if s.Kind == xmpp.IQ && s.IsRequest() {
		ns, _ := s.PayloadName()
		switch {
		case s.To.Local == "" && ns == xmpp.NSInfo && s.Type == xmpp.TypeGet && s.Payload().Get("node") == LobbyName:
			d := xmpp.DiscoInfo{
				Identities: []xmpp.Identity{{Category: "component", Type: LobbyName, Name: all.cfg.Domain}},
				Features:   []string{xmpp.NSInfo, xmpp.NSPing},
			}
			all.router.RouteNow(s.Result(all.Tailor(s.From, d).Inner(LobbyName)))
			return nil
		case s.To.Local != "" && s.To.Resource == "" && ns == muc.NSOwner:
			return xmpp.NotAllowed("A lobby is what its main room makes it")
		case s.To.Resource != "" && ns != xmpp.NSInfo && ns != xmpp.NSPing:
			return xmpp.ServiceUnavailable("") // nobody calls a moderator from the lobby
		}
	}
	return all.side.HandleStanza(ctx, s, wait)
}
