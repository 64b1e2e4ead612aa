package main

import (
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// lobby is the feature of lobbies. They are rooms of a service of their own, before
// whose address the component stands.
func (s *server) lobby() feature {
	r, domain := s.cfg.Rooms, s.names.component("lobby")
	s.lobbies = services.NewLobbies(services.LobbyConfig{
		Domain: domain, Stages: s.stages(policy.Waiting), AwaitHost: r.WaitForHost,
		MaxRooms: r.MaxRooms, Presence: s.cfg.Limits.Presence,
	})
	return feature{
		name: services.LobbyName, domain: domain, off: !r.Lobby, main: s.lobbies.NewRoom,
		serve: func(s *server) (xmpp.Handler, error) {
			s.sides = append(s.sides, s.lobbies.Attach(s.rooms, s.router, s.clientOf, s.logs.of("muc")))
			return s.lobbies, nil
		},
	}
}

// tailor is what is announced to one session: what others are told of lobbies may not
// hold for its room.
func (s *server) tailor(user xmpp.JID, d xmpp.DiscoInfo) xmpp.DiscoInfo {
	if !s.has(services.LobbyName) {
		return d
	}
	return s.lobbies.Tailor(user, d)
}
