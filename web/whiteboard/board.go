package whiteboard

import (
	"encoding/json"
	"slices"
	"sync"
)

// board is one drawing surface: those who are at it, in order of arrival.
type board struct {
	relay    *Relay
	owner    string
	key      key
	verified bool

	mu      sync.Mutex
	ended   bool
	members []*member
}

// member is a socket at a board.
type member struct {
	*socket
	board     *board
	following *member // whose view it follows
}

// join is what the relay does when a socket asks for the board.
func (b *board) join(s *socket) *member {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil
	}
	m := &member{socket: s, board: b}
	if len(b.members) == 0 {
		m.send(newEvent("first-in-room"), false)
	} else {
		b.tell(newEvent("new-user", s.id), nil, false)
	}
	b.members = append(b.members, m)
	b.tell(newEvent("room-user-change", b.ids(nil)), nil, false)
	return m
}

func (b *board) leave(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.members, m)
	if i < 0 {
		return
	}
	b.members = slices.Delete(b.members, i, i+1)
	for _, o := range b.members {
		if o.following == m {
			o.following = nil
		}
	}
	if len(b.members) > 0 {
		b.tell(newEvent("room-user-change", b.ids(nil)), nil, false)
	}
	if f := m.following; f != nil && len(b.ids(f)) == 0 {
		f.send(newEvent("broadcast-unfollow"), false)
	}
}

// end sends everybody away. Their sockets find out by themselves.
func (b *board) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, m := range b.members {
		m.expel("board ended")
	}
	b.members = nil
}

// tell sends to all but one; of selects the followers of one.
func (b *board) tell(msg *message, except *member, volatile bool) {
	for _, m := range b.members {
		if m != except {
			m.send(msg, volatile)
		}
	}
}

// ids are those of all members, or of the followers of one.
func (b *board) ids(of *member) []string {
	out := []string{}
	for _, m := range b.members {
		if of == nil || m.following == of {
			out = append(out, m.id)
		}
	}
	return out
}

// broadcast passes a drawing on to the others, or to who follows the sender. The
// sender says to which room: its own, or follow@ID with its own id.
func (b *board) broadcast(m *member, room string, msg *message, volatile bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch room {
	case b.key.room:
		b.tell(msg, m, volatile)
	case followRoom + m.id:
		for _, o := range b.members {
			if o.following == m && o != m {
				o.send(msg, volatile)
			}
		}
	}
}

const followRoom = "follow@"

// follow makes a member watch what another sees, or no more.
func (b *board) follow(m *member, arg json.RawMessage) {
	var in struct {
		User struct {
			ID string `json:"socketId"`
		} `json:"userToFollow"`
		Action string `json:"action"`
	}
	if json.Unmarshal(arg, &in) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.members, func(o *member) bool { return o.id == in.User.ID })
	if i < 0 || b.members[i] == m {
		return
	}
	who := b.members[i]
	switch {
	case in.Action == "FOLLOW":
		m.following = who
	case in.Action == "UNFOLLOW" && m.following == who:
		m.following = nil
	default:
		return
	}
	who.send(newEvent("user-follow-room-change", b.ids(who)), false)
}
