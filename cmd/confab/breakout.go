package main

import (
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// breakouts is the feature of breakout rooms. They are rooms of a service of their
// own, whose address is the component's, too.
func (s *server) breakouts() feature {
	domain := s.names.component("breakout")
	f := services.NewBreakouts(services.BreakoutConfig{Domain: domain, Max: s.cfg.Rooms.BreakoutsMax, Linger: s.cfg.Rooms.Linger.Duration})
	s.breakout = f
	return feature{
		name: services.BreakoutName, domain: domain, bursts: true, disco: []string{services.BreakoutRename},
		off: !s.cfg.Rooms.Breakout, main: f.InMain, breakout: f.InBreakout,
		serve: func(s *server) (xmpp.Handler, error) {
			mc := s.roomConfig()
			mc.Domain, mc.Main, mc.Inside = domain, s.rooms, true
			mc.EndWithPeople = false // the main room knows when
			mc.Stages = s.stages(policy.Breakout)
			mc.Services = inBreakouts(s.features)
			sv := muc.NewService(mc, s.router, s.logs.of("muc"))
			s.sides = append(s.sides, sv)
			return f.Serve(sv, s.rooms, s.router), nil
		},
	}
}
