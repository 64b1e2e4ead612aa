package focus

import (
	"time"

	"confab/focus/bridges"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jitmeet"
)

// brewery is a room in which the instances of a service show themselves.
type brewery struct {
	room xmpp.JID
	in   bool // the focus is in it
	// With s.fleetMu held:
	report func(now time.Time, st *xmpp.Stanza) (after func()) // an instance's presence
	left   func(jid xmpp.JID) (after func())
	lost   func() (after func()) // out of touch
}

// addBreweries makes the breweries that are configured.
func (s *Service) addBreweries() {
	add := func(b brewery) {
		if !b.room.IsZero() {
			s.breweries = append(s.breweries, &b)
		}
	}
	add(brewery{
		room: s.cfg.Brewery, report: s.bridgeReports, left: s.bridgeLeft,
		lost: func() func() { s.fleet.Clear(); return nil },
	})
	for sip, room := range map[bool]xmpp.JID{false: s.cfg.Recorders, true: s.cfg.SIPRecorders} {
		list := s.recorderList(sip)
		add(brewery{
			room: room,
			report: func(_ time.Time, st *xmpp.Stanza) func() {
				if available, known := jitmeet.JibriAvailable(st); known {
					list.Report(st.From, available)
				}
				return nil
			},
			left: func(jid xmpp.JID) func() {
				list.Remove(jid)
				return s.recorderLeft(jid)
			},
			lost: func() func() {
				var all []func()
				for _, jid := range list.Clear() {
					if f := s.recorderLeft(jid); f != nil {
						all = append(all, f)
					}
				}
				return func() {
					for _, f := range all {
						f()
					}
				}
			},
		})
	}
	add(brewery{
		room: s.cfg.Gateways,
		report: func(_ time.Time, st *xmpp.Stanza) func() {
			if el := st.Child(colibri2.NSStats, "stats"); el != nil {
				s.gateways.Report(st.From, colibri2.ParseStats(el))
			}
			return nil
		},
		left: func(jid xmpp.JID) func() { s.gateways.Remove(jid); return nil },
		lost: func() func() { s.gateways.Clear(); return nil },
	})
}

// brewery is the one with that room, or nil.
func (s *Service) brewery(room xmpp.JID) *brewery {
	for _, b := range s.breweries {
		if b.room == room {
			return b
		}
	}
	return nil
}

// enterBreweries joins those that the focus is not in.
func (s *Service) enterBreweries() {
	for _, b := range s.breweries {
		s.fleetMu.Lock()
		in := b.in
		s.fleetMu.Unlock()
		if !in {
			s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, b.room.WithResource(Nick), `<x xmlns="`+nsMUC+`"/>`))
		}
	}
}

func (s *Service) watchBreweries(now time.Time) {
	s.fleetMu.Lock()
	s.fleet.Silent(now, s.cfg.BridgeSilence)
	s.fleetMu.Unlock()
	s.enterBreweries()
}

// fromBrewery takes what comes from a brewery: presences, and news of recorders.
// Replies to requests of ours never get here; the port hands them to who asked.
func (s *Service) fromBrewery(b *brewery, st *xmpp.Stanza) error {
	if st.IsRequest() {
		if ns, name := st.PayloadName(); ns == jitmeet.NSJibri && name == "jibri" && st.Type == xmpp.TypeSet {
			return s.recorderNews(st)
		}
		return s.handleOwnIQ(st)
	}
	if st.Kind != xmpp.Presence {
		return nil
	}
	var after func()
	s.fleetMu.Lock()
	switch {
	case st.From.Resource == Nick:
		// Out of the brewery is out of touch; the next tick enters again.
		if b.in = st.Type == ""; !b.in {
			after = b.lost()
		}
	case st.Type == xmpp.TypeUnavailable:
		after = b.left(st.From)
	case st.Type == "":
		after = b.report(time.Now(), st)
	}
	s.fleetMu.Unlock()
	if after != nil {
		after()
	}
	return nil
}

func (s *Service) bridgeReports(now time.Time, st *xmpp.Stanza) func() {
	el := st.Child(colibri2.NSStats, "stats")
	if el == nil {
		return nil
	}
	return s.bridgeChanged(st.From, s.fleet.Report(now, st.From, colibri2.ParseStats(el)))
}

func (s *Service) bridgeLeft(jid xmpp.JID) func() {
	for _, b := range s.fleet.List(time.Now()) {
		if b.JID == jid && !b.Graceful && !b.ShuttingDown {
			s.stats.bridgesLost.Add(1)
		}
	}
	return s.bridgeChanged(jid, s.fleet.Remove(jid))
}

func (s *Service) bridgeChanged(jid xmpp.JID, change bridges.Change) func() {
	switch change {
	case bridges.Appeared:
		return func() {
			s.log.Info("bridge is available", "bridge", jid.String())
			s.eachConference(func(c *Conference) { c.post(c.bridgeAppeared) })
		}
	case bridges.MoveAway:
		return func() {
			s.log.Warn("bridge is lost", "bridge", jid.String())
			s.stats.bridgeFailures.Add(1)
			s.eachConference(func(c *Conference) { c.post(func() { c.bridgeLost(jid) }) })
		}
	}
	return nil
}

// pick chooses a bridge and counts the participant that goes on it.
func (s *Service) pick(load bridges.ConfLoad, want bridges.Want) (bridges.Bridge, bool) {
	now := time.Now()
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	b, ok := s.fleet.Pick(now, s.cfg.Strategy, load, want)
	if ok {
		s.fleet.Placed(now, b.JID)
	}
	return b, ok
}

func (s *Service) bridgeFailed(bridge xmpp.JID) {
	s.stats.bridgeFailures.Add(1)
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	s.fleet.Failed(time.Now(), bridge)
}

func (s *Service) bridgeClosing(bridge xmpp.JID) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	s.fleet.Closing(bridge)
}
