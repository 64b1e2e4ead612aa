package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"confab/bridge/forward"
	"confab/bridge/transport"
	"confab/internal/mailbox"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// Service is the bridge: its conferences and its place in the brewery.
type Service struct {
	cfg     Config
	log     *slog.Logger
	port    *xmpp.LocalPort
	sockets *transport.Sockets
	engine  *forward.Engine
	load    load
	reducer reducer      // of the goroutine that measures
	lastN   atomic.Int32 // bound of all receivers, plus one; 0 none

	// presence of the brewery, in order.
	brewery chan *xmpp.Stanza

	mu          sync.Mutex
	conferences map[string]*Conference // by meeting id
	byKey       map[string]*Conference // by the id in channel URLs
	stopping    bool
	wg          sync.WaitGroup // conferences, the closing of transports, channel sockets
	stop        chan struct{}  // closed when all conferences are to end

	joined   atomic.Bool // in the brewery
	draining atomic.Bool
	state    atomic.Int32  // a State
	news     chan struct{} // one slot: publish at once
	ending   chan struct{} // one slot: a shutdown has begun
	over     chan struct{} // closed when it is done
	health   health
	counters counters
}

// NewService binds the bridge's port. sockets and engine are the caller's to
// close, after Run has returned.
func NewService(cfg Config, router *xmpp.Router, sockets *transport.Sockets, engine *forward.Engine, log *slog.Logger) (*Service, error) {
	s := &Service{
		cfg: cfg, log: log, sockets: sockets, engine: engine,
		brewery:     make(chan *xmpp.Stanza, 64),
		conferences: map[string]*Conference{},
		byKey:       map[string]*Conference{},
		stop:        make(chan struct{}),
		news:        make(chan struct{}, 1),
		ending:      make(chan struct{}, 1),
		over:        make(chan struct{}),
	}
	s.health.done = now()
	s.draining.Store(cfg.InitialDrain)
	s.load.maxCPU, s.load.maxPackets, s.load.maxEgress = cfg.MaxCPU, float64(cfg.MaxPackets), float64(cfg.MaxEgress)
	s.reducer.lastN = -1
	port, err := router.NewLocalPort(cfg.JID, s.receive)
	if err != nil {
		return nil, err
	}
	s.port = port
	return s, nil
}

// Run keeps the bridge in the brewery until ctx ends, then closes all
// conferences and waits for them.
func (s *Service) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	watches.Go(func() { s.watchHealth(ctx) })
	watches.Go(func() { s.windDown(ctx) })
	s.attend(ctx)
	watches.Wait()
	s.joined.Store(false)
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	close(s.stop) // not an event: a full mailbox must not keep a conference alive
	s.wg.Wait()
	s.port.Close()
	return nil
}

// receive takes what is delivered to the port; it runs on the deliverer's
// goroutine.
func (s *Service) receive(st *xmpp.Stanza) error {
	if st.From.Bare() != s.cfg.Brewery {
		// Whoever is not in the brewery has no business here: it would attract or
		// end conferences.
		return xmpp.Forbidden("")
	}
	switch {
	case st.Kind == xmpp.Presence:
		select {
		case s.brewery <- st:
		default: // others' presence; ours comes again
		}
		return nil
	case !st.IsRequest():
		return nil
	case st.Has(colibri2.NS, "conference-modify"):
		return s.modify(st)
	case st.Has(colibri2.NSHealth, "healthcheck"):
		if err := s.Healthy(); err != nil {
			return xmpp.InternalServerError(err.Error())
		}
		s.port.Send(st.Result(""))
		return nil
	case st.Has("jabber:iq:version", "query"):
		var enc xmpp.Enc
		enc.Start("query", "jabber:iq:version").Leaf("name", "", "Confab").Leaf("version", "", s.cfg.Version).End()
		s.port.Send(st.Result(enc.String()))
		return nil
	case st.Has(xmpp.NSInfo, "query"):
		var enc xmpp.Enc
		enc.Start("query", xmpp.NSInfo).Start("identity", "").Attr("category", "client").Attr("type", "bot").Attr("name", "Confab bridge").End()
		for _, f := range []string{colibri2.NSHealth, "urn:xmpp:jingle:apps:dtls:0", "urn:xmpp:jingle:transports:ice-udp:1", "jabber:iq:version", xmpp.NSInfo} {
			enc.Start("feature", "").Attr("var", f).End()
		}
		s.port.Send(st.Result(enc.End().String()))
		return nil
	}
	_, name := st.PayloadName()
	return xmpp.ServiceUnavailable("Unsupported IQ request " + name)
}

// modify finds or creates the conference; all else is its own business. Whatever
// is refused is refused in words that show that the bridge speaks, and not the
// room in between (bridge.md §3.6).
func (s *Service) modify(st *xmpp.Stanza) error {
	m, err := colibri2.ParseModify(st.Child(colibri2.NS, "conference-modify"))
	if err != nil {
		return refused(xmpp.BadRequest(err.Error()))
	}
	c, err := s.conference(m)
	if err == nil {
		err = c.put(evModify{st, m})
	}
	var se *xmpp.StanzaError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &se):
		return se
	case errors.Is(err, mailbox.ErrClosed): // it ended meanwhile
		return notFound()
	}
	s.log.Error("colibri request failed", "conf", m.MeetingID, "stanza_id", st.ID, "err", err)
	return refused(xmpp.InternalServerError(""))
}

// conference returns the one that a request is for. The error is a StanzaError if
// the request is at fault.
func (s *Service) conference(m *colibri2.Modify) (*Conference, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conferences[m.MeetingID]
	switch {
	case c == nil && !m.Create:
		return nil, notFound()
	case c == nil && (s.stopping || s.State() != Running):
		return nil, colibri2.Refuse(xmpp.ServiceUnavailable("The bridge is shutting down"), colibri2.ReasonGracefulShutdown, "")
	case c == nil && len(s.conferences) >= s.cfg.MaxConferences:
		return nil, refused(xmpp.ResourceConstraint("Too many conferences"))
	case c == nil:
		pipe, err := s.engine.NewPipeline(m.MeetingID)
		if err != nil {
			return nil, err
		}
		c = newConference(s, m, pipe)
		s.conferences[m.MeetingID] = c
		s.byKey[c.key] = c
		s.counters.conferencesCreated.Add(1)
		s.wg.Go(c.run)
	case m.Create:
		return nil, colibri2.Refuse(xmpp.Conflict("Conference already exists"), colibri2.ReasonConferenceAlreadyExists, "")
	}
	return c, nil
}

// forget takes a conference out of the maps.
func (s *Service) forget(c *Conference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conferences[c.meetingID] == c {
		delete(s.conferences, c.meetingID)
	}
	delete(s.byKey, c.key)
}

// elsewhere runs what may wait, and is waited for by Run.
func (s *Service) elsewhere(f func()) {
	s.wg.Go(func() {
		defer s.guard("closing an endpoint")
		f()
	})
}

// enter has Run wait for a goroutine that is not ours until leave is called;
// false when the bridge is ending.
func (s *Service) enter() (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, false
	}
	s.wg.Add(1)
	return s.wg.Done, true
}

// guard is deferred at the root of every goroutine: one bad conference must not
// end the others.
func (s *Service) guard(what string) {
	if r := recover(); r != nil {
		s.counters.panics.Add(1)
		s.log.Error("panic in the bridge", "where", what, "err", r, "stack", string(debug.Stack()))
	}
}

// randomHex is n random bytes in hexadecimal.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// now is the clock of control; the packet path has its own.
func now() time.Time { return time.Now() }
