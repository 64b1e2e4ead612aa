package focus

import (
	"time"

	"confab/focus/bridges"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// enterBrewery joins the room in which the bridges show themselves.
func (s *Service) enterBrewery() {
	if s.cfg.Brewery.IsZero() {
		return
	}
	s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, s.cfg.Brewery.WithResource(Nick), `<x xmlns="`+nsMUC+`"/>`))
}

func (s *Service) watchBrewery(now time.Time) {
	s.fleetMu.Lock()
	in := s.brewing
	s.fleet.Silent(now, s.cfg.BridgeSilence)
	s.fleetMu.Unlock()
	if !in {
		s.enterBrewery()
	}
}

// fromBrewery takes what comes from the brewery: presences of bridges. Replies
// to colibri2 requests never get here; the port hands them to who asked.
func (s *Service) fromBrewery(st *xmpp.Stanza) error {
	if st.IsRequest() {
		return s.handleOwnIQ(st)
	}
	if st.Kind != xmpp.Presence {
		return nil
	}
	now := time.Now()
	var change bridges.Change
	s.fleetMu.Lock()
	switch {
	case st.From.Resource == Nick:
		// Out of the brewery is out of touch; the next tick enters again.
		if s.brewing = st.Type == ""; !s.brewing {
			s.fleet.Clear()
		}
	case st.Type == xmpp.TypeUnavailable:
		change = s.fleet.Remove(st.From)
	case st.Type == "":
		if el := st.Child(colibri2.NSStats, "stats"); el != nil {
			change = s.fleet.Report(now, st.From, colibri2.ParseStats(el))
		}
	}
	s.fleetMu.Unlock()
	switch change {
	case bridges.Appeared:
		s.log.Info("bridge is available", "bridge", st.From.String())
		s.eachConference(func(c *Conference) { c.post(c.bridgeAppeared) })
	case bridges.MoveAway:
		s.log.Warn("bridge is lost", "bridge", st.From.String())
		s.stats.bridgeFailures.Add(1)
		s.eachConference(func(c *Conference) { c.post(func() { c.bridgeLost(st.From) }) })
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
