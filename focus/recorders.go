package focus

import (
	"errors"
	"time"

	"confab/focus/gateways"
	"confab/internal/mailbox"
	"confab/xmpp"
)

// Which recorder works for which conference. A recorder serves one at a time.

func (s *Service) recorderList(sip bool) *gateways.Recorders {
	if sip {
		return &s.sipRecorders
	}
	return &s.recorders
}

// takeRecorder chooses a recorder for a conference. any says whether there is one
// at all, if not available.
func (s *Service) takeRecorder(sip bool, c *Conference) (jid xmpp.JID, ok, any bool) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	list := s.recorderList(sip)
	if jid, ok = list.Pick(time.Now()); ok {
		s.recordedBy[jid] = c
		return jid, true, true
	}
	all, _ := list.Count()
	return xmpp.JID{}, false, all > 0
}

// releaseRecorder is the end of that; failed says that it did not do its work.
func (s *Service) releaseRecorder(sip bool, jid xmpp.JID, c *Conference, failed bool) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	if s.recordedBy[jid] == c {
		delete(s.recordedBy, jid)
	}
	if failed {
		s.recorderList(sip).Failed(time.Now(), jid)
	}
}

// recorderLeft is called with s.fleetMu held.
func (s *Service) recorderLeft(jid xmpp.JID) func() {
	c := s.recordedBy[jid]
	if c == nil {
		return nil
	}
	return func() { c.post(func() { c.recorderLeft(jid) }) }
}

// recorderNews hands a recorder's report to the conference that it works for.
func (s *Service) recorderNews(st *xmpp.Stanza) error {
	s.fleetMu.Lock()
	c := s.recordedBy[st.From]
	s.fleetMu.Unlock()
	if c == nil {
		return xmpp.ItemNotFound("")
	}
	switch err := c.box.Put(event{do: func() { c.onRecorderNews(st) }}); {
	case err == nil:
		return nil
	case errors.Is(err, mailbox.ErrClosed):
		return xmpp.ItemNotFound("")
	}
	c.overrun() // it would wait for the news
	return xmpp.ErrFull
}

// takeGateway chooses a gateway for a call.
func (s *Service) takeGateway(want gateways.Want) (xmpp.JID, bool) {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	return s.gateways.Pick(want)
}

// dialsOut reports whether there is a gateway to call from.
func (s *Service) dialsOut() bool {
	s.fleetMu.Lock()
	defer s.fleetMu.Unlock()
	n := s.gateways.Count()
	return n.SIP > n.SIPGraceful
}
