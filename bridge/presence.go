package bridge

import (
	"context"
	"strconv"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

const nsMUC = "http://jabber.org/protocol/muc"

// attend joins the brewery, joins again when thrown out, and publishes the
// bridge's state (bridge.md §2). It returns when ctx ends.
func (s *Service) attend(ctx context.Context) {
	self := s.cfg.Brewery.WithResource(s.cfg.ID)
	tick := time.NewTicker(s.cfg.StatsInterval)
	defer tick.Stop()
	// Joining again is tried without end: the room may be made after us.
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			s.port.Send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", xmpp.JID{}, self, ""))
			return
		case <-retry.C:
			if !s.joined.Load() {
				s.publish(self, true)
				retry.Reset(s.cfg.RejoinDelay)
			}
		case <-tick.C:
			s.measure(now())
			if s.joined.Load() {
				s.publish(self, false)
			}
		case <-s.news:
			if s.joined.Load() {
				s.publish(self, false)
			}
		case st := <-s.brewery:
			if st.From != self {
				continue
			}
			was := s.joined.Swap(st.Type == "")
			if was && st.Type != "" {
				s.log.Warn("bridge left its brewery", "room", s.cfg.Brewery.String(), "type", st.Type)
				retry.Reset(s.cfg.RejoinDelay)
			} else if !was && st.Type == "" {
				s.log.Info("bridge joined its brewery", "room", s.cfg.Brewery.String(), "bridge", s.cfg.ID)
			}
		}
	}
}

// publish sends the state. The join element stands in the first presence only:
// with it the room would replay all occupants each time.
func (s *Service) publish(self xmpp.JID, join bool) {
	var enc xmpp.Enc
	if join {
		enc.Start("x", nsMUC).End()
	}
	ph := s.State()
	stats := colibri2.Stats{
		colibri2.StatColibri2:         "true",
		colibri2.StatHealthy:          strconv.FormatBool(s.Healthy() == nil),
		colibri2.StatStress:           strconv.FormatFloat(s.load.level(), 'f', 3, 64),
		colibri2.StatAverageStress:    strconv.FormatFloat(AverageStress, 'f', -1, 64),
		colibri2.StatVersion:          s.cfg.Version,
		colibri2.StatRelayID:          s.cfg.ID,
		colibri2.StatEndpoints:        strconv.Itoa(s.endpoints()),
		colibri2.StatDrain:            strconv.FormatBool(s.draining.Load()),
		colibri2.StatGracefulShutdown: strconv.FormatBool(ph != Running),
		colibri2.StatShuttingDown:     strconv.FormatBool(ph == ShuttingDown),
	}
	if s.cfg.Region != "" {
		stats[colibri2.StatRegion] = s.cfg.Region
	}
	stats.Encode(&enc)
	s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, self, enc.String()))
}
