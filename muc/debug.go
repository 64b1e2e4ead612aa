package muc

import "encoding/json"

// debug is the state of the room without what people have said or set secretly.
func (r *Room) debug() json.RawMessage {
	type occupant struct {
		Nick     string   `json:"nick"`
		Role     string   `json:"role"`
		Aff      string   `json:"affiliation"`
		Sessions []string `json:"sessions"`
		IQs      int      `json:"iqs_waiting"`
	}
	out := struct {
		JID         string     `json:"jid"`
		MeetingID   string     `json:"meeting_id"`
		Created     string     `json:"created_timestamp"`
		Live        bool       `json:"live"`
		Focus       bool       `json:"focus"`
		Locked      bool       `json:"locked"`
		MembersOnly bool       `json:"members_only"`
		Occupants   []occupant `json:"occupants"`
		Affiliated  int        `json:"affiliations"`
		Parked      []string   `json:"parked"`
		History     int        `json:"history"`
		IQs         int        `json:"iqs_waiting"`
		Mailbox     int        `json:"mailbox"`
	}{
		JID: r.jid.String(), MeetingID: r.conf.meetingID, Created: r.conf.created, Live: r.live, Focus: r.Focused(),
		Locked: r.conf.password != "", MembersOnly: r.conf.membersOnly, Affiliated: len(r.aff), History: len(r.history),
		IQs: len(r.asked), Mailbox: r.m.box.Len(), Occupants: []occupant{}, Parked: []string{},
	}
	for _, o := range r.order {
		x := occupant{Nick: o.Nick, Role: o.Role.String(), Aff: o.Aff.String(), IQs: o.iqs}
		for _, t := range o.Seats {
			x.Sessions = append(x.Sessions, t.Real.String())
		}
		out.Occupants = append(out.Occupants, x)
	}
	for _, j := range r.parked {
		out.Parked = append(out.Parked, j.until+" "+j.Real.String())
	}
	b, err := json.Marshal(out)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return b
}
