package services_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// lobbyWorld is a world whose rooms can have a lobby.
type lobbyWorld struct {
	roomworld.Options
	lobbies services.LobbyConfig
	waiting *policy.Config // of the lobbies; nil: the default
}

func (o lobbyWorld) open(t *testing.T) (*roomworld.World, *services.Lobbies) {
	cfg := o.lobbies
	cfg.Domain = "lobby.meet.example"
	waiting := policy.DefaultConfig()
	if o.waiting != nil {
		waiting = *o.waiting
	}
	cfg.Stages = policy.Waiting(waiting)
	all := services.NewLobbies(cfg)
	o.Services = append(o.Services, all.NewRoom)
	build := o.Build
	o.Build = func(w *roomworld.World) {
		if build != nil {
			build(w)
		}
		w.Serve(all.Attach(w.Main, w.Router, w.Client, slog.New(slog.DiscardHandler)))
		w.Router.Serve(cfg.Domain, all)
	}
	return roomworld.New(t, o.Options), all
}

// lobbies are the transcripts testdata/lobby-*.xmpp and the worlds that they run in.
var lobbies = map[string]lobbyWorld{
	"lobby-wait-for-host": {lobbies: services.LobbyConfig{AwaitHost: true}},
	"lobby-token": {Options: roomworld.Options{
		Policy: func(c *policy.Config) {
			rules := &policy.TokenRules{Domain: "meet.example", MUC: "conference.meet.example", AllowEmpty: true, Moderators: true, ModeratorIssuers: []string{"a"}}
			c.Tokens = func() *policy.TokenRules { return rules }
		},
		Client: func(p xmpp.Port) muc.Client {
			c := roomworld.DefaultClient(p)
			c.Claims = map[string]*xmpp.Claims{
				"u1": {Issuer: "a", Room: "*", Domain: "*", Moderator: true},
				"u3": {Issuer: "a", Room: "*", Domain: "*"},
				"u5": {Issuer: "b", Room: "*", Domain: "*", Moderator: true},
				"u6": {Issuer: "a", Room: "*", Domain: "*", Moderator: true},
			}[p.JID().Local]
			return c
		},
	}},
	"lobby-capacity": {Options: roomworld.Options{
		Policy: func(c *policy.Config) { c.MaxOccupants = 0 },
		Config: func(c *muc.Config) {
			c.Policy = func(xmpp.JID) muc.RoomPolicy { return muc.RoomPolicy{MaxOccupants: 1} }
		},
	}},
	"lobby-first": {Options: roomworld.Options{
		Policy: func(c *policy.Config) { c.FirstModerates = true },
		Config: func(c *muc.Config) {
			c.Policy = func(j xmpp.JID) muc.RoomPolicy {
				return muc.RoomPolicy{Lobby: j.Local != "own", FromBooking: j.Local == "booked",
					Moderators: map[string][]string{"named": {"u4@meet.example"}}[j.Local]}
			}
		},
	}},
	"lobby-flip": {Options: roomworld.Options{
		Policy: func(c *policy.Config) { c.MaxOccupants = 3 },
		Client: func(p xmpp.Port) muc.Client {
			c := roomworld.DefaultClient(p)
			claims := map[string]*xmpp.Claims{
				"u1": {Issuer: "a", User: map[string]string{"id": "ada"}},
				"u5": {Issuer: "a", User: map[string]string{"id": "ada"}, Features: map[string]bool{"flip": true}},
				"u6": {Issuer: "a", User: map[string]string{"id": "ada"}, Features: map[string]bool{"flip": false}},
				"u7": {Issuer: "a", User: map[string]string{"id": "bob"}, Features: map[string]bool{"flip": true}},
				"u8": {Issuer: "b", User: map[string]string{"id": "ada"}, Features: map[string]bool{"flip": true}},
			}[p.JID().Local]
			if claims != nil {
				c.Claims, c.Features = claims, claims.Features
			}
			return c
		},
	}},
	"lobby-full": {waiting: &policy.Config{MaxOccupants: 2, RestrictNicks: true}},
	"lobby-rate": {waiting: &policy.Config{JoinRate: 1, RestrictNicks: true}},
	"lobby-everyone": {Options: roomworld.Options{
		Policy:   func(c *policy.Config) { c.Everyone.On = true },
		Services: []func(*muc.Room) muc.RoomService{services.NewEveryone(func(*muc.Room) bool { return true })},
	}},
	"lobby-name": {Options: roomworld.Options{Policy: func(c *policy.Config) { c.RequireDisplayName = true }}},
	"lobby-settled": {Options: roomworld.Options{Config: func(c *muc.Config) {
		c.Policy = func(j xmpp.JID) muc.RoomPolicy {
			switch j.Local {
			case "open":
				return muc.RoomPolicy{NoLobby: true}
			case "r":
				return muc.RoomPolicy{Lobby: true, AllModerators: true, Password: "sesame", Members: []string{"u4@meet.example"}}
			}
			return muc.RoomPolicy{}
		}
	}}},
}

func TestLobbyTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/lobby*.xmpp")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".xmpp")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomworld.Twice(t, f, func(t *testing.T, webSocket bool) *roomworld.World {
				world := lobbies[name]
				if name == "lobby-breakout" { // its rooms are those of one world
					world.Options = breakoutWorld(nil)
				}
				world.WebSocket = webSocket
				w, _ := world.open(t)
				return w
			})
		})
	}
}

// open switches the lobby on, with the moderator u1.
func open(t *testing.T, w *roomworld.World) {
	t.Helper()
	room := xmpp.MustJID("r@conference.meet.example")
	if err := w.Main.Do(context.Background(), room, func(r *muc.Room) {
		r.Affiliate(xmpp.MustJID("u1@meet.example"), muc.AffOwner, nil, "")
		if err := services.LobbyOf(r).Open(r); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// check finds the meeting as open left it: the lobby on, the moderator one, the guest
// u4 with no standing and not in.
func check(t *testing.T, w *roomworld.World) {
	t.Helper()
	room := xmpp.MustJID("r@conference.meet.example")
	if err := w.Main.Do(context.Background(), room, func(r *muc.Room) {
		m := r.Occupant("m")
		_, in := r.Find(xmpp.MustJID("u4@meet.example/r4"))
		if !r.MembersOnly() || !services.LobbyOf(r).On() || m == nil || m.Role != muc.RoleModerator || in != nil ||
			r.Affiliation(xmpp.MustJID("u4@meet.example")) > muc.AffNone {
			t.Errorf("members only %v, moderator %+v, guest in %v", r.MembersOnly(), m, in != nil)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
