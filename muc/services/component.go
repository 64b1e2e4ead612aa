package services

import (
	"context"

	"confab/muc"
	"confab/xmpp"
)

// Component is the address of a service on the router: it takes the commands of
// clients to the room that they name.
type Component struct {
	jid    xmpp.JID
	name   string // of the service, and the type of its disco identity
	muc    *muc.Service
	router *xmpp.Router
	room   func(*xmpp.Stanza) (xmpp.JID, error)
}

// NewComponent takes the commands to the service of that name in the room that
// the sender's session is about (room-services.md §0 rule 7).
func NewComponent(name, domain string, rooms *muc.Service, router *xmpp.Router) *Component {
	return &Component{
		jid: xmpp.JID{Domain: domain}, name: name, muc: rooms, router: router,
		room: func(s *xmpp.Stanza) (xmpp.JID, error) {
			if j, ok := rooms.RoomOf(s.From); ok {
				return j, nil
			}
			return xmpp.JID{}, xmpp.ItemNotFound("")
		},
	}
}

// namedRoom is the main room of the meeting that the room in a command belongs to.
func namedRoom(rooms *muc.Service, el *xmpp.Element) (xmpp.JID, error) {
	if el == nil {
		return xmpp.JID{}, xmpp.BadRequest("")
	}
	j, err := xmpp.ParseJID(el.Get("room"))
	if err != nil || j.Local == "" || !j.IsBare() {
		return xmpp.JID{}, xmpp.JIDMalformed("")
	}
	main, ok := rooms.MainOf(j)
	if !ok {
		return xmpp.JID{}, xmpp.ItemNotFound("")
	}
	return main, nil
}

// JID is the component's address.
func (c *Component) JID() xmpp.JID { return c.jid }

// Identity is what the host announces: the name is the address (client-signaling
// §5.1).
func (c *Component) Identity() xmpp.Identity {
	return xmpp.Identity{Category: "component", Type: c.name, Name: c.jid.Domain}
}

// HandleStanza implements xmpp.Handler.
func (c *Component) HandleStanza(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	switch {
	case s.Type == xmpp.TypeError:
		return nil
	case s.Kind == xmpp.Message:
		room, err := c.room(s)
		if err != nil {
			return err
		}
		return c.muc.Command(ctx, c.name, room, s, wait)
	case s.Kind != xmpp.IQ || !s.IsRequest():
		return nil
	}
	var inner string
	ns, name := s.PayloadName()
	switch {
	case ns == xmpp.NSPing && name == "ping":
	case ns == xmpp.NSInfo && s.Type == xmpp.TypeGet:
		inner = xmpp.DiscoInfo{
			Identities: []xmpp.Identity{c.Identity()},
			Features:   []string{xmpp.NSInfo, xmpp.NSPing},
		}.Inner(s.Payload().Get("node"))
	default:
		return xmpp.ServiceUnavailable("")
	}
	c.router.RouteNow(s.Result(inner))
	return nil
}
