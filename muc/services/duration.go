package services

import (
	"encoding/json"

	"confab/muc"
	"confab/xmpp"
)

// DurationName is the identity and the type of the messages by which clients of 2021
// learn since when a meeting goes on. Those of today read it from the room's
// disco#info.
const DurationName = "conference_duration"

// Duration tells it. It takes no commands.
type Duration struct {
	from xmpp.JID
	told bool // to those who were in when it began
}

// NewDuration makes the service of main rooms whose component is at domain; it fits
// muc.Config.Services.
func NewDuration(domain string) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService { return &Duration{from: xmpp.JID{Domain: domain}} }
}

// Name implements muc.RoomService.
func (*Duration) Name() string { return DurationName }

// Joined implements muc.Joined. The meeting begins with the second in the room, so
// there may be one to tell beside the joiner (room-services.md §5.13).
func (d *Duration) Joined(r *muc.Room, o *muc.Occupant) {
	since := r.Created()
	if since == "" || o.Admin() {
		return
	}
	b, err := json.Marshal(struct {
		Type    string `json:"type"`
		Created string `json:"created_timestamp"`
	}{DurationName, since})
	if err != nil {
		panic(err) // strings
	}
	s := xmpp.NewStanza(xmpp.Message, "", "", d.from, xmpp.JID{}, jsonMessage("", b))
	if d.told {
		r.Tell(o, s)
		return
	}
	d.told = true
	r.Broadcast(s, func(o *muc.Occupant) bool { return !o.Admin() })
}
