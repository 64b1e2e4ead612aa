package muc

import (
	"strconv"

	"confab/xmpp"
)

// domainStanza answers what is addressed to the service itself.
func (sv *Service) domainStanza(s *xmpp.Stanza) error {
	if s.Kind != xmpp.IQ {
		if s.Type == xmpp.TypeError || s.Kind == xmpp.Presence {
			return nil
		}
		return xmpp.ServiceUnavailable("")
	}
	if !s.IsRequest() {
		return nil
	}
	var inner string
	ns, name := s.PayloadName()
	switch {
	case ns == xmpp.NSPing && name == "ping":
	case ns == xmpp.NSInfo && s.Type == xmpp.TypeGet:
		inner = xmpp.DiscoInfo{
			Identities: []xmpp.Identity{{Category: "conference", Type: "text", Name: "Chatrooms"}},
			Features:   []string{NSMUC, xmpp.NSInfo, xmpp.NSItems, xmpp.NSPing, NSOccupantID},
		}.Inner(s.Payload().Get("node"))
	case ns == xmpp.NSItems && s.Type == xmpp.TypeGet:
		inner = xmpp.ItemsInner(s.Payload().Get("node"), nil) // all rooms are hidden
	default:
		return xmpp.ServiceUnavailable("")
	}
	sv.router.RouteNow(s.Result(inner))
	return nil
}

// info is what an occupant learns about the room. LJM asks after its join and
// after every status 104; it reads the lock, the lobby and the muc#roominfo
// fields from it.
func (r *Room) info(node string) string {
	d := xmpp.DiscoInfo{
		Identities: []xmpp.Identity{{Category: "conference", Type: "text", Name: r.title()}},
		Features: []string{NSMUC, nsStableID, nsSelfPing, NSRequest, NSOccupantID, nsStanzaID, nsModerate, xmpp.NSInfo,
			"muc_hidden", "muc_temporary", "muc_unmoderated", "muc_nonanonymous"},
	}
	conf := r.conf
	if r.Visitors() {
		conf = r.main.conf // it is one meeting
	}
	if conf.membersOnly || r.MembersOnly() {
		d.Features = append(d.Features, "muc_membersonly")
	} else {
		d.Features = append(d.Features, "muc_open")
	}
	if conf.password != "" {
		d.Features = append(d.Features, "muc_passwordprotected")
	} else {
		d.Features = append(d.Features, "muc_unsecured")
	}
	f := NewForm("result", NSRoomInfo)
	f.Text("muc#roominfo_occupants", strconv.Itoa(len(r.order)))
	f.Text("muc#roominfo_meetingId", conf.meetingID)
	f.Text("muc#roominfo_created_timestamp", conf.created)
	f.Text("muc#roominfo_description", conf.desc)
	f.Text("muc#roominfo_lang", conf.lang)
	f.Text("muc#roomconfig_roomname", conf.name)
	f.Bool("muc#roomconfig_changesubject", conf.changeSubject)
	f.Bool("muc#roomconfig_allowinvites", true)
	for _, svc := range r.services {
		if c, ok := svc.(Formed); ok {
			c.Form(r, f)
		}
	}
	d.Forms = []string{f.String()}
	return d.Inner(node)
}

func (r *Room) title() string {
	if r.conf.name != "" {
		return r.conf.name
	}
	return r.jid.Local
}
