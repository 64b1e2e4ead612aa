package main

import (
	"slices"

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
	// off leaves all of it out; clients then hide their buttons.
	off bool
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
	meta, r, n := s.metadataConfig(), s.cfg.Rooms, s.names
	polls := services.NewPolls(services.PollsConfig{Domain: n.component("polls"), Max: r.PollsMax})
	speakers := services.NewSpeakerStats(n.component("speakerstats"))
	limit := services.NewMessageLimit(r.MessagesMax, r.MessagesTokenLifts)
	everyone := services.NewEveryone(s.everyone().In)
	all := []feature{
		{name: services.MetadataName, domain: n.metadata, visitors: true, main: services.NewMetadata(meta), breakout: services.NewMetadata(meta),
			serve: func(s *server) (xmpp.Handler, error) {
				return services.NewMetadataComponent(meta, s.rooms, s.router), nil
			}},
		{name: services.AVModerationName, domain: n.avModeration, off: !r.AVModeration, main: services.NewAVModeration(n.avModeration)},
		{name: services.MessageLimitName, off: r.MessagesMax == 0, main: limit, breakout: limit},
		{name: "everyone", off: !s.everyone().On, main: everyone, breakout: everyone},
		s.breakouts(),
		s.visitors(),
		{name: services.PollsName, domain: n.component("polls"), visitors: true, off: !r.Polls, main: polls, breakout: polls},
		{name: services.SpeakerStatsName, domain: n.component("speakerstats"), main: speakers, breakout: speakers,
			serve: func(s *server) (xmpp.Handler, error) {
				return services.NewSpeakerStatsComponent(n.component("speakerstats"), s.rooms, s.router), nil
			}},
		{name: services.DurationName, domain: n.component("conferenceduration"), main: services.NewDuration(n.component("conferenceduration"))},
		{name: services.EndConferenceName, domain: n.component("endconference"), off: !r.EndForAll, main: services.NewEndConference},
		{name: services.FileSharingName, domain: n.component("filesharing"), visitors: true, off: s.cfg.Integrations.Files == "",
			main: services.NewFileSharing(s.fileSharing())},
		s.lobby(), // behind what may refuse a form
	}
	external := services.NewExternal(&services.ExternalConfig{PerAddress: s.cfg.Recording.TriesPerIP, PerRoom: s.cfg.Recording.TriesPerRoom})
	all = append(all, feature{name: services.ExternalName, main: external, breakout: external})
	on := all[:0]
	for _, f := range all {
		if !f.off {
			on = append(on, f)
		}
	}
	return on
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

// has reports whether a feature is on.
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
	for _, f := range s.features {
		d.Features = append(d.Features, f.disco...)
	}
	return d
}

// identities are what a login host announces of the features: the name of each is
// the address of its component (client-signaling.md §5.1).
func (s *server) identities() (out []xmpp.Identity) {
	for _, f := range s.features {
		if f.domain != "" {
			out = append(out, xmpp.Identity{Category: "component", Type: f.name, Name: f.domain})
		}
	}
	return out
}
