package services

import (
	"strconv"
	"strings"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// Life of a room of visitors without visitors: mod_fmuc gives those who reload 15 s,
// and the first one has yet to be told where to go.
const (
	visitorGrace = 15 * time.Second
	openingGrace = time.Minute
)

const visitorRoomName = "visitor_room"

// VisitorRoom is the visitors' side of visitors' mode.
type VisitorRoom struct {
	raised map[string]bool // by nick
	empty  *time.Timer
}

// NewVisitorRoom makes the service of one room of visitors; it fits
// muc.Config.Services.
func NewVisitorRoom(*muc.Room) muc.RoomService { return &VisitorRoom{raised: map[string]bool{}} }

// VisitorRoomOf is the service of a room of visitors. A nil one does nothing.
func VisitorRoomOf(r *muc.Room) *VisitorRoom {
	v, _ := r.Service(visitorRoomName).(*VisitorRoom)
	return v
}

// Name implements muc.RoomService.
func (*VisitorRoom) Name() string { return visitorRoomName }

// main is the service of the main room.
func (*VisitorRoom) main(r *muc.Room) *Visitors {
	v, _ := r.Main().Service(VisitorsName).(*Visitors)
	return v
}

func (v *VisitorRoom) opened(r *muc.Room) {
	if v != nil {
		v.endWhenEmpty(r, openingGrace)
	}
}

// endWhenEmpty ends the room, and with it visitors' mode, when nobody visits.
func (v *VisitorRoom) endWhenEmpty(r *muc.Room, after time.Duration) {
	v.stop()
	v.empty = r.After(after, func() {
		if r.People() == 0 && r.Parked(muc.UntilFocus) == 0 {
			r.Destroy(xmpp.JID{}, "No visitors.", nil)
		}
	})
}

func (v *VisitorRoom) stop() {
	if v.empty != nil {
		v.empty.Stop()
	}
}

// Joined implements muc.Joined.
func (v *VisitorRoom) Joined(_ *muc.Room, o *muc.Occupant) {
	if o.Person() {
		v.stop()
	}
}

// Left takes a hand down that can't come any more.
func (v *VisitorRoom) Left(r *muc.Room, o *muc.Occupant, _ muc.Departure) {
	v.hand(r, o, "", false)
	if r.People() == 0 && !r.Over() {
		v.endWhenEmpty(r, visitorGrace)
	}
}

// Ended takes all hands down: there is nobody to be let in.
func (v *VisitorRoom) Ended(r *muc.Room) {
	v.stop()
	for _, o := range r.Occupants() {
		v.hand(r, o, "", false)
	}
}

// Filter looks for raised hands: that is how visitors ask to take part.
func (v *VisitorRoom) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind != xmpp.Presence || !o.Person() {
		return s, nil
	}
	name := ""
	if el := s.Child(muc.NSNick, "nick"); el != nil {
		name = el.Text
	}
	v.hand(r, o, name, handUp(s))
	return s, nil
}

func (v *VisitorRoom) hand(r *muc.Room, o *muc.Occupant, name string, up bool) {
	if v.raised[o.Nick] == up {
		return
	}
	if v.raised[o.Nick] = up; !up {
		delete(v.raised, o.Nick)
	}
	if main := v.main(r); main != nil && !r.Main().Over() {
		main.raised(r.Main(), o.JID(), name, up)
	}
}

// handUp reports whether a presence says that a hand is raised: since when, in
// milliseconds; 0 or nothing once it is lowered (client-signaling.md §8.2).
func handUp(s *xmpp.Stanza) bool {
	el := s.Child(xmpp.NSClient, "jitsi_participant_raisedHand")
	if el == nil {
		return false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(el.Text), 10, 64)
	return err == nil && n > 0 || el.Text == "true" // clients of 2021
}
