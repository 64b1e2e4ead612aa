package reservations

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"confab/internal/guard"
	"confab/muc"
	"confab/xmpp"
)

// Config is what the service needs to know.
type Config struct {
	URL     string            // reservations.url; "" asks nobody
	Headers map[string]string // reservations.headers
	Timeout time.Duration     // of one request; one that takes longer is not repeated (reservations.timeout)

	Retries    int           // of requests that failed otherwise: no connection, 5xx (reservations.retries)
	RetryDelay time.Duration // between them
	Keep       time.Duration // how long a refusal stands without being asked again
	Sweep      time.Duration // how often bookings are looked at that may be over
	MaxPending int           // rooms asked for at the same time
	MaxWaiting int           // requests that wait for one answer
	MaxKept    int           // rooms of which an answer is kept

	// Name is the name of a room as the booking service knows it, [tenant]room; false
	// means that it needs no booking.
	Name func(xmpp.JID) (string, bool)
	// Refusal makes the answer to a request.
	Refusal func(code int, text string) *xmpp.StanzaError
	// Destroy ends a room; it may wait.
	Destroy func(ctx context.Context, room xmpp.JID, reason string) error
}

// DefaultConfig has the values of Prosody's module.
func DefaultConfig() Config {
	return Config{
		Timeout: 20 * time.Second, Retries: 3, RetryDelay: 3 * time.Second, Keep: 30 * time.Second, Sweep: time.Minute,
		MaxPending: 1000, MaxWaiting: 1000, MaxKept: 20000,
	}
}

// longest is how long a question can take.
func (c *Config) longest() time.Duration {
	return time.Duration(c.Retries+1) * (c.Timeout + c.RetryDelay)
}

// MaxTimeout is the longest Timeout that makes sense.
const MaxTimeout = time.Minute

// The texts that clients show.
const (
	textTimeout     = "Reservation lookup timed out"
	textUnreachable = "Could not contact reservation server"
	textInvalid     = "Invalid response from reservation server"
	textExpired     = "Reservation expired"
	textUnknown     = "Failed to determine reservation state"
	textRejected    = "Rejected by reservation server"
	textOver        = "Scheduled conference duration exceeded."
)

// Service keeps the bookings of the rooms that are open or about to be.
type Service struct {
	cfg    atomic.Pointer[Config]
	log    *slog.Logger
	guard  *guard.Guard
	client *http.Client

	ctx    context.Context // of all requests
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	bookings map[xmpp.JID]*booking
	pending  int
	stopped  bool
}

// booking is what is known of one room.
type booking struct {
	waiting []func(*xmpp.StanzaError)
	settled bool

	code    int // of a refusal; 0: booked
	text    string
	expires time.Time

	id     string
	policy muc.RoomPolicy
	live   bool // the room is there
}

// NewService makes the service. The caller runs it.
func NewService(cfg Config, log *slog.Logger) *Service {
	s := &Service{log: log, guard: guard.New("reservations", log), bookings: map[xmpp.JID]*booking{}, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, MaxConnsPerHost: 64,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		// Our headers may hold a key of the booking service: they go to nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	s.cfg.Store(&cfg)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Reload asks another booking service from now on, or the same in another way.
func (s *Service) Reload(url string, headers map[string]string, timeout time.Duration) {
	next := *s.cfg.Load()
	next.URL, next.Headers, next.Timeout = url, headers, timeout
	s.cfg.Store(&next)
}

// Longest is how long a question can take, whatever is reloaded.
func (s *Service) Longest() time.Duration {
	c := *s.cfg.Load()
	c.Timeout = MaxTimeout
	return c.longest()
}

// Run ends rooms whose time is over, until ctx ends. It returns when no request is
// under way any more.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Load().Sweep)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.sweep(ctx, time.Now())
		}
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.client.CloseIdleConnections()
	return ctx.Err()
}

// Admit implements focus.Admission.
func (s *Service) Admit(room, who xmpp.JID, answer func(*xmpp.StanzaError)) {
	cfg := s.cfg.Load()
	name, needed := cfg.Name(room)
	if cfg.URL == "" || !needed {
		answer(nil)
		return
	}
	if verdict, now := s.ask(cfg, room, name, who, answer); now {
		answer(verdict)
	}
}

// ask says what is known of a room, or asks the booking service and has answer
// called later.
func (s *Service) ask(cfg *Config, room xmpp.JID, name string, who xmpp.JID, answer func(*xmpp.StanzaError)) (_ *xmpp.StanzaError, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bookings[room]
	if b != nil && b.settled && b.code != 0 && time.Now().After(b.expires) {
		b = nil // asked anew
	}
	switch {
	case b != nil && b.settled:
		return s.verdict(b), true
	case b != nil && len(b.waiting) >= cfg.MaxWaiting:
		return s.cfg.Load().Refusal(http.StatusInternalServerError, textUnknown), true
	case b != nil:
		b.waiting = append(b.waiting, answer)
		return nil, false
	case s.stopped || s.pending >= cfg.MaxPending || b == nil && len(s.bookings) >= cfg.MaxKept:
		return s.cfg.Load().Refusal(http.StatusInternalServerError, textUnknown), true
	}
	b = &booking{waiting: []func(*xmpp.StanzaError){answer}}
	s.bookings[room] = b
	s.pending++
	s.wg.Go(func() { s.book(cfg, room, name, who, b) })
	return nil, false
}

// verdict is the answer that a settled booking gives.
func (s *Service) verdict(b *booking) *xmpp.StanzaError {
	switch {
	case b.code != 0:
		return s.cfg.Load().Refusal(b.code, b.text)
	case time.Now().After(b.expires):
		return s.cfg.Load().Refusal(statusExpired, textExpired)
	}
	return nil
}

// statusExpired is what the stock module says of a booking that is over.
const statusExpired = 419

// book asks the booking service and answers all who wait.
func (s *Service) book(cfg *Config, room xmpp.JID, name string, who xmpp.JID, b *booking) {
	ctx, cancel := context.WithTimeout(s.ctx, cfg.longest())
	defer cancel()
	start := time.Now()
	var res *result
	ref := &refusal{http.StatusInternalServerError, textUnknown}
	s.guard.Do(func() { res, ref = s.lookup(ctx, cfg, name, who, start) })
	s.mu.Lock()
	s.pending--
	b.settled = true
	if ref != nil {
		b.code, b.text, b.expires = ref.code, ref.text, time.Now().Add(cfg.Keep)
	} else {
		b.id, b.expires = res.id, res.start.Add(res.duration)
		b.policy = muc.RoomPolicy{MaxOccupants: res.maxOccupants, Password: res.password, Lobby: res.lobby, FromBooking: true}
	}
	verdict, waiting := s.verdict(b), b.waiting
	b.waiting = nil
	s.mu.Unlock()
	s.log.Info("reservation settled", "room", room.String(), "code", b.code, "waiting", len(waiting), "took", time.Since(start))
	for _, answer := range waiting {
		s.guard.Do(func() { answer(verdict) })
	}
}

// Guard counts what was caught while the booking service was asked.
func (s *Service) Guard() *guard.Guard { return s.guard }

// Policy is what the booking of a room says about it.
func (s *Service) Policy(room xmpp.JID) muc.RoomPolicy {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bookings[room]; b != nil && b.settled && b.code == 0 {
		return b.policy
	}
	return muc.RoomPolicy{}
}

// sweep ends rooms whose booking is over and forgets bookings that nobody used.
func (s *Service) sweep(ctx context.Context, now time.Time) {
	var over []xmpp.JID
	s.mu.Lock()
	for room, b := range s.bookings {
		switch {
		case !b.settled || !now.After(b.expires):
		case b.live:
			over = append(over, room)
		default:
			delete(s.bookings, room)
		}
	}
	s.mu.Unlock()
	for _, room := range over {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := s.cfg.Load().Destroy(ctx, room, textOver)
		cancel()
		if err != nil {
			s.log.Warn("booked room not ended", "room", room.String(), "err", err)
			continue
		}
		s.log.Info("booked room ended", "room", room.String())
	}
}

// roomService tells the service when a room begins and ends.
type roomService struct {
	s    *Service
	room xmpp.JID
}

// NewRoomService makes the service of one room; it fits muc.Config.Services.
func (s *Service) NewRoomService(r *muc.Room) muc.RoomService {
	s.opened(r.JID())
	return &roomService{s, r.JID()}
}

func (s *Service) opened(room xmpp.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bookings[room]; b != nil {
		b.live = true
	}
}

// Name implements muc.RoomService.
func (*roomService) Name() string { return "reservation" }

// Ended implements muc.Ended: the booking service is told, and is asked again for the
// next meeting.
func (r *roomService) Ended(*muc.Room) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bookings[r.room]
	if b == nil || !b.live {
		return
	}
	delete(s.bookings, r.room)
	if b.id == "" || s.stopped {
		return
	}
	s.wg.Go(func() { s.guard.Do(func() { s.release(r.room, b.id) }) })
}
