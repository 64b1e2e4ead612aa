package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"confab/internal/guard"
)

// Config is what the queue needs to know.
type Config struct {
	// Room makes a room's address out of what a client calls it; ok is false when that
	// is none.
	Room func(name string) (room string, ok bool)
	// Max is how many connections there may be (visitors.max).
	Max int
	// JoinRate is how many visitors a second a meeting takes: they are told to come one
	// after the other. 0 is no limit (rooms.join_rate).
	JoinRate int
	// Origins are the web origins that may connect; none or "*" means any.
	Origins []string
	Log     *slog.Logger
}

// Times.
const (
	heartbeat    = 20 * time.Second // asked of clients
	silence      = 60 * time.Second // after which one is gone
	writeTimeout = 10 * time.Second
	countEvery   = time.Second // at least between two counts to the same client
	leastDelay   = 2 * time.Second
	mostDelay    = 2 * time.Minute
)

// Topics of destinations, before the room.
const (
	visitorTopic = "/secured/conference/visitor/topic." // whoever waits
	stateTopic   = "/secured/conference/state/topic."   // moderators, who want to know how many
)

// Queue is all who wait.
type Queue struct {
	cfg   Config
	guard *guard.Guard
	wg    sync.WaitGroup // connections

	mu      sync.Mutex
	closed  bool
	clients map[*client]struct{}
	rooms   map[string]*room
}

// room is one meeting, live or waited for.
type room struct {
	live     bool
	waiting  map[*client]string // to the id of the subscription
	watching map[*client]string
	told     *time.Timer // the next count
}

// New makes an empty queue. Run is the caller's to call.
func New(cfg Config) *Queue {
	return &Queue{cfg: cfg, guard: guard.New("queue", cfg.Log), clients: map[*client]struct{}{}, rooms: map[string]*room{}}
}

// Guard counts what was caught on its goroutines.
func (q *Queue) Guard() *guard.Guard { return q.guard }

// Run ends all connections when ctx does, and waits for them.
func (q *Queue) Run(ctx context.Context) error {
	<-ctx.Done()
	q.mu.Lock()
	q.closed = true
	for c := range q.clients {
		c.close()
	}
	for _, r := range q.rooms {
		if r.told != nil {
			r.told.Stop()
		}
	}
	q.mu.Unlock()
	q.wg.Wait()
	return ctx.Err()
}

// Waiting counts those who wait for any meeting.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.rooms {
		n += len(r.waiting)
	}
	return n
}

// Live says whether a meeting is live. Whoever waits for it is called.
func (q *Queue) Live(name string, live bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.rooms[name]
	if r == nil {
		if !live || q.closed {
			return
		}
		r = q.room(name)
	}
	if r.live == live {
		return
	}
	if r.live = live; live {
		for c, id := range r.waiting {
			q.call(name, r, c, id)
		}
	}
	q.tidy(name, r)
}

// room is the room of a name. Called with mu held.
func (q *Queue) room(name string) *room {
	r := q.rooms[name]
	if r == nil {
		r = &room{waiting: map[*client]string{}, watching: map[*client]string{}}
		q.rooms[name] = r
	}
	return r
}

// tidy forgets a room that is nothing to anybody. Called with mu held.
func (q *Queue) tidy(name string, r *room) {
	if !r.live && len(r.waiting) == 0 && len(r.watching) == 0 {
		if r.told != nil {
			r.told.Stop()
		}
		delete(q.rooms, name)
	}
}

// call tells somebody that the meeting is live, and over how long all who wait spread
// their coming. Called with mu held.
func (q *Queue) call(name string, r *room, c *client, id string) {
	delay := leastDelay
	if q.cfg.JoinRate > 0 {
		delay = max(delay, time.Duration(len(r.waiting))*time.Second/time.Duration(q.cfg.JoinRate))
	}
	c.send(message(c.destination, id, map[string]any{
		"conference": name, "status": "live", "randomDelayMs": min(delay, mostDelay).Milliseconds(),
	}))
}

// count tells a watcher how many wait. Called with mu held.
func count(name string, r *room, c *client, id string) {
	c.send(message(c.destination, id, map[string]any{"conference": name, "visitorsWaiting": len(r.waiting)}))
}

// changed tells the watchers, not too often. Called with mu held.
func (q *Queue) changed(name string, r *room) {
	if len(r.watching) == 0 || r.told != nil || q.closed {
		return
	}
	r.told = time.AfterFunc(countEvery, func() {
		q.guard.Do(func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			r.told = nil
			if q.closed {
				return
			}
			for c, id := range r.watching {
				count(name, r, c, id)
			}
		})
	})
}

// subscribe takes a client's subscription. Each client has one.
func (q *Queue) subscribe(c *client, id, destination string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.room != "" || id == "" || q.closed {
		return false
	}
	visitor := true
	rest, ok := strings.CutPrefix(destination, visitorTopic)
	if !ok {
		visitor = false
		if rest, ok = strings.CutPrefix(destination, stateTopic); !ok {
			return false
		}
	}
	name, ok := q.cfg.Room(rest)
	if !ok {
		return false
	}
	c.room, c.destination = name, destination
	r := q.room(name)
	if !visitor {
		r.watching[c] = id
		count(name, r, c, id)
		return true
	}
	r.waiting[c] = id
	if r.live {
		q.call(name, r, c, id)
	}
	q.changed(name, r)
	return true
}

// unsubscribe ends it.
func (q *Queue) unsubscribe(c *client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	name := c.room
	r := q.rooms[name]
	if c.room = ""; r == nil {
		return
	}
	if _, ok := r.waiting[c]; ok {
		delete(r.waiting, c)
		q.changed(name, r)
	}
	delete(r.watching, c)
	q.tidy(name, r)
}

// add takes a client in, if there is room.
func (q *Queue) add(c *client) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.cfg.Max > 0 && len(q.clients) >= q.cfg.Max {
		return false
	}
	q.clients[c] = struct{}{}
	q.wg.Add(1)
	return true
}

func (q *Queue) remove(c *client) {
	q.unsubscribe(c)
	q.mu.Lock()
	delete(q.clients, c)
	q.mu.Unlock()
	q.wg.Done()
}

// message is a STOMP message with a JSON body.
func message(destination, subscription string, v map[string]any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers
	}
	return encode("MESSAGE", string(b), "subscription", subscription, "message-id", strconv.FormatInt(time.Now().UnixNano(), 36),
		"destination", destination, "content-type", "application/json", "content-length", strconv.Itoa(len(b)))
}
