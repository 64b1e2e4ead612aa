package focus

import (
	"context"
	"errors"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Errors of Dial.
var (
	ErrNoConference = errors.New("no conference in this room")
	ErrNoBrewery    = errors.New("no brewery of gateways")
	ErrNoGateway    = errors.New("no gateway that calls telephones")
)

// Dial has a gateway call somebody into a room, in the server's name, and waits until
// it says that it does. The error is one of those above, a *xmpp.StanzaError of the
// gateway, or ctx's.
func (s *Service) Dial(ctx context.Context, room xmpp.JID, number string) error {
	s.mu.RLock()
	c := s.confs[room]
	s.mu.RUnlock()
	switch {
	case c == nil:
		return ErrNoConference
	case s.cfg.Gateways.IsZero():
		return ErrNoBrewery
	case !s.dialsOut():
		return ErrNoGateway
	}
	d := &jitmeet.Dial{From: "fromnumber", To: number, Headers: []jitmeet.Property{{Name: jitmeet.HeaderRoom, Value: room.String()}}}
	answered := make(chan *xmpp.Stanza, 1)
	k := &call{dial: d, done: func(answer *xmpp.Stanza) { answered <- answer }}
	k.request = xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", s.cfg.JID, c.me, d.String()) // what is answered
	c.post(func() {
		c.near(k)
		c.call(k)
	})
	select {
	case answer := <-answered:
		if answer.Type != xmpp.TypeError {
			return nil
		}
		return answer.ErrorOf()
	case <-c.ctx.Done():
		return ErrNoConference
	case <-ctx.Done():
		return ctx.Err()
	}
}
