package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// bearer is the token of an Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// authenticate returns the name of who asks: an API key's, or a host's account.
func (s *Server) authenticate(r *http.Request) (string, *problem) {
	if token := bearer(r); token != "" {
		if s.isKey(token) {
			return "key", nil
		}
		return "", unauthorized()
	}
	user, password, ok := r.BasicAuth()
	if !ok || s.cfg.Accounts == nil {
		return "", unauthorized()
	}
	if len(user)+len(password) > 4096 {
		return "", unauthorized()
	}
	host, err := s.cfg.Accounts.Login(r.Context(), addrOf(r), user, password)
	switch {
	case errors.Is(err, ErrWrongPassword):
		return "", unauthorized()
	case errors.Is(err, ErrTries):
		return "", tooMany(60, "Too many wrong passwords from this address.")
	case err != nil:
		p := fail(http.StatusServiceUnavailable, "Logins can't be checked now.")
		if !errors.Is(err, context.Canceled) {
			p.cause = err
		}
		return "", p
	case !host:
		return "", notHost()
	}
	return user, nil
}

// isKey compares with all keys, in a time that depends on none of them.
func (s *Server) isKey(token string) bool {
	sum := sha256.Sum256([]byte(token))
	found := 0
	for _, k := range s.cfg.Keys() {
		if k != "" {
			have := sha256.Sum256([]byte(k))
			found |= subtle.ConstantTimeCompare(sum[:], have[:])
		}
	}
	return found == 1
}

func addrOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// buckets are token buckets by some name. At most maxBuckets are kept; a full table
// is emptied, which only gives everybody a fresh burst.
type buckets struct {
	mu   sync.Mutex
	list map[string]*rate.Limiter
}

const maxBuckets = 65536

func (b *buckets) of(key string, every rate.Limit, burst int) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.list[key]
	if l == nil {
		if b.list == nil || len(b.list) >= maxBuckets {
			b.list = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(every, burst)
		b.list[key] = l
	}
	return l
}

// exempt reports whether no rates hold for an address.
func (s *Server) exempt(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, p := range s.cfg.Exempt {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}

// subject is what a limit counts: an IPv4 address, or an IPv6 /64, all of which one
// subscriber usually has.
func subject(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// allow takes one request of an address.
func (s *Server) allow(r *http.Request) bool {
	a := addrOf(r)
	if s.cfg.Rate <= 0 || s.exempt(a) {
		return true
	}
	return s.requests.of(subject(a), rate.Limit(s.cfg.Rate), s.cfg.Burst).Allow()
}

// tries counts wrong passwords by some name, within one minute.
type tries struct {
	mu    sync.Mutex
	until time.Time
	used  map[string]int
}

// take begins a try, unless max are used up. One with the right password is given
// back; until then it counts, so that many at once are no way around the bound.
func (t *tries) take(key string, max int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.After(t.until) || len(t.used) >= maxBuckets {
		t.until, t.used = now.Add(time.Minute), map[string]int{}
	}
	if t.used[key] >= max {
		return false
	}
	t.used[key]++
	return true
}

func (t *tries) giveBack(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used[key] > 0 {
		t.used[key]--
	}
}
