package focus

import (
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// fromComponent takes a message of one of the room's components. Anybody can write
// to the focus: what such a message says counts only when its address, which the
// server writes, is exactly the component's.
func (s *Service) fromComponent(st *xmpp.Stanza) {
	if st.Type == xmpp.TypeError || st.From.Local != "" || st.From.Resource != "" {
		return
	}
	text, room, ok := jitmeet.JSONMessage(st)
	if !ok {
		return
	}
	var do func(*Conference)
	switch st.From.Domain {
	case "":
		return
	case s.cfg.AVModeration:
		msg, err := jitmeet.ParseAVModeration(text)
		if err != nil {
			s.log.Warn("message of a component not understood", "jid", st.From.String(), "err", err)
			return
		}
		room, do = msg.Room, func(c *Conference) { c.onModeration(msg) }
	case s.cfg.Metadata:
		msg, err := jitmeet.ParseRoomMetadata(text)
		if err != nil {
			s.log.Warn("message of a component not understood", "jid", st.From.String(), "err", err)
			return
		}
		do = func(c *Conference) { c.onMetadata(msg) }
	default:
		return
	}
	j, err := xmpp.ParseJID(room)
	if err != nil {
		return
	}
	if c := s.find(j); c != nil {
		c.post(func() { do(c) })
	}
}
