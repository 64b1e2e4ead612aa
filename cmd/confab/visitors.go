package main

import (
	"encoding/json"

	"confab/focus"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/web/queue"
	"confab/xmpp"
)

// Visitors' mode. Clients put "v0.meet.jitsi" in the place of the domain when the
// focus names the node v0 (jitsi-meet getVisitorOptions): that suffix is written in
// their code, and needs no DNS, for the connection goes where it went before.
const (
	visitorNode = "v0"
	visitorHost = visitorNode + ".meet.jitsi"
	visitorMUC  = "conference." + visitorHost
)

func (s *server) visitorsOn() bool { return s.cfg.Visitors.After > 0 }

// visitors is the feature of visitors. Their rooms are of a service of their own.
func (s *server) visitors() feature {
	domain := s.names.component("visitors")
	var rooms *muc.Service
	s.promoted = services.NewPromotions()
	cfg := services.VisitorsConfig{
		Domain: domain, Host: visitorHost, Node: visitorNode, Focus: s.names.focusJID.Bare(),
		Rooms: func() *muc.Service { return rooms }, AutoPromote: func() bool { return s.now().Visitors.AutoPromote }, Promotions: s.promoted,
	}
	return feature{
		name: services.VisitorsName, domain: domain, off: !s.visitorsOn(), main: services.NewVisitors(cfg),
		serve: func(s *server) (xmpp.Handler, error) {
			mc := s.roomConfig()
			mc.Domain, mc.Main, mc.Visitors = visitorMUC, s.rooms, true
			mc.EndWithPeople, mc.SummonFocus = false, false
			mc.Stages = s.stages(func(c policy.Config) func() []muc.Stage {
				return policy.VisitorRooms(c, visitorHost, s.now().Visitors.Max)
			})
			mc.Services = []func(*muc.Room) muc.RoomService{services.NewVisitorRoom}
			rooms = muc.NewService(mc, s.router, s.logs.of("muc"))
			s.sides = append(s.sides, rooms)
			s.router.Serve(visitorMUC, rooms)
			s.router.ServeTenants(visitorMUC, rooms)
			return services.NewVisitorsComponent(domain, s.rooms, s.router), nil
		},
	}
}

// buildQueue makes the place where visitors wait for a meeting to go live.
func (s *server) buildQueue() error {
	if v := s.cfg.Visitors; s.visitorsOn() && v.Queue {
		s.queue = queue.New(queue.Config{
			Room: s.queueRoom, Max: v.Max, JoinRate: s.cfg.Rooms.JoinRate, Origins: s.cfg.Web.Origins, Log: s.logs.of("web"),
		})
		s.guards.add(s.queue.Guard())
	}
	return nil
}

// queueRoom is the main room that a client waits for: it names it by the address that
// it would enter.
func (s *server) queueRoom(name string) (string, bool) {
	j, err := xmpp.ParseJID(name)
	if err != nil || j.Local == "" || !j.IsBare() || j.Domain != s.names.conference && s.rooms.TenantOf(j) == "" {
		return "", false
	}
	return j.String(), true
}

// watchLive is told of the metadata key visitors, on the room's goroutine.
func (s *server) watchLive(r *muc.Room, data json.RawMessage) {
	var state struct {
		Live any `json:"live"`
	}
	_ = json.Unmarshal(data, &state) // moderators may say anything; nil at the end
	if r.Main() == r {
		s.queue.Live(r.JID().String(), state.Live == true)
	}
}

// promised is the name that a promoted visitor comes back with.
func (s *server) promised(a xmpp.Attrs) string {
	if s.promoted == nil || a.Room == "" {
		return ""
	}
	return s.promoted.Name(a.CustomUsername, a.Room)
}

// visitorDisco is what visitors are told of the features: of those that are theirs,
// too.
func (s *server) visitorDisco() xmpp.DiscoInfo {
	d := xmpp.DiscoInfo{Identities: []xmpp.Identity{{Category: "server", Type: "im", Name: "Confab"}}}
	for _, f := range s.announced() {
		if f.visitors {
			d.Identities = append(d.Identities, xmpp.Identity{Category: "component", Type: f.name, Name: f.domain})
		}
	}
	return d
}

// focusVisitors tells the focus where it sends visitors.
func (s *server) focusVisitors(fc *focus.Config) {
	if !s.visitorsOn() {
		return
	}
	v := s.cfg.Visitors
	fc.Visitors = focus.Visitors{
		Node: visitorNode, Host: visitorHost, MUC: visitorMUC, Component: s.names.component("visitors"),
		After: v.After, Queue: v.Queue, Count: fc.Visitors.Count, Preferred: s.moderatesByToken,
	}
}

// moderatesByToken reports whether the token of a session names a moderator: it must
// not lose its meeting by reloading the page.
func (s *server) moderatesByToken(full xmpp.JID) bool {
	se := s.session(full)
	if se == nil {
		return false
	}
	c := se.Account().Claims
	return c != nil && c.Moderator
}
