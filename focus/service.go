package focus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"confab/focus/bridges"
	"confab/focus/gateways"
	"confab/internal/mailbox"
	"confab/xmpp"
)

// Service serves the address for conference requests, holds the focus's port and
// finds the conference of each stanza.
type Service struct {
	cfg    Config
	router *xmpp.Router
	log    *slog.Logger
	port   *xmpp.LocalPort
	auth   *authority
	caps   *capsCache
	stats  counters

	visitorsAfter atomic.Int64 // Visitors.After
	rewriting     atomic.Bool  // SSRCRewriting
	mids          atomic.Bool  // MIDExtension

	ctx    context.Context // of all conferences
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.RWMutex
	confs    map[xmpp.JID]*Conference
	sides    map[xmpp.JID]int         // breakout conferences, by main room
	visited  map[xmpp.JID]*Conference // by the room of their visitors
	creators map[xmpp.JID]*limiter    // who made conferences within the last minute
	stopped  bool

	breweries []*brewery

	fleetMu      sync.Mutex
	fleet        *bridges.Fleet
	recorders    gateways.Recorders
	sipRecorders gateways.Recorders
	gateways     gateways.Gateways
	recordedBy   map[xmpp.JID]*Conference // recorders at work
	placed       map[xmpp.JID]*placement  // by bridge
}

// NewService makes the focus and binds its port. The caller hangs the service on
// the router as the handler of cfg.Service, and runs it.
func NewService(cfg Config, router *xmpp.Router, log *slog.Logger) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, router: router, log: log,
		auth:  newAuthority(cfg.SessionLifetime, cfg.MaxSessions),
		caps:  newCapsCache(cfg.CachedClients),
		confs: map[xmpp.JID]*Conference{}, sides: map[xmpp.JID]int{}, visited: map[xmpp.JID]*Conference{}, creators: map[xmpp.JID]*limiter{},
		fleet: bridges.NewFleet(cfg.Selection), recordedBy: map[xmpp.JID]*Conference{}, placed: map[xmpp.JID]*placement{},
	}
	s.addBreweries()
	s.visitorsAfter.Store(int64(cfg.Visitors.After))
	s.SetRewriting(cfg.SSRCRewriting, cfg.MIDExtension)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	port, err := router.NewLocalPort(cfg.JID, s.receive)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.port = port
	return s, nil
}

// Run enters the brewery and serves until ctx ends. It returns when the
// goroutines of all conferences are gone. The rooms are not left: whoever stops
// the focus stops them, too.
func (s *Service) Run(ctx context.Context) error {
	s.enterBreweries()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	swept := time.Now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			now := time.Now()
			s.watchBreweries(now)
			if now.Sub(swept) >= 10*time.Second {
				swept = now
				s.auth.sweep(now)
				s.sweepCreators(now)
			}
		}
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.port.Close()
	return ctx.Err()
}

// HandleStanza implements xmpp.Handler for the service address.
func (s *Service) HandleStanza(_ context.Context, st *xmpp.Stanza, _ bool) error {
	if !st.IsRequest() {
		if st.Kind == xmpp.Message && st.Type != xmpp.TypeError {
			return xmpp.ServiceUnavailable("")
		}
		return nil
	}
	if st.To.Local != "" || st.To.Resource != "" {
		return xmpp.ItemNotFound("")
	}
	return s.handleServiceIQ(st)
}

// receive is the sink of the focus's own port. It runs on the goroutine of
// whoever delivers.
func (s *Service) receive(st *xmpp.Stanza) error {
	room := st.From.Bare()
	if b := s.brewery(room); b != nil {
		return s.fromBrewery(b, st)
	}
	c := s.find(room)
	switch {
	case c == nil && st.IsRequest():
		return s.handleOwnIQ(st)
	case c == nil:
		if st.Kind == xmpp.Message {
			s.fromComponent(st)
		}
		return nil
	}
	switch err := c.box.Put(event{stanza: st}); {
	case err == nil:
		return nil
	case errors.Is(err, mailbox.ErrClosed):
		return xmpp.ItemNotFound("")
	}
	if st.Kind == xmpp.Presence {
		c.overrun() // without it the picture of the room would be wrong from now on
	} else {
		s.stats.overflows.Add(1)
	}
	return xmpp.ErrFull
}

// handleOwnIQ answers what is asked of the focus's account and not of an
// occupant.
func (s *Service) handleOwnIQ(st *xmpp.Stanza) error {
	ns, _ := st.PayloadName()
	switch {
	case ns == xmpp.NSInfo && st.Type == xmpp.TypeGet:
		s.port.Send(st.Result(focusDisco.Inner(st.Payload().Get("node"))))
		return nil
	case ns == xmpp.NSPing && st.Type == xmpp.TypeGet:
		s.port.Send(st.Result(""))
		return nil
	}
	return xmpp.ServiceUnavailable("")
}

var focusDisco = xmpp.DiscoInfo{
	Identities: []xmpp.Identity{{Category: "client", Type: "bot", Name: "focus"}},
	Features:   []string{xmpp.NSInfo, xmpp.NSPing},
}

// conference finds or makes the conference of a room. It returns nil when there
// is none and it may not be made, or when there are too many, in all or by this
// creator; creator is zero when it isn't known.
func (s *Service) conference(room, creator xmpp.JID, mayMake bool, first request) *Conference {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.confs[room]; c != nil {
		return c
	}
	if !mayMake || s.stopped || len(s.confs) >= s.cfg.MaxConferences {
		return nil
	}
	if !s.mayCreateLocked(creator) {
		return nil
	}
	c := newConference(s, room, first)
	s.confs[room] = c
	s.stats.conferencesTotal.Add(1)
	s.wg.Go(c.run)
	return c
}

// mayCreate counts the rooms that somebody opens; zero is nobody.
func (s *Service) mayCreate(creator xmpp.JID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayCreateLocked(creator)
}

func (s *Service) mayCreateLocked(creator xmpp.JID) bool {
	if creator.IsZero() {
		return true
	}
	l := s.creators[creator]
	if l == nil {
		l = &limiter{}
		s.creators[creator] = l
	}
	return l.allow(time.Now(), 0, s.cfg.CreationsPerMin)
}

func (s *Service) sweepCreators(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j, l := range s.creators {
		if l.idle(now) {
			delete(s.creators, j)
		}
	}
}

// find is the conference in a room, or nil.
func (s *Service) find(room xmpp.JID) *Conference {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.confs[room]; c != nil {
		return c
	}
	return s.visited[room]
}

// alias makes what comes from a room of visitors the conference's, unalias ends it.
func (s *Service) alias(room xmpp.JID, c *Conference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visited[room] = c
}

func (s *Service) unalias(room xmpp.JID, c *Conference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.visited[room] == c {
		delete(s.visited, room)
	}
}

// exists reports whether there is a conference in a room.
func (s *Service) exists(room xmpp.JID) bool { return s.find(room) != nil }

// forget takes a conference out of the book; others may make the next one. The
// main conference learns that it has a breakout room less.
func (s *Service) forget(c *Conference) {
	s.mu.Lock()
	if s.confs[c.room] == c {
		delete(s.confs, c.room)
	}
	var main *Conference
	if !c.main.IsZero() {
		main = s.confs[c.main]
		if s.sides[c.main]--; s.sides[c.main] <= 0 {
			delete(s.sides, c.main)
		}
	}
	s.mu.Unlock()
	if main != nil {
		main.post(main.breakoutEnded)
	}
}

// link notes that a conference is that of a breakout room of main.
func (s *Service) link(main xmpp.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sides[main]++
}

// hasBreakouts reports whether breakout rooms of a main room have a conference.
func (s *Service) hasBreakouts(main xmpp.JID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sides[main] > 0
}

func (s *Service) eachConference(f func(*Conference)) {
	s.mu.RLock()
	list := make([]*Conference, 0, len(s.confs))
	for _, c := range s.confs {
		list = append(list, c)
	}
	s.mu.RUnlock()
	for _, c := range list {
		f(c)
	}
}
