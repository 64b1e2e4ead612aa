package main

import (
	"slices"

	"confab/cmd/confab/config"
	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

// A feature is one thing that meetings offer beside chat and media. All that is
// wired for it stands in one row of server.roomFeatures: its switch, what it does in
// rooms, the address of its component, and the identity by which clients find that.
type feature struct {
	// name is the service in the rooms and the type of the identity.
	name string
	// domain is the component's address; "" for a feature that clients send nothing.
	domain string
	// bursts says that one click sends the component a message for each of many people.
	bursts bool
	// disco are features that clients look for beside the identity.
	disco []string
	// off leaves all of it out until the program starts again.
	off bool
	// on is asked for each new room and each login, so a running server takes the
	// switch over; nil is always. What is off is not announced: clients hide its buttons.
	on func(*config.Config) bool
	// visitors says that visitors find the component, too.
	visitors bool
	// main makes the service of a main room, breakout that of a breakout room; nil
	// where there is none.
	main, breakout func(*muc.Room) muc.RoomService
	// serve answers at the domain, once the main rooms' service is there; nil for a
	// services.Component that finds the room by the sender's session.
	serve func(*server) (xmpp.Handler, error)
}

// roomFeatures are all features that are switched on. The order is that in which
// rooms call their services: metadata comes first, clients take nothing before it.
func (s *server) roomFeatures() []feature {
	meta, n := s.metadataConfig(), s.names
	metadata := func(r *muc.Room) muc.RoomService {
		now := meta
		now.Max = s.now().Rooms.MetadataMax
		return services.NewMetadata(now)(r)
	}
	polls := func(r *muc.Room) muc.RoomService {
		return services.NewPolls(services.PollsConfig{Domain: n.component("polls"), Max: s.now().Rooms.PollsMax})(r)
	}
	limit := func(r *muc.Room) muc.RoomService {
		now := s.now().Rooms
		return services.NewMessageLimit(now.MessagesMax, now.MessagesTokenLifts)(r)
	}
	speakers := services.NewSpeakerStats(n.component("speakerstats"))
	everyone := services.NewEveryone(func(r *muc.Room) bool { return s.everyone().In(r) })
	all := []feature{
		{name: services.MetadataName, domain: n.metadata, visitors: true, main: metadata, breakout: metadata,
			serve: func(s *server) (xmpp.Handler, error) {
				return services.NewMetadataComponent(meta, s.rooms, s.router), nil
			}},
		{name: services.AVModerationName, domain: n.avModeration, on: func(c *config.Config) bool { return c.Rooms.AVModeration }, main: services.NewAVModeration(n.avModeration)},
		{name: services.MessageLimitName, on: func(c *config.Config) bool { return c.Rooms.MessagesMax > 0 }, main: limit, breakout: limit},
		{name: "everyone", off: !s.everyone().On, main: everyone, breakout: everyone},
		s.breakouts(),
		s.visitors(),
		{name: services.PollsName, domain: n.component("polls"), visitors: true, on: func(c *config.Config) bool { return c.Rooms.Polls }, main: polls, breakout: polls},
		{name: services.SpeakerStatsName, domain: n.component("speakerstats"), main: speakers, breakout: speakers,
			serve: func(s *server) (xmpp.Handler, error) {
				return services.NewSpeakerStatsComponent(n.component("speakerstats"), s.rooms, s.router), nil
			}},
		{name: services.DurationName, domain: n.component("conferenceduration"), main: services.NewDuration(n.component("conferenceduration"))},
		{name: services.EndConferenceName, domain: n.component("endconference"), on: func(c *config.Config) bool { return c.Rooms.EndForAll }, main: services.NewEndConference},
		{name: services.FileSharingName, domain: n.component("filesharing"), visitors: true, off: s.cfg.Integrations.Files == "",
			main: services.NewFileSharing(s.fileSharing())},
		s.lobby(), // behind what may refuse a form
	}
	external := services.NewExternal(&services.ExternalConfig{PerAddress: s.cfg.Recording.TriesPerIP, PerRoom: s.cfg.Recording.TriesPerRoom})
	all = append(all, feature{name: services.ExternalName, main: external, breakout: external})
	kept := all[:0]
	for _, f := range all {
		if !f.off {
			f.main, f.breakout = s.while(f.on, f.main), s.while(f.on, f.breakout)
			kept = append(kept, f)
		}
	}
	return kept
}

// while makes the service of rooms that begin while a feature is on.
func (s *server) while(on func(*config.Config) bool, mk func(*muc.Room) muc.RoomService) func(*muc.Room) muc.RoomService {
	if on == nil || mk == nil {
		return mk
	}
	return func(r *muc.Room) muc.RoomService {
		if on(s.now()) {
			return mk(r)
		}
		return nil
	}
}

// announced are the features that are on now.
func (s *server) announced() (out []feature) {
	for _, f := range s.features {
		if f.on == nil || f.on(s.now()) {
			out = append(out, f)
		}
	}
	return out
}

// inMain are the services of a main room, inBreakouts those of a breakout room.
func inMain(fs []feature) (out []func(*muc.Room) muc.RoomService) {
	for _, f := range fs {
		if f.main != nil {
			out = append(out, f.main)
		}
	}
	return out
}

func inBreakouts(fs []feature) (out []func(*muc.Room) muc.RoomService) {
	for _, f := range fs {
		if f.breakout != nil {
			out = append(out, f.breakout)
		}
	}
	return out
}

// serveFeatures opens the addresses of the features.
func (s *server) serveFeatures() error {
	for _, f := range s.features {
		if f.domain == "" {
			continue
		}
		var h xmpp.Handler = services.NewComponent(f.name, f.domain, s.rooms, s.router)
		if f.serve != nil {
			var err error
			if h, err = f.serve(s); err != nil {
				return err
			}
		}
		s.router.Serve(f.domain, h)
	}
	return nil
}

// has reports whether a feature that needs a restart is on.
func (s *server) has(name string) bool {
	return slices.ContainsFunc(s.features, func(f feature) bool { return f.name == name })
}

// commands are the addresses of features with bursts of commands.
func (s *server) commands() (out []string) {
	for _, f := range s.features {
		if f.bursts {
			out = append(out, f.domain)
		}
	}
	return out
}

// disco is what a login host announces of itself and the features.
func (s *server) disco() xmpp.DiscoInfo {
	d := xmpp.DiscoInfo{Identities: append([]xmpp.Identity{{Category: "server", Type: "im", Name: "Confab"}}, s.identities()...)}
	for _, f := range s.announced() {
		d.Features = append(d.Features, f.disco...)
	}
	return d
}

// identities are what a login host announces of the features: the name of each is
// the address of its component (client-signaling.md §5.1).
func (s *server) identities() (out []xmpp.Identity) {
	for _, f := range s.announced() {
		if f.domain != "" {
			out = append(out, xmpp.Identity{Category: "component", Type: f.name, Name: f.domain})
		}
	}
	return out
}
