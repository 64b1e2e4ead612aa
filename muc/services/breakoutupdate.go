package services

import (
	"encoding/json"
	"strconv"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// Clients learn who is in which room by updates, each of which says everything.

const (
	// updateEvery is the time between two updates. In a large meeting it grows to that
	// in which updateRate bytes may be sent, at most updateSlowest: 500 people get 100
	// kB each.
	updateEvery   = 300 * time.Millisecond
	updateSlowest = 3 * time.Second
	updateRate    = 16 << 20 // bytes per second and meeting
)

// update is the one that is due, if any.
type update struct {
	due   bool
	must  bool      // somebody has come who has none
	next  time.Time // not before
	last  string    // what was sent
	inner []byte    // to build the next
}

// want makes an update due; must also when nothing has changed since the last one.
func (u *update) want(b *breakouts, must bool) {
	u.must = u.must || must
	if u.due {
		return
	}
	u.due = true
	b.main.After(max(updateEvery, time.Until(u.next)), func() { u.send(b) })
}

// send tells everybody, with one stanza for all.
func (u *update) send(b *breakouts) {
	must := u.must
	u.due, u.must = false, false
	u.inner = b.appendUpdate(u.inner[:0], true)
	if !must && string(u.inner) == u.last {
		return
	}
	u.last = string(u.inner)
	s := b.feature.message(u.inner)
	// Who sees nobody's name in the room sees none here.
	guests := s
	if b.main.Policy().HideNames {
		guests = b.feature.message(b.appendUpdate(nil, false))
	}
	n := 0
	for _, r := range b.main.Inside() {
		r.Broadcast(s, func(o *muc.Occupant) bool { return !o.Admin() && (guests == s || o.Role == muc.RoleModerator) })
		if guests != s {
			r.Broadcast(guests, func(o *muc.Occupant) bool { return !o.Admin() && o.Role != muc.RoleModerator })
		}
		n += len(r.Occupants())
	}
	u.next = time.Now().Add(updatePause(n * len(s.Inner)))
}

// updatePause is how long to wait after that many bytes have been sent.
func updatePause(bytes int) time.Duration {
	d := time.Duration(float64(bytes) / updateRate * float64(time.Second))
	return min(max(d, updateEvery), updateSlowest)
}

// appendUpdate encodes the state of all rooms. Clients want participants as an
// object in each.
func (b *breakouts) appendUpdate(dst []byte, names bool) []byte {
	dst = append(dst, `{"type":"breakout_rooms","event":"features/breakout-rooms/update","roomCounter":`...)
	dst = strconv.AppendInt(dst, int64(b.counter), 10)
	dst = append(dst, `,"rooms":{`...)
	dst = appendRoom(dst, b.main, b.main.Subject(), names)
	for _, r := range b.rooms() {
		dst = append(dst, ',')
		dst = appendRoom(dst, r, r.Service(BreakoutName).(*breakoutRoom).name, names)
	}
	return append(dst, `}}`...)
}

func appendRoom(dst []byte, r *muc.Room, name string, names bool) []byte {
	j := r.JID()
	dst = appendJSON(dst, j.Local)
	dst = append(dst, ":{"...)
	if r.Main() == r {
		dst = append(dst, `"isMainRoom":true,`...)
	}
	dst = appendMember(dst, "id", j.Local)
	dst = append(dst, ',')
	dst = appendMember(dst, "jid", j.String())
	if name != "" {
		dst = append(dst, ',')
		dst = appendMember(dst, "name", name)
	}
	dst = append(dst, `,"participants":{`...)
	first := true
	for _, o := range r.Occupants() {
		if o.Admin() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSON(dst, o.JID().String())
		dst = append(dst, ":{"...)
		dst = appendMember(dst, "jid", o.Seats[0].Real.String())
		dst = append(dst, ',')
		dst = appendMember(dst, "role", o.Role.String())
		if n, _ := o.Name(); n != "" && names {
			dst = append(dst, ',')
			dst = appendMember(dst, "displayName", n)
		}
		dst = append(dst, '}')
	}
	return append(dst, "}}"...)
}

func appendMember(dst []byte, key, value string) []byte {
	dst = append(dst, '"')
	dst = append(dst, key...)
	dst = append(dst, `":`...)
	return appendJSON(dst, value)
}

// appendJSON encodes a string. Most consist of what stands for itself.
func appendJSON(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...) // no string fails
			}
			return append(dst, text...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

var _ xmpp.Handler = (*breakoutDomain)(nil)
