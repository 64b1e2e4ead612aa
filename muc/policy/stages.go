package policy

import (
	"crypto/subtle"
	"strconv"
	"strings"
	"time"

	"confab/muc"
	"confab/xmpp"
)

func itoa(n int) string { return strconv.Itoa(n) }

// MaxOccupants refuses people when the room is full. Hosts, services and further
// sessions of who is in always get in.
type MaxOccupants struct{ Limit int }

// Name implements muc.Stage.
func (MaxOccupants) Name() string { return "maxoccupants" }

// Join implements muc.Stage.
func (m MaxOccupants) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	limit := m.Limit
	if own := r.MaxOccupants(); own > 0 {
		limit = own
	}
	if limit <= 0 || !j.Person(r) || j.Client.Host || j.Returns || j.Replaces != nil || people(r) < limit {
		return muc.Pass
	}
	if r.Main() != r && r.Affiliation(j.Real.Bare()) >= muc.AffAdmin {
		return muc.Pass // a full lobby needs its moderators
	}
	if o := r.Occupant(j.Nick); o != nil && o.Bare() == j.Real.Bare() {
		return muc.Pass
	}
	return muc.Refuse(xmpp.ServiceUnavailable("")) // LJM: CONFERENCE_MAX_USERS
}

// people counts those in a room; for a main room also those in its breakout rooms,
// who come back.
func people(r *muc.Room) (n int) {
	if r.Main() != r {
		return r.People()
	}
	for _, in := range r.Inside() {
		n += in.People()
	}
	return n
}

// UntilRate is what joins above the rate wait for.
const UntilRate = "rate"

// RateLimit lets only so many joins a second through: every join is broadcast to
// all. The excess waits its turn; an error would be final for most clients.
type RateLimit struct {
	rate   int
	now    func() time.Time
	tokens float64
	last   time.Time
	timer  *time.Timer
}

// NewRateLimit allows rate joins a second, as many at once; 0 is no limit.
func NewRateLimit(rate int, now func() time.Time) *RateLimit {
	return &RateLimit{rate: rate, now: now, tokens: float64(rate), last: now()}
}

// Name implements muc.Stage.
func (*RateLimit) Name() string { return "rate" }

// Join implements muc.Stage.
func (l *RateLimit) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if l.rate <= 0 || j.Admin || j.Released == UntilRate {
		return muc.Pass
	}
	l.refill()
	if l.tokens >= 1 && r.Parked(UntilRate) == 0 {
		l.tokens--
		return muc.Pass
	}
	if r.Parkable() <= 0 {
		return muc.Pass // better late than never, better early than refused
	}
	if l.timer == nil {
		l.arm(r)
	}
	return muc.Park(UntilRate)
}

func (l *RateLimit) refill() {
	now := l.now()
	l.tokens = min(float64(l.rate), l.tokens+now.Sub(l.last).Seconds()*float64(l.rate))
	l.last = now
}

// arm wakes the waiting joins when one of them may pass.
func (l *RateLimit) arm(r *muc.Room) {
	l.timer = r.After(time.Second/time.Duration(l.rate), func() {
		l.timer = nil
		l.refill()
		n := min(int(l.tokens), r.Parked(UntilRate))
		l.tokens -= float64(n)
		r.Release(UntilRate, n)
		if r.Parked(UntilRate) > 0 {
			l.arm(r)
		}
	})
}

// HealthCheck keeps people out of the focus's test rooms.
type HealthCheck struct{}

// Name implements muc.Stage.
func (HealthCheck) Name() string { return "healthcheck" }

// Join implements muc.Stage.
func (HealthCheck) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if strings.HasPrefix(r.JID().Local, "__jicofo-health-check") && !j.Admin {
		return muc.Refuse(xmpp.ServiceUnavailable(""))
	}
	return muc.Pass
}

// FocusFirst lets nobody be in a room before the focus: a client that sees a
// room without focus takes the meeting for over.
type FocusFirst struct{}

// Name implements muc.Stage.
func (FocusFirst) Name() string { return "focusfirst" }

// Join implements muc.Stage.
func (FocusFirst) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if j.Admin || r.Focused() {
		return muc.Pass
	}
	return muc.Park(muc.UntilFocus)
}

// Members keeps a members-only room to its members.
type Members struct{}

// Name implements muc.Stage.
func (Members) Name() string { return "members" }

// Join implements muc.Stage.
func (Members) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if r.MembersOnly() && j.Person(r) && !j.Returns && r.Affiliation(j.Real.Bare()) == muc.AffNone {
		return muc.Refuse(xmpp.RegistrationRequired(""))
	}
	return muc.Pass
}

// Banned keeps outcasts out.
type Banned struct{}

// Name implements muc.Stage.
func (Banned) Name() string { return "banned" }

// Join implements muc.Stage.
func (Banned) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if r.Affiliation(j.Real.Bare()) == muc.AffOutcast {
		return muc.Refuse(xmpp.Forbidden(""))
	}
	return muc.Pass
}

// Password asks people for the room's password; the focus and other services
// need none (muc_password_whitelist).
type Password struct {
	tries int
	now   func() time.Time
	until time.Time      // the end of the present minute
	wrong map[string]int // in it, by address
}

// NewPassword allows each address so many wrong passwords a minute.
func NewPassword(tries int, now func() time.Time) *Password { return &Password{tries: tries, now: now} }

// Name implements muc.Stage.
func (*Password) Name() string { return "password" }

// Join implements muc.Stage.
func (p *Password) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if r.Password() == "" || !j.Person(r) || j.Returns || j.Vouched {
		return muc.Pass
	}
	switch right, err := p.try(r, j); {
	case err != nil:
		return muc.Refuse(err)
	case right:
		return muc.Pass
	}
	return muc.Refuse(xmpp.NotAuthorized("")) // LJM: PASSWORD_REQUIRED
}

// try compares the password that a joiner gives with the room's. Wrong ones count,
// whoever asks; err means that there were too many.
func (p *Password) try(r *muc.Room, j *muc.Join) (right bool, err *xmpp.StanzaError) {
	who := j.Client.Addr
	if who == "" {
		who = j.Real.Bare().String()
	}
	if now := p.now(); now.After(p.until) {
		p.until, p.wrong = now.Add(time.Minute), map[string]int{}
	}
	if p.tries > 0 && p.wrong[who] >= p.tries {
		// Not even the right one, else guessing would go on.
		return false, xmpp.NotAuthorized("Too many wrong passwords, try again in a minute")
	}
	if subtle.ConstantTimeCompare([]byte(j.Password), []byte(r.Password())) == 1 {
		return true, nil
	}
	if j.Password != "" {
		p.wrong[who]++
	}
	return false, nil
}
