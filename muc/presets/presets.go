// Package presets keeps what hosts have settled about rooms before they exist.
//
// Rules of this package:
//   - Reading waits for nothing: rooms ask while they are made.
//   - A preset that was accepted outlives the process, and ends at its time.
//   - Their number, and their size in all, are bounded.
package presets

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// Preset is what is settled about one room.
type Preset struct {
	Room      xmpp.JID
	Policy    muc.RoomPolicy
	ExpiresAt time.Time
}

// Disk keeps one text.
type Disk interface {
	// Load returns the text, "" when there is none.
	Load(context.Context) (string, error)
	Save(context.Context, string) error
}

// Bounds.
const maxBytes = 8 << 20 // of all presets, as they are saved

// ErrFull means that there are too many presets.
var ErrFull = errors.New("too many presets")

// Store holds the presets of all rooms.
type Store struct {
	max  int
	disk Disk
	now  func() time.Time

	writing sync.Mutex // held over a change and its saving

	mu   sync.RWMutex
	list map[xmpp.JID]Preset
}

// Open reads what disk holds; at most max presets are accepted.
func Open(ctx context.Context, max int, disk Disk) (*Store, error) {
	s := &Store{max: max, disk: disk, now: time.Now, list: map[xmpp.JID]Preset{}}
	text, err := disk.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("read presets: %w", err)
	}
	if text == "" {
		return s, nil
	}
	var saved []record
	if err := json.Unmarshal([]byte(text), &saved); err != nil {
		return nil, fmt.Errorf("read presets: %w", err)
	}
	for _, r := range saved {
		if j, err := xmpp.ParseJID(r.Room); err == nil && r.ExpiresAt.After(s.now()) {
			s.list[j] = Preset{j, r.Policy, r.ExpiresAt}
		}
	}
	return s, nil
}

// record is a preset on disk.
type record struct {
	Room      string         `json:"room"`
	Policy    muc.RoomPolicy `json:"policy"`
	ExpiresAt time.Time      `json:"expires_at"`
}

// Policy is what is settled about a room.
func (s *Store) Policy(room xmpp.JID) muc.RoomPolicy {
	p, _ := s.Get(room)
	return p.Policy
}

// Get is the preset of a room.
func (s *Store) Get(room xmpp.JID) (Preset, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.list[room]
	if !ok || !p.ExpiresAt.After(s.now()) {
		return Preset{}, false
	}
	return p, true
}

// List are all presets, by room.
func (s *Store) List() []Preset {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.list, s.now())
}

func sorted(list map[xmpp.JID]Preset, now time.Time) []Preset {
	out := make([]Preset, 0, len(list))
	for _, p := range list {
		if p.ExpiresAt.After(now) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Preset) int {
		return cmp.Or(cmp.Compare(a.Room.Local, b.Room.Local), cmp.Compare(a.Room.Domain, b.Room.Domain))
	})
	return out
}

// Set keeps a preset in the place of the room's former one, and reports whether there
// was none. The error is ErrFull or that of the disk; nothing has changed then.
func (s *Store) Set(ctx context.Context, p Preset) (made bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	next := s.live()
	_, known := next[p.Room]
	if !known && len(next) >= s.max {
		return false, ErrFull
	}
	next[p.Room] = p
	return !known, s.replace(ctx, next)
}

// Delete forgets the preset of a room, and reports whether there was one.
func (s *Store) Delete(ctx context.Context, room xmpp.JID) (was bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	next := s.live()
	if _, was = next[room]; !was {
		return false, nil
	}
	delete(next, room)
	return true, s.replace(ctx, next)
}

// live is a copy of the presets that are not over.
func (s *Store) live() map[xmpp.JID]Preset {
	next := map[xmpp.JID]Preset{}
	for _, p := range s.List() {
		next[p.Room] = p
	}
	return next
}

func (s *Store) replace(ctx context.Context, next map[xmpp.JID]Preset) error {
	list := sorted(next, s.now())
	out := make([]record, len(list))
	for i, p := range list {
		out[i] = record{p.Room.String(), p.Policy, p.ExpiresAt}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("write presets: %w", err)
	}
	if len(b) > maxBytes {
		return ErrFull
	}
	if err := s.disk.Save(ctx, string(b)); err != nil {
		return fmt.Errorf("write presets: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = next
	return nil
}
