package services

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// SpeakerStatsName is the service, its identity and the type of its messages.
const SpeakerStatsName = "speakerstats"

// Bounds of what is kept of a room.
const (
	landmarksKept = 20        // face expressions of one person (faceLandmarks_history_size)
	speakersKept  = 1000      // people of a room, with those who have left
	speakersBytes = 256 << 10 // of what a joiner is told
)

// SpeakerStats counts how long each in a room was the dominant speaker. Clients
// count for themselves while they are in; who comes later gets what was before
// (room-services.md §6.5).
type SpeakerStats struct {
	room     *muc.Room
	from     xmpp.JID
	people   map[string]*speaker // by nick
	order    []string            // of their first joining
	dominant string              // nick, or ""
}

// speaker is what is known of somebody.
type speaker struct {
	bare    xmpp.JID
	total   time.Duration
	since   time.Time // speaks since then; zero: is silent
	gone    bool
	name    string // told when it has gone
	moments []landmark
}

// landmark is a face expression that a client has seen of its own user.
type landmark struct {
	Expression string  `json:"faceExpression"`
	Timestamp  float64 `json:"timestamp"` // ms
	Duration   float64 `json:"duration"`  // ms
}

// NewSpeakerStats makes the service of rooms whose component is at domain; it fits
// muc.Config.Services.
func NewSpeakerStats(domain string) func(*muc.Room) muc.RoomService {
	return func(r *muc.Room) muc.RoomService {
		return &SpeakerStats{room: r, from: xmpp.JID{Domain: domain}, people: map[string]*speaker{}}
	}
}

// NewSpeakerStatsComponent takes the commands for the rooms of a MUC. Each names
// its room.
func NewSpeakerStatsComponent(domain string, rooms *muc.Service, router *xmpp.Router) *Component {
	return &Component{
		jid: xmpp.JID{Domain: domain}, name: SpeakerStatsName, muc: rooms, router: router,
		room: func(s *xmpp.Stanza) (xmpp.JID, error) { return namedRoom(rooms, speakerCommand(s)) },
	}
}

// speakerCommand is the element that says something of the sender, or nil.
func speakerCommand(s *xmpp.Stanza) *xmpp.Element {
	if el := s.Child(nsJitsi, "speakerstats"); el != nil {
		return el
	}
	return s.Child(nsJitsi, "faceLandmarks")
}

// Name implements muc.RoomService.
func (*SpeakerStats) Name() string { return SpeakerStatsName }

// Command implements muc.Command. Clients only speak for themselves: the one that
// became the dominant speaker says so.
func (st *SpeakerStats) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := speakerCommand(s)
	if named, err := xmpp.ParseJID(el.Get("room")); err != nil || named != r.JID() || r != st.room {
		return xmpp.Forbidden("") // it is in another room of the meeting
	}
	p := st.people[o.Nick]
	if p == nil {
		return xmpp.Forbidden("") // no person
	}
	if el.Name == "faceLandmarks" {
		m, ok := parseLandmark(el)
		if !ok {
			return xmpp.BadRequest("")
		}
		if len(p.moments) == landmarksKept {
			p.moments = slices.Delete(p.moments, 0, 1)
		}
		p.moments = append(p.moments, m)
		return nil
	}
	now := time.Now()
	if st.dominant != o.Nick {
		if old := st.people[st.dominant]; old != nil {
			old.stop(now)
		}
		st.dominant = o.Nick
	}
	if el.Get("silence") == "true" {
		p.stop(now)
	} else if p.since.IsZero() {
		p.since = now
	}
	return nil
}

// parseLandmark reads a face expression.
func parseLandmark(el *xmpp.Element) (m landmark, ok bool) {
	m.Expression = el.Get("faceExpression")
	if m.Expression == "" || len(m.Expression) > 32 {
		return m, false
	}
	for _, f := range []struct {
		name string
		to   *float64
	}{{"timestamp", &m.Timestamp}, {"duration", &m.Duration}} {
		v, err := strconv.ParseFloat(el.Get(f.name), 64)
		if err != nil || math.IsNaN(v) || v < 0 || v > 1<<53 {
			return m, false
		}
		*f.to = v
	}
	return m, true
}

func (p *speaker) stop(now time.Time) {
	if !p.since.IsZero() {
		p.total += now.Sub(p.since)
		p.since = time.Time{}
	}
}

// Joined implements muc.Joined.
func (st *SpeakerStats) Joined(r *muc.Room, o *muc.Occupant) {
	if !o.Person() {
		return
	}
	st.tell(r, o)
	if p := st.people[o.Nick]; p != nil && p.bare == o.Bare() {
		p.gone, p.name = false, "" // it is back
		return
	} else if p == nil {
		if len(st.order) >= speakersKept {
			st.forget()
		}
		st.order = append(st.order, o.Nick)
	}
	st.people[o.Nick] = &speaker{bare: o.Bare()}
}

// forget lets one of those who have left go, if anybody has: the first that has never
// spoken, else the first.
func (st *SpeakerStats) forget() bool {
	for _, silent := range []bool{true, false} {
		for i, nick := range st.order {
			if p := st.people[nick]; p.gone && (p.total == 0 || !silent) {
				delete(st.people, nick)
				st.order = slices.Delete(st.order, i, i+1)
				return true
			}
		}
	}
	return false
}

// trim makes what joiners are told shorter: nobody would get in any more whose queue
// it fills. The faces go when nobody is there to be forgotten.
func (st *SpeakerStats) trim() (shorter bool) {
	for range 1 + len(st.order)/4 {
		if !st.forget() {
			break
		}
		shorter = true
	}
	if shorter {
		return true
	}
	for _, p := range st.people {
		shorter = shorter || len(p.moments) > 0
		p.moments = nil
	}
	return shorter
}

// tell sends a joiner what it has missed, if anything.
func (st *SpeakerStats) tell(r *muc.Room, o *muc.Occupant) {
	inner := st.history(r.HidesNames(o))
	for len(inner) > speakersBytes && st.trim() {
		inner = st.history(r.HidesNames(o))
	}
	if inner != "" {
		r.Tell(o, xmpp.NewStanza(xmpp.Message, "", "", st.from, xmpp.JID{}, inner))
	}
}

// history is what a joiner has missed, "" if that is nothing.
func (st *SpeakerStats) history(nameless bool) string {
	type stats struct {
		Name    string     `json:"displayName,omitempty"`
		Time    int64      `json:"totalDominantSpeakerTime"` // ms
		Moments []landmark `json:"faceLandmarks"`
	}
	users := map[string]stats{}
	now := time.Now()
	for nick, p := range st.people {
		if p.total == 0 && !p.gone && nick != st.dominant && len(p.moments) == 0 {
			continue
		}
		total := p.total
		if !p.since.IsZero() {
			total += now.Sub(p.since)
		}
		name := p.name
		if nameless {
			name = ""
		}
		users[nick] = stats{Name: name, Time: total.Milliseconds(), Moments: append([]landmark{}, p.moments...)}
	}
	if len(users) == 0 {
		return ""
	}
	b, err := json.Marshal(struct {
		Type  string           `json:"type"`
		Users map[string]stats `json:"users"`
	}{SpeakerStatsName, users})
	if err != nil {
		panic(err) // strings and finite numbers
	}
	return jsonMessage("", b)
}

// Left implements muc.Left: from now on only the server knows the name.
func (st *SpeakerStats) Left(_ *muc.Room, o *muc.Occupant, _ muc.Departure) {
	p := st.people[o.Nick]
	if p == nil {
		return
	}
	p.stop(time.Now())
	p.gone = true
	p.name, _ = o.Name()
	if st.dominant == o.Nick {
		st.dominant = ""
	}
}
