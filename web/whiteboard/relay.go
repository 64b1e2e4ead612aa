package whiteboard

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"confab/internal/guard"
)

// Limits bounds what boards cost.
type Limits struct {
	Message int // bytes of one message (rooms.whiteboard_message_max)
	Sockets int // of one meeting (rooms.whiteboard_sockets)
	Rate    int // messages per second of one socket (limits.whiteboard_rate)
	Bytes   int // and bytes per second (limits.whiteboard_bytes)
}

// What is said to clients of their connection, and what is allowed to them.
const (
	pingInterval = 25 * time.Second
	pingTimeout  = 20 * time.Second
	checkEvery   = 5 * time.Second
	joinTimeout  = 15 * time.Second // until a socket says which board it wants
	writeTimeout = 30 * time.Second
	slowest      = 32 << 10 // bytes per second of the body of a request
	overhead     = 4 << 10  // of a message, beside its attachments
	nameBytes    = 256      // of a room's id
	volatileMax  = 32 << 10 // bytes waiting above which cursors are dropped
	queueLength  = 4096     // messages waiting
)

// Relay is all boards.
type Relay struct {
	limits Limits
	log    *slog.Logger
	guard  *guard.Guard
	wg     sync.WaitGroup // requests

	mu      sync.Mutex
	closed  bool
	boards  map[key]*board
	owned   map[string]*board   // by owner
	places  map[place]int       // boards there
	opened  map[place]int       // sockets there
	waiting map[place][]*socket // those that have not asked for a board, in order
	sockets map[string]*socket
}

// place is what the address says that a socket comes by: the tenant of its host and
// the parameter room.
type place struct{ tenant, param string }

// key finds a board: its place and what the socket asks for. Names of rooms alone
// would let meetings of two tenants meet.
type key struct {
	place
	room string
}

// NewRelay makes a relay without boards. Run is the caller's to call.
func NewRelay(limits Limits, log *slog.Logger) *Relay {
	return &Relay{
		limits: limits, log: log, guard: guard.New("whiteboard", log),
		boards: map[key]*board{}, owned: map[string]*board{}, places: map[place]int{}, opened: map[place]int{},
		waiting: map[place][]*socket{}, sockets: map[string]*socket{},
	}
}

// Guard counts what was caught on its goroutines.
func (rl *Relay) Guard() *guard.Guard { return rl.guard }

// Run ends all sockets when ctx does, and waits for them.
func (rl *Relay) Run(ctx context.Context) error {
	<-ctx.Done()
	rl.mu.Lock()
	rl.closed = true
	all := make([]*socket, 0, len(rl.sockets))
	for _, s := range rl.sockets {
		all = append(all, s)
	}
	rl.mu.Unlock()
	for _, s := range all {
		s.close("shutdown")
	}
	rl.wg.Wait()
	return ctx.Err()
}

// Stats counts what is there.
func (rl *Relay) Stats() (boards, sockets int) {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	return len(rl.boards), len(rl.sockets)
}

// Board is what a meeting's metadata says of its whiteboard.
type Board struct {
	Tenant string // whose host serves the page, or ""; ParseBoard can't know
	Param  string // the parameter room of collabServerUrl
	Room   string // collabDetails.roomId
}

// ParseBoard reads the metadata key whiteboard (client-signaling.md §10.14).
func ParseBoard(data []byte) (b Board, ok bool) {
	var in struct {
		Details struct {
			Room string `json:"roomId"`
		} `json:"collabDetails"`
		URL string `json:"collabServerUrl"`
	}
	if json.Unmarshal(data, &in) != nil {
		return b, false
	}
	u, err := url.Parse(in.URL)
	if err != nil {
		return b, false
	}
	b = Board{Param: u.Query().Get("room"), Room: in.Details.Room}
	return b, b.Param != "" && b.Room != "" && len(b.Param) <= nameBytes && len(b.Room) <= nameBytes
}

// Name opens the board of a meeting, in the place of an earlier one of it. verified
// says that the parameter is the one that this meeting, and no other, has: such a
// board can't be taken over by another meeting that names it, and takes it over.
func (rl *Relay) Name(owner string, b Board, verified bool) bool {
	k := key{place{b.Tenant, b.Param}, b.Room}
	rl.mu.Lock()
	defer rl.mu.Unlock()
	old := rl.owned[owner]
	if old != nil && old.key == k {
		return true
	}
	other := rl.boards[k]
	if rl.closed || other != nil && (other.verified || !verified) {
		return false
	}
	for _, gone := range []*board{old, other} {
		if gone != nil {
			rl.forget(gone)
		}
	}
	n := &board{relay: rl, owner: owner, key: k, verified: verified}
	rl.boards[k], rl.owned[owner] = n, n
	rl.places[k.place]++
	return true
}

// Forget ends the board of a meeting.
func (rl *Relay) Forget(owner string) {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	if b := rl.owned[owner]; b != nil {
		rl.forget(b)
	}
}

// forget is called with the lock held.
func (rl *Relay) forget(b *board) {
	delete(rl.boards, b.key)
	delete(rl.owned, b.owner)
	if rl.places[b.key.place]--; rl.places[b.key.place] == 0 {
		delete(rl.places, b.key.place)
	}
	b.end()
}

// open makes a socket, if there is a board at the place. The address of a place is no
// secret, the board's is: who only opens sockets keeps nobody away from it.
func (rl *Relay) open(at place, version int, addr netip.Addr) (*socket, *failure) {
	for {
		s, idle, fail := rl.tryOpen(at, version, addr)
		if idle == nil {
			return s, fail
		}
		idle.close("made room for another")
	}
}

// tryOpen makes a socket, or says who has to go first.
func (rl *Relay) tryOpen(at place, version int, addr netip.Addr) (s, idle *socket, fail *failure) {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	switch {
	case rl.closed:
		return nil, nil, &failureClosed
	case rl.places[at] == 0:
		return nil, nil, &failureForbidden
	case rl.opened[at] >= rl.limits.Sockets:
		if idle = rl.idlest(at); idle == nil {
			return nil, nil, &failure{429, 4, "Too many sockets"}
		}
		rl.asked(idle)
		return nil, idle, nil
	}
	s = newSocket(rl, at, version, addr)
	rl.opened[at]++
	rl.waiting[at] = append(rl.waiting[at], s)
	rl.sockets[s.sid] = s
	return s, nil, nil
}

// idlest is the oldest socket that has not asked for a board, of the address that has
// most of these; nil if there are none.
func (rl *Relay) idlest(at place) (oldest *socket) {
	n := map[netip.Addr]int{}
	for _, s := range rl.waiting[at] {
		n[s.addr]++
	}
	for _, s := range rl.waiting[at] {
		if oldest == nil || n[s.addr] > n[oldest.addr] {
			oldest = s
		}
	}
	return oldest
}

// asked takes a socket out of those that wait.
func (rl *Relay) asked(s *socket) {
	w := slices.DeleteFunc(rl.waiting[s.place], func(x *socket) bool { return x == s })
	if rl.waiting[s.place] = w; len(w) == 0 {
		delete(rl.waiting, s.place)
	}
}

func (rl *Relay) find(sid string) *socket {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	return rl.sockets[sid]
}

// board is what a socket asks for.
func (rl *Relay) board(s *socket, room string) *board {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	b := rl.boards[key{s.place, room}]
	if b != nil {
		rl.asked(s)
	}
	return b
}

// gone forgets a socket, once.
func (rl *Relay) gone(s *socket) {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	delete(rl.sockets, s.sid)
	rl.asked(s)
	if rl.opened[s.place]--; rl.opened[s.place] == 0 {
		delete(rl.opened, s.place)
	}
}

// hold counts a request, unless the relay has ended.
func (rl *Relay) hold() bool {
	rl.mu.Lock()
	defer rl.mu.Unlock()
	if !rl.closed {
		rl.wg.Add(1)
	}
	return !rl.closed
}

func newID() string {
	var b [15]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}
