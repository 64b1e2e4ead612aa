package bridge

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/internal/mailbox"
	"confab/xmpp/xep/colibri2"
)

// Conference is one meeting on this bridge. Everything below box belongs to its
// goroutine; other goroutines only put events into box.
type Conference struct {
	s         *Service
	meetingID string
	key       string // its id in channel URLs, known to its participants only
	log       *slog.Logger
	pipe      *forward.Pipeline
	box       *mailbox.Box[event]
	overrun   chan struct{} // closed when an event found box full
	overran   sync.Once
	size      atomic.Int32 // endpoints
	forwarded atomic.Int32 // videos that a receiver gets at most
	census    atomic.Pointer[Census]
	counted   time.Time // when it was taken
	created   time.Time

	passwords struct { // of channel URLs, read by HTTP handlers
		sync.Mutex
		by map[string]*endpoint
	}

	endpoints map[string]*endpoint
	order     []*endpoint // of joining
	feedback  struct{ audio, video uint32 }
	speakers  *forward.Speakers
	decided   int64 // packet clock of the last look for a dominant speaker
	emptied   time.Time
	expired   bool
	dirty     map[*endpoint]bool // receivers to allocate for
	allDirty  bool

	allocator   alloc.Allocator
	table       *alloc.Table // of all video sources
	tableAt     time.Time
	tableStale  bool
	heights     map[string]*heights // source: what receivers want of it
	toConstrain map[*endpoint]bool  // senders for whom that changed
	sourcesSet  uint64              // counts up when an endpoint has other sources, or is gone
	names       []string            // scratch

	connections map[string]*connection // by id
	diarized    sync.Map               // ids of endpoints in whose audio voices are to be told apart

	layersAt    time.Time // when changed layers were last looked at
	layersLater bool      // some wait for the next tick
}

func newConference(s *Service, m *colibri2.Modify, pipe *forward.Pipeline) *Conference {
	c := &Conference{
		s: s, meetingID: m.MeetingID, key: randomHex(8), pipe: pipe,
		log:       s.log.With("conf", m.MeetingID, "room", m.Name),
		box:       mailbox.New[event](mailboxLimit),
		overrun:   make(chan struct{}),
		endpoints: map[string]*endpoint{},
		speakers:  forward.NewSpeakers(recentSpeakers),
		emptied:   now(),
		created:   now(),
		dirty:     map[*endpoint]bool{},

		allocator:   alloc.Allocator{Config: s.cfg.Alloc},
		heights:     map[string]*heights{},
		toConstrain: map[*endpoint]bool{},
		connections: map[string]*connection{},
	}
	c.passwords.by = map[string]*endpoint{}
	c.feedback.audio, c.feedback.video = randomSSRC(), randomSSRC()
	return c
}

// put queues an event for the conference. One that finds no room is lost, and with
// it the conference's knowledge of itself: it ends, and the focus makes it anew
// (architecture §13.3).
func (c *Conference) put(e event) error {
	err := c.box.Put(e)
	if errors.Is(err, mailbox.ErrFull) {
		c.overran.Do(func() { close(c.overrun) })
	}
	return err
}

func randomSSRC() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:]) | 1
}

// run is the conference's goroutine.
func (c *Conference) run() {
	defer c.s.guard("end of conference " + c.meetingID)
	defer c.end()
	defer c.s.guard("conference " + c.meetingID)
	c.log.Info("conference created")
	listening := levelPeriod
	levels := time.NewTicker(listening)
	defer levels.Stop()
	checks := time.NewTicker(checkPeriod)
	defer checks.Stop()
	for !c.expired {
		select {
		case <-c.s.stop:
			return
		case <-c.overrun:
			c.s.counters.overruns.Add(1)
			c.log.Error("mailbox full, conference ended", "events", c.box.Len())
			return
		case <-c.box.Ready():
			events, err := c.box.TakeNow()
			if err != nil {
				return
			}
			for _, e := range events {
				if c.expired {
					c.tooLate(e)
					continue
				}
				e.apply(c)
			}
		case <-c.pipe.Changed():
			// A sender that changes its layers with every packet costs no more
			// than one that does it now and then.
			if now().Sub(c.layersAt) < layersPeriod {
				c.layersLater = true
				continue
			}
			c.takeLayers()
		case <-levels.C:
			if c.layersLater {
				c.takeLayers()
			}
			c.listen()
		case at := <-checks.C:
			c.check(at)
		}
		c.allocate()
		c.noteForwarded()
		// A conference in which nobody says a word needs no ear 25 times a second.
		period := levelPeriod
		if !c.layersLater && c.speakers.Quiet(c.s.sockets.Now()) {
			period = quietPeriod
		}
		if period != listening {
			listening = period
			levels.Reset(period)
		}
	}
}

// end releases everything; the closing itself, which waits for packets in
// flight, happens elsewhere.
func (c *Conference) end() {
	c.s.forget(c)
	c.box.Close()
	if events, err := c.box.TakeNow(); err == nil {
		for _, e := range events {
			c.tooLate(e)
		}
	}
	for _, ep := range slices.Clone(c.order) {
		c.remove(ep)
	}
	c.disconnectAll()
	c.s.elsewhere(c.pipe.Close)
	c.s.counters.conferencesCompleted.Add(1)
	c.s.counters.conferenceMillis.Add(uint64(now().Sub(c.created).Milliseconds()))
	c.log.Info("conference ended")
}

// check looks at what time changes: reachability, expiry, the order of speakers.
func (c *Conference) check(at time.Time) {
	for _, ep := range slices.Clone(c.order) {
		c.checkEndpoint(ep, at)
		if len(ep.unwanted) > 0 {
			maps.DeleteFunc(ep.unwanted, func(name string, _ time.Time) bool { return !hasSource(ep.sources, name) })
			c.constrainSender(ep)
		}
		if ep.behind {
			c.bringUpToDate(ep)
		}
		c.release(ep)
		if b := ep.estimateNews(at); b != nil {
			ep.send(b)
		}
		c.remind(ep, at)
		c.missChannel(ep, at)
		if ep.unmapped || at.Sub(ep.alloc.at) >= allocatePeriod {
			c.dirty[ep] = true
		}
	}
	if at.Sub(c.counted) >= c.s.cfg.StatsInterval {
		c.counted = at
		c.count()
	}
	if len(c.endpoints) == 0 && at.Sub(c.emptied) > c.s.cfg.ConferenceGrace {
		c.expired = true
	}
}

// checkEndpoint tells the others when an endpoint's packets stop or come back,
// and ends one that is gone. The focus learns of it by unknown_endpoint.
func (c *Conference) checkEndpoint(ep *endpoint, at time.Time) {
	silent := at.Sub(ep.created)
	never := true
	if last := ep.transport.LastActive(); last != 0 {
		silent, never = time.Duration(c.s.sockets.Now()-last), false
	}
	idle := c.s.cfg.IdleTimeout
	if never {
		idle *= 2
	}
	if silent > idle {
		c.log.Info("endpoint expired", "endpoint", ep.id, "silent", silent)
		c.remove(ep)
		return
	}
	inactive := silent > c.s.cfg.InactiveAfter
	if never {
		inactive = silent > c.s.cfg.InactiveNever
	}
	if inactive != ep.inactive && !ep.visitor {
		if ep.inactive = inactive; inactive {
			c.s.counters.disconnected.Add(1)
		} else {
			c.s.counters.reconnected.Add(1)
		}
		c.announceConnectivity(ep)
	}
}

// remove takes an endpoint out of the conference.
func (c *Conference) remove(ep *endpoint) {
	if c.endpoints[ep.id] != ep {
		return
	}
	delete(c.endpoints, ep.id)
	c.diarized.Delete(ep.id)
	c.order = slices.DeleteFunc(c.order, func(o *endpoint) bool { return o == ep })
	c.size.Store(int32(len(c.order)))
	c.passwords.Lock()
	delete(c.passwords.by, ep.id)
	c.passwords.Unlock()
	if len(c.endpoints) == 0 {
		c.emptied = now()
	}
	c.silence(ep.id)
	c.forgetWishes(ep)
	c.sourcesSet++
	delete(c.toConstrain, ep)
	c.allDirty = true
	c.s.counters.endpointsExpired.Add(1)
	ep.closeChannel()
	// At once: the focus may make an endpoint of this id, with these sources, anew
	// with its next request.
	ep.fwd.Detach()
	c.s.elsewhere(func() {
		ep.fwd.SetSender(nil)
		// The transport first: after it no packet reaches the endpoint.
		if err := ep.transport.Close(); err != nil {
			c.log.Debug("transport closed", "endpoint", ep.id, "err", err)
		}
		ep.fwd.Close()
	})
	c.log.Debug("endpoint removed", "endpoint", ep.id)
}
